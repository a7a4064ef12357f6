package breaker

import (
	"context"
	"math/rand/v2"
	"time"
)

// reachEvery is how often the fleet asks whether a server that gave no sign of life can be reached.
// It is up to a fifth less by chance, so that processes without a share ask at different times.
const reachEvery = time.Second

// reachName is the end of the name of the lease of a process that asks. It is not the lease of
// probes: a process that is cut off from the server alone must not keep the others from it.
const reachName = ".reach"

// reach is the part of a [machine] that asks whether the server can be reached.
type reach struct {
	possible bool // Config.Reach is set
	active   bool // the server gave no sign of life
	next     time.Time
}

// begin begins anew when the breaker opens, or is open for another reason.
func (r *reach) begin(unreached bool, now time.Time) {
	r.active = unreached && r.possible
	r.postpone(now)
}

// postpone sets the time of the next question. since is the time of the last one.
func (r *reach) postpone(since time.Time) {
	r.next = since.Add(reachEvery - time.Duration(rand.Float64()*0.2*float64(reachEvery)))
}

// unreached takes the outcome of a question that began at a time, and was no success.
func (m *machine) unreached(o Outcome, begun, now time.Time) {
	switch {
	case m.phase != Open:
	case o.Unreached, o.Result == Unknown:
		m.reach.postpone(begun)
		if earliest := now.Add(reachEvery / 10); m.reach.next.Before(earliest) {
			m.reach.next = earliest // the question has hung
		}
	default: // the server answers, and does not work
		m.begun = begun
		m.probed(o, now)
	}
}

// reach asks whether the server can be reached, unless another process does. If it can, a probe
// follows at once.
func (b *Breaker) reach(ctx context.Context, board *noticeBoard) {
	name, begun := b.cfg.Name+reachName, time.Now()
	if !board.lease(ctx, name, b.cfg.ReachTimeout+shareTimeout) {
		b.change(func(m *machine, _ time.Time) { m.reach.postpone(begun) })
		return
	}
	limited, cancel := context.WithTimeout(ctx, b.cfg.ReachTimeout)
	o := b.cfg.Reach(limited)
	cancel()
	if o.Result == Success {
		// No other process probes or asks meanwhile. If one does already, two do.
		board.lease(ctx, name, leaseTime)
		board.lease(ctx, b.cfg.Name, leaseTime)
		b.ask(ctx)
		return
	}
	if ctx.Err() != nil {
		return
	}
	b.change(func(m *machine, now time.Time) { m.unreached(o, begun, now) })
	// Any process may ask next, by chance.
	board.lease(ctx, name, time.Until(begun.Add(reachEvery*3/4)))
}

// askFirst asks Config.First, unless the verdict of another process is known.
func (b *Breaker) askFirst(ctx context.Context) {
	if b.cfg.First == nil {
		return
	}
	o := Outcome{}
	if b.State().Phase == Closed {
		limited, cancel := context.WithTimeout(ctx, b.cfg.ReachTimeout)
		o = b.cfg.First(limited)
		cancel()
	}
	b.change(func(m *machine, now time.Time) {
		// Calls that were made meanwhile know better.
		if o.Unreached && m.unasked && m.phase == Closed && ctx.Err() == nil {
			m.open(o, now)
		}
		m.unasked = false
	})
}
