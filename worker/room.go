package worker

import (
	"slices"
	"time"
)

// How many more requests a pool takes, and when.

func (p *pool) held() int { return len(p.active) + p.ending + len(p.ready) }

// prefetch says how many requests a pool may hold that has so many slots, of which some
// are taken by long runs and the others end so many requests each in a moment; and how
// many of them must be missing for more to be claimed while some wait for slots.
type prefetch func(slots, long, each int) (most, refill int)

// limits is what prefetch says now; p.mu is held.
func (p *pool) limits(prefetch prefetch) (most, refill int) {
	long := 0
	for r := range p.active {
		if time.Since(r.began) > heldWork {
			long++
		}
	}
	most, refill = prefetch(p.slots, long, p.pace.each())
	if p.most > 0 { // what may not begin any more is not claimed either
		most = min(most, p.most-p.begun+len(p.active)+p.ending)
	}
	return most, refill
}

// room is how many more requests the pool takes. Until as many are missing as prefetch
// says changed is silent. With no room, patience is how long to wait for it at most.
func (p *pool) room(prefetch prefetch, limited int) (n int, patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, refill := p.limits(prefetch)
	free := p.free(most, limited)
	p.low = most - refill
	p.filling = free > 0 && (p.filling || p.waits() == 0 || free >= refill)
	if !p.filling {
		return 0, inVain
	}
	// Where each slot takes one of a backlog, there may be room for all in a moment, and
	// they cost the broker no more than this one.
	p.hesitates = !p.hesitates && free < most && p.plenty && most == p.slots && p.runs.short() && p.ending+p.young() >= most-free
	if p.hesitates {
		p.low, p.filling = 0, false
		select {
		case <-p.changed: // of what is known by now
		default:
		}
		return 0, shortRun
	}
	return free, 0
}

// turnover is how many requests the pool takes now, negative when it has more than it
// should, and how many runs are about to end; ok is false where slots do not take one
// each of a backlog.
func (p *pool) turnover(prefetch prefetch, limited int) (free, ends int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ := p.limits(prefetch)
	if most != p.slots || !p.plenty || !p.runs.short() {
		return 0, 0, false
	}
	return p.surplus(most, limited), p.young(), true
}

// free is how many of most are missing; p.mu is held. What a rate limit holds back shall
// not keep other tasks from running; there is a second window for it.
func (p *pool) free(most, limited int) int { return max(0, p.surplus(most, limited)) }

// surplus is free, and negative when there are too many.
func (p *pool) surplus(most, limited int) int { return most - p.held() - max(0, limited-most) }

// hasRoom reports whether the pool takes another request, and changes nothing.
func (p *pool) hasRoom(prefetch prefetch, limited int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ := p.limits(prefetch)
	return p.free(most, limited) > 0
}

// found notes whether a claim has found all that it asked for.
func (p *pool) found(all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plenty = all
}

// soon is the number of requests that have slots as soon as goroutines are awake; p.mu
// is held.
func (p *pool) soon() int {
	if !p.waking {
		return 0
	}
	return max(0, min(len(p.ready), p.slots-len(p.active)))
}

// waits is the number of requests that wait for a slot; p.mu is held.
func (p *pool) waits() int { return len(p.ready) - p.soon() }

// young is the number of runs that may be short ones, and of those that begin at any
// moment; p.mu is held.
func (p *pool) young() (n int) {
	n = p.soon()
	for r := range p.active {
		if time.Since(r.began) < 4*shortRun {
			n++
		}
	}
	return n
}

// short reports whether runs are about to end.
func (p *pool) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs.short() {
		return false
	}
	if p.soon() > 0 {
		return true
	}
	for r := range p.active {
		if time.Since(r.began) < shortRun {
			return true
		}
	}
	return false
}

// excess removes and returns what waits for a slot in vain: more than prefetch allows,
// as the runs before it have turned out to be long.
func (p *pool) excess(prefetch prefetch) []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 || time.Since(p.ready[0].queued) < inVain {
		return nil
	}
	most, _ := p.limits(prefetch)
	n := min(p.held()-most, len(p.ready))
	if n <= 0 {
		return nil
	}
	keep := len(p.ready) - n
	rs := slices.Clone(p.ready[keep:])
	clear(p.ready[keep:])
	p.ready = p.ready[:keep]
	if keep == 0 { // whoever comes next has its own patience
		p.since = time.Time{}
		if p.timer != nil {
			p.timer.Stop()
		}
	}
	return rs
}

// prefetched is how many requests the pool may hold now, and how many each slot.
func (p *pool) prefetched(prefetch prefetch) (most, each int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, _ = p.limits(prefetch)
	return most, p.pace.each()
}
