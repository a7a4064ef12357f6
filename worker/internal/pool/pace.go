package pool

import (
	"math"
	"time"
)

const (
	// heldWork is how much work an adaptive pool claims ahead. For so long no other worker
	// can have a message, and a message of a higher priority waits behind it. A run that
	// takes longer is a long one.
	heldWork = 50 * time.Millisecond
	// StaleAfter is how long the first item has waited for a slot before the excess goes
	// back; see [Pool.Excess].
	StaleAfter = 4 * heldWork
	// mostEach and mostHeld bound the items that are held when runs take no time at all:
	// for each slot, and in all if there are fewer slots than that.
	mostEach = 100
	mostHeld = 1000
)

// pace is the time that runs took recently. A long run counts at once and short ones bit
// by bit, because the next one may be long again.
type pace struct {
	typical time.Duration
	known   bool
}

// note adds a run.
func (p *pace) note(took time.Duration) {
	if !p.known || took > p.typical {
		p.typical, p.known = took, true
		return
	}
	p.typical -= (p.typical - took) / 16
}

// short reports whether runs are about as short as a round trip to the broker.
func (p *pace) short() bool { return p.known && p.typical < ShortRun }

// each returns how many items one slot ends within heldWork, at least one. It is one
// while nothing is known.
func (p *pace) each() int {
	if !p.known {
		return 1
	}
	return int(min(mostEach, 1+heldWork/max(p.typical, 1)))
}

// Prefetch is the number of items that a pool holds for each slot, running ones included.
// Zero stands for an adaptive number, and a negative one for no bound.
type Prefetch int

// Adaptive reports whether the pool itself decides how many items it holds.
func (p Prefetch) Adaptive() bool { return p == 0 }

// Bounded reports whether there is a greatest number of items.
func (p Prefetch) Bounded() bool { return p >= 0 }

// limits returns how many items a pool holds that has so many slots, some of them taken by
// long runs; each of the others ends so many items within heldWork. refill is how many
// must be missing before more are claimed while some wait. A set number holds exactly, as
// Celery's does. An adaptive pool claims many at once.
func (p Prefetch) limits(slots, long, each int) (most, refill int) {
	switch {
	case !p.Bounded():
		return math.MaxInt32, 1
	case !p.Adaptive():
		return slots * int(p), 1
	}
	long = min(long, slots)
	most = max(slots, min(long+(slots-long)*each, mostHeld))
	return most, max(1, most/2)
}
