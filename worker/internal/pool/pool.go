// Package pool runs items on reused goroutines, as many at once as there are slots.
//
// A [Pool] has one lock, and four parts that it guards: the slots, the gate of items that
// run alone, the goroutines that wait for an item, and the account of what to claim. An
// item that waits for a slot is an element of a slice and no goroutine, so that it can be
// given back.
//
// The lock of a pool is the last one to be taken: a pool calls nothing while it holds it
// but [Item.PoolSlot].
package pool

import (
	"slices"
	"sync"
	"time"
)

// Item is one thing to run.
type Item interface {
	comparable
	// Run runs the item and reports what became of the run.
	Run() Result
	// PoolSlot returns what the pool keeps of the item. Items embed a Slot, which has
	// this method.
	PoolSlot() *Slot
}

// Slot holds what a pool keeps of an item.
type Slot struct {
	// LastChance makes the item run alone: when nothing else runs, and nothing else
	// begins beside it.
	LastChance bool

	place  int32     // index among the active items, plus one; 0: the item has no slot
	queued time.Time // began to wait for a slot
	began  time.Time // got a slot
}

// PoolSlot implements [Item].
func (s *Slot) PoolSlot() *Slot { return s }

// Result reports what became of a run.
type Result int

const (
	Ended    Result = iota // the run is over
	Skipped                // the item did not run, and says nothing about the pace
	Settling               // the item gave up its slot by Detach, and Settled reports its end
	Replaced               // another goroutine sees the item through; this one must end
)

// Config describes a Pool.
type Config struct {
	Slots    int      // items that run at once
	MaxItems int      // items that begin in all; 0: no bound
	Prefetch Prefetch // items that the pool holds
}

// Pool runs items in the order of their arrival. Make one with New.
type Pool[R Item] struct {
	adaptive  bool
	bounds    func(slots, long, each int) (most, refill int) // Prefetch.limits
	idle      chan struct{}                                  // closed when the pool is closed and no item is active or settling
	changed   chan struct{}                                  // capacity 1: an item ended, or the pool was resized
	exhausted chan struct{}                                  // closed when the last item that may begin has begun
	wg        sync.WaitGroup

	mu      sync.Mutex
	ready   []R // wait for a slot
	slots   slots[R]
	solo    soloGate
	parking parking[R]
	demand  demand
	closed  bool
	over    bool // idle is closed
}

// New returns a pool without items.
func New[R Item](cfg Config) *Pool[R] {
	return &Pool[R]{
		adaptive: cfg.Prefetch.Adaptive(), bounds: cfg.Prefetch.limits, slots: slots[R]{size: cfg.Slots, most: cfg.MaxItems},
		idle: make(chan struct{}), changed: make(chan struct{}, 1), exhausted: make(chan struct{}),
	}
}

// Add queues items. It reports false when the pool is closed; then it has taken none.
func (p *Pool[R]) Add(rs ...R) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	now := time.Now()
	for _, r := range rs {
		r.PoolSlot().queued = now
	}
	p.ready = append(p.ready, rs...)
	p.dispatch()
	return true
}

// take gives the next item a slot; ok is false when none may begin. p.mu must be held.
func (p *Pool[R]) take() (r R, ok bool) {
	if p.closed || len(p.ready) == 0 || !p.slots.free() || p.solo.taken() {
		return r, false
	}
	r = p.ready[0]
	slot := r.PoolSlot()
	if slot.LastChance && !p.mayRunAlone() {
		return r, false
	}
	var none R
	p.ready[0] = none
	p.ready = p.ready[1:]
	p.slots.take(r, slot)
	if p.slots.begun == p.slots.most {
		close(p.exhausted)
	}
	if slot.LastChance {
		p.solo.enter(slot)
	}
	return r, true
}

// mayRunAlone reports whether the first item, which has its last chance, may begin. p.mu
// must be held.
func (p *Pool[R]) mayRunAlone() bool {
	if p.slots.unsettled() == 0 {
		return true
	}
	return p.solo.waited(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dispatch()
	})
}

// StopBeginning begins no further items. Exhausted stays open.
func (p *Pool[R]) StopBeginning() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.stop()
}

