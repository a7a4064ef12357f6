package worker

import "sync"

// holdings are the requests whose messages this worker answers for.
type holdings struct {
	mu      sync.Mutex
	byClaim map[string]*request
	bytes   int // of the messages that may run, packed and unpacked
}

// heldMost is how many bytes the messages that may run have together before no more are
// taken. A larger one runs alone.
const heldMost = 48 << 20

// heavy reports whether the messages that may run have so many bytes that others wait.
func (h *holdings) heavy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes > heldMost
}

// size is how many bytes a request takes that may run, as it came and as it was read.
func (r *request) size() int {
	if r.attempt == nil {
		return 0
	}
	return len(r.delivery.Raw) + r.msg.Size()
}

func newHoldings() *holdings { return &holdings{byClaim: map[string]*request{}} }

func (h *holdings) add(r *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byClaim[r.delivery.Claim] = r
	h.bytes += r.size()
}

// remove reports whether r was still held: false means that it was lost.
func (h *holdings) remove(r *request) bool {
	return h.take(r.delivery.Claim) != nil
}

func (h *holdings) take(claim string) *request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drop(claim)
}

// drop removes the request of a claim; h.mu is held.
func (h *holdings) drop(claim string) *request {
	r := h.byClaim[claim]
	if r != nil {
		delete(h.byClaim, claim)
		h.bytes -= r.size()
	}
	return r
}

// lose removes what is another worker's now, and tells what there is of it, nil
// when it only waited for its ETA, or was not held.
func (h *holdings) lose(claim string) (r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.drop(claim); r != nil {
		a = r.attempt
	}
	return r, a
}

// open makes r one that may run. Its claim may get lost at the same time.
func (h *holdings) open(r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := r.size()
	r.attempt = a
	if h.byClaim[r.delivery.Claim] == r {
		h.bytes += r.size() - before
	}
}

func (h *holdings) has(r *request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byClaim[r.delivery.Claim] == r
}
