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

// lose removes what is another worker's now, and tells what there is of it, nil
// when it only waited for its ETA, or was not held.
func (h *holdings) lose(claim string) (r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.byClaim[claim]; r != nil {
		a = r.attempt
	}
	delete(h.byClaim, claim)
	return r, a
}

// open makes r one that may run. Its claim may get lost at the same time.
func (h *holdings) open(r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.attempt = a
}

func (h *holdings) has(r *request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byClaim[r.delivery.Claim] == r
}
