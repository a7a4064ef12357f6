package worker

import "sync"

// holdings are the requests whose messages this worker answers for.
type holdings struct {
	mu      sync.Mutex
	byClaim map[string]*request
}

func newHoldings() *holdings { return &holdings{byClaim: map[string]*request{}} }

func (h *holdings) add(r *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byClaim[r.delivery.Claim] = r
}

// remove reports whether r was still held: false means that it was lost.
func (h *holdings) remove(r *request) bool {
	return h.take(r.delivery.Claim) != nil
}

func (h *holdings) take(claim string) *request {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byClaim[claim]
	delete(h.byClaim, claim)
	return r
}

func (h *holdings) has(r *request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byClaim[r.delivery.Claim] == r
}
