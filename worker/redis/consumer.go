package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

var errNotConsuming = errors.New("redis broker: Consume was not called")

// consumer is the worker that consumes with the broker: an owner of claims, and what
// Consume has said of it.
type consumer struct {
	id      string       // among the owners of claims
	epoch   atomic.Int64 // scripts refuse claims of an older one
	taken   atomic.Bool  // Consume was called
	session atomic.Pointer[broker.Session]
}

func newConsumer() *consumer {
	c := &consumer{id: uuid.NewString()}
	c.session.Store(&broker.Session{})
	return c
}

// take sets the session. It reports false when there was one before.
func (c *consumer) take(s broker.Session) bool {
	if c.taken.Swap(true) {
		return false
	}
	c.session.Store(&s)
	return true
}

func (c *consumer) node() string { return c.session.Load().Node }

func (c *consumer) decoder() protocol.Decoder { return c.session.Load().Decoder }

// lost tells the worker that a claim is lost.
func (c *consumer) lost(claim string) {
	if f := c.session.Load().Lost; f != nil {
		f(claim)
	}
}

// refused tells the worker of a message that a claim moved to the dead letters, so that it
// can answer the producer.
func (c *consumer) refused(ctx context.Context, d broker.Delivery) {
	if f := c.session.Load().Refused; f != nil {
		f(ctx, d)
	}
}

// deadLettered tells the worker that a message was moved to the dead letters.
func (c *consumer) deadLettered(queue, reason string) {
	if f := c.session.Load().DeadLettered; f != nil {
		f(queue, reason)
	}
}

// claimDigits is the width of the number in a claim. The function numbered of lib.lua has
// the reason for it.
const claimDigits = 28

// claimPrefix returns the beginning of the claims of this owner. A number of fixed width
// follows it, so that claims sort in their order.
func (c *consumer) claimPrefix() string { return c.id + ":" }

// claimName returns the claim with a number.
func (c *consumer) claimName(number int64) string {
	name := append(append(make([]byte, 0, 80), c.id...), ':')
	digits := strconv.AppendInt(make([]byte, 0, 20), number, 10)
	for range claimDigits - len(digits) {
		name = append(name, '0')
	}
	return string(append(name, digits...))
}

// ownerOf returns the owner of a claim. ok is false for a claim of a Python worker.
func ownerOf(claim string) (owner string, ok bool) {
	owner, number, ok := strings.Cut(claim, ":")
	return owner, ok && len(owner) == 36 && len(number) >= 12 // the width in earlier versions
}

// holdings are the claims that this worker holds: the ones whose leases it renews. It counts
// them by queue, since the start.
type holdings struct {
	mu     sync.Mutex
	claims map[string]struct{}
	taken  map[string]int64
}

func newHoldings() *holdings {
	return &holdings{claims: map[string]struct{}{}, taken: map[string]int64{}}
}

// counts returns the number of messages that were claimed from each queue.
func (h *holdings) counts() map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.taken)
}

// add adds the claims of deliveries.
func (h *holdings) add(ds []broker.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		h.claims[d.Claim] = struct{}{}
		h.taken[d.Queue]++
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
