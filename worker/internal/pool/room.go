package pool

import (
	"slices"
	"time"
)

// demand is the state between two claims. The lock of the pool guards it.
type demand struct {
	refillBelow   int  // Changed tells of an end when the pool holds no more than this
	refilling     bool // items are claimed until the pool is full
	lastClaimFull bool // the last claim found all that it asked for
	// deferClaim is set when waiting briefly would let one claim fill several slots.
	deferClaim bool
}

// held returns the number of items in the pool. p.mu must be held.
func (p *Pool[R]) held() int { return p.slots.unsettled() + len(p.ready) }

// limits returns how many items the pool may hold now, and how many must be missing
// before more are claimed while some wait. p.mu must be held.
func (p *Pool[R]) limits() (most, refill int) {
	long := 0
	if p.adaptive {
		long = len(p.slots.active) - p.slots.countYounger(heldWork)
	}
	most, refill = p.bounds(p.slots.size, long, p.slots.pace.each())
	if left, bounded := p.slots.left(); bounded { // an item that may not begin is not claimed
		most = min(most, left+p.slots.unsettled())
	}
	return most, refill
}

// Room returns how many items to claim now. When there are none, patience is the longest
// time to wait for Changed. limited is the number of items that a rate limit holds back.
func (p *Pool[R]) Room(limited int) (n int, patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.demand
	most, refill := p.limits()
	free := max(0, p.missing(most, limited))
	d.refillBelow = most - refill
	d.refilling = free > 0 && (d.refilling || p.waits() == 0 || free >= refill)
	if !d.refilling {
		return 0, StaleAfter
	}
	// Where each slot takes one item of a backlog, all slots may be free in a moment. A
	// claim for all of them costs the broker no more than one for this slot.
	d.deferClaim = !d.deferClaim && free < most && d.lastClaimFull && most == p.slots.size && p.slots.runs.short() &&
		p.slots.settling+p.countYoung() >= most-free
	if d.deferClaim {
		d.refillBelow, d.refilling = 0, false
		select {
		case <-p.changed: // of ends that are known by now
		default:
		}
		return 0, ShortRun
	}
	return free, 0
}

// Turnover returns how many items to claim now, and how many runs are about to end. free
// is negative when the pool holds more items than it should. ok is false unless each
// slot takes one short item of a backlog.
func (p *Pool[R]) Turnover(limited int) (free, ending int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ := p.limits()
	if most != p.slots.size || !p.demand.lastClaimFull || !p.slots.runs.short() {
		return 0, 0, false
	}
	return p.missing(most, limited), p.countYoung(), true
}

// missing returns how many of most items are missing, negative when there are too many.
// Rate-limited items have a window of their own, so that they keep no other items from
// running. p.mu must be held.
func (p *Pool[R]) missing(most, limited int) int { return most - p.held() - max(0, limited-most) }

// HasRoom reports whether the pool takes another item. It changes nothing.
func (p *Pool[R]) HasRoom(limited int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ := p.limits()
	return p.missing(most, limited) > 0
}

// NoteClaim notes whether a claim has found all that it asked for.
func (p *Pool[R]) NoteClaim(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.demand.lastClaimFull = full
}

// soon returns the number of items that get slots as soon as goroutines are awake. p.mu
// must be held.
func (p *Pool[R]) soon() int {
	if !p.parking.waking {
		return 0
	}
	return max(0, min(len(p.ready), p.slots.size-len(p.slots.active)))
}

// waits returns the number of items that wait for a slot. p.mu must be held.
func (p *Pool[R]) waits() int { return len(p.ready) - p.soon() }

// countYoung returns the number of runs that started less than 4*ShortRun ago, plus those
// about to start. p.mu must be held.
func (p *Pool[R]) countYoung() int { return p.soon() + p.slots.countYounger(4*ShortRun) }

// ExpectsEnds reports whether runs are about to end.
func (p *Pool[R]) ExpectsEnds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.runs.short() && (p.soon() > 0 || p.slots.countYounger(ShortRun) > 0)
}

// Excess removes and returns waiting items beyond what Prefetch allows, because the runs
// before them have turned out to be long. The newest go first. A prefetch that is not
// adaptive has no excess.
func (p *Pool[R]) Excess() []R {
	if !p.adaptive {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 || time.Since(p.ready[0].PoolSlot().queued) < StaleAfter {
		return nil
	}
	most, _ := p.limits()
	n := min(p.held()-most, len(p.ready))
	if n <= 0 {
		return nil
	}
	keep := len(p.ready) - n
	rs := slices.Clone(p.ready[keep:])
	clear(p.ready[keep:])
	p.ready = p.ready[:keep]
	if keep == 0 {
		p.solo.reset() // the next item has a patience of its own
	}
	return rs
}

// Withdraw removes and returns the waiting items that match. It calls match with the lock
// of the pool held.
func (p *Pool[R]) Withdraw(match func(R) bool) (rs []R) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := make([]R, 0, len(p.ready))
	for _, r := range p.ready {
		if match(r) {
			rs = append(rs, r)
		} else {
			keep = append(keep, r)
		}
	}
	if len(rs) == 0 {
		return nil
	}
	p.ready = keep
	p.solo.reset() // the first item has its own patience
	p.dispatch()
	p.signal()
	return rs
}

// Prefetched returns how many items the pool may hold now, and how many of them for each
// slot.
func (p *Pool[R]) Prefetched() (most, each int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ = p.limits()
	return most, p.slots.pace.each()
}
