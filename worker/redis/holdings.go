package redis

import (
	"slices"
	"sync"

	"github.com/evently/workers/worker/broker"
)

// holdings are the claims that this worker holds: the ones whose leases it renews.
type holdings struct {
	mu     sync.Mutex
	claims map[string]struct{}
}

func newHoldings() *holdings { return &holdings{claims: map[string]struct{}{}} }

// add adds the claims of deliveries.
func (h *holdings) add(ds []broker.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		h.claims[d.Claim] = struct{}{}
	}
}

// remove removes a claim. It reports whether it was held.
func (h *holdings) remove(claim string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.claims[claim]
	delete(h.claims, claim)
	return ok
}

// all returns the claims in no order.
func (h *holdings) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	claims := make([]string, 0, len(h.claims))
	for claim := range h.claims {
		claims = append(claims, claim)
	}
	return claims
}

// empty reports whether nothing is held.
func (h *holdings) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.claims) == 0
}

// without removes the claims that are held from a list, in place.
func (h *holdings) without(claims []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(claims, func(claim string) bool { _, ok := h.claims[claim]; return ok })
}