// Exhausted is closed when Config.MaxItems items have begun.
func (p *Pool[R]) Exhausted() <-chan struct{} { return p.exhausted }

// Yield lets another item have the slot of a short run that only has to be settled.
func (p *Pool[R]) Yield(r R) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := len(p.ready) > 0 && !p.ready[0].PoolSlot().LastChance
	if p.giveUp(r, waits) {
		p.dispatch()
	}
}

// Detach gives up the slot of a short run whose end will be reported by Settled. It
// reports whether it did.
func (p *Pool[R]) Detach(r R) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.giveUp(r, true)
}

// giveUp notes the time of a run and, if wanted, takes away its slot when it was a short
// one. p.mu must be held.
func (p *Pool[R]) giveUp(r R, wanted bool) bool {
	slot := r.PoolSlot()
	took := time.Since(slot.began)
	p.slots.runs.note(took)
	return wanted && !p.solo.is(slot) && p.slots.giveUp(slot, took)
}

// Settled reports that n items which had given up their slots are settled.
func (p *Pool[R]) Settled(n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.settling -= n
	p.dispatch() // an item may have waited to run alone
	p.afterEnd()
}

// afterEnd tells the consumer and Close of an end. p.mu must be held.
func (p *Pool[R]) afterEnd() {
	p.checkIdle()
	if p.waits() == 0 && !p.demand.deferClaim || p.held() <= p.demand.refillBelow {
		p.signal()
	}
}

// done ends an item, unless it only gave up its slot, and returns the item that takes its
// place. When there is none the next one comes over parked, which is closed with the
// pool, or when enough goroutines wait.
func (p *Pool[R]) done(r R, result Result, parked chan R) (next R, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := r.PoolSlot()
	switch {
	case result == Settling: // Settled reports its end
	case slot.place > 0:
		if result != Skipped {
			p.slots.pace.note(time.Since(slot.began))
		}
		p.slots.drop(slot)
	default:
		p.slots.settling--
	}
	p.solo.leave(slot)
	if next, ok = p.take(); !ok {
		p.park(parked)
	}
	p.dispatch()
	p.afterEnd()
	return next, ok
}

// checkIdle ends the wait for the last item. p.mu must be held.
func (p *Pool[R]) checkIdle() {
	if p.closed && !p.over && p.slots.unsettled() == 0 {
		p.over = true
		close(p.idle)
	}
}

// signal says that something has changed. p.mu must be held.
func (p *Pool[R]) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Changed receives a value when there may be room for more items. A resize is a change,
// too.
func (p *Pool[R]) Changed() <-chan struct{} { return p.changed }

// Resize changes the number of slots, to one at least. Items that run go on: with fewer
// slots nothing begins until enough of them have ended.
func (p *Pool[R]) Resize(slots int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.size = max(slots, 1)
	p.dispatch()
	p.parking.shrink(p.mostParked())
	p.signal()
}

// Close begins nothing more and returns the items that had not begun.
func (p *Pool[R]) Close() []R {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.solo.stop()
	rs := p.ready
	p.ready = nil
	p.parking.shrink(0)
	p.checkIdle()
	return rs
}

// Drained is closed when, after Close, the last item is settled.
func (p *Pool[R]) Drained() <-chan struct{} { return p.idle }

// Wait waits until all goroutines of a closed pool have ended.
func (p *Pool[R]) Wait() { p.wg.Wait() }

// Size returns the number of slots.
func (p *Pool[R]) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.size
}

// Running returns the number of items that have a slot.
func (p *Pool[R]) Running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.slots.active)
}

// PeakRunning returns the greatest number of items that ran at once since the last call.
func (p *Pool[R]) PeakRunning() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.takePeak()
}

// Unsettled returns the number of items that run, or whose ends are being stored.
func (p *Pool[R]) Unsettled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.unsettled()
}

// Waiting returns the number of items that wait for a slot.
func (p *Pool[R]) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

// WaitingSince returns when the first waiting item began to wait for a slot, the zero time
// when none waits.
func (p *Pool[R]) WaitingSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return time.Time{}
	}
	return p.ready[0].PoolSlot().queued
}

// Items returns the running items and the items that wait for a slot.
func (p *Pool[R]) Items() (active, waiting []R) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.slots.active), slices.Clone(p.ready)
}
