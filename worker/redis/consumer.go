package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
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
