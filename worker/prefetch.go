package worker

import (
	"math"
	"time"
)

const (
	// heldWork is for how long a message is held before it runs, when the worker itself
	// decides how many it holds. For so long nobody else can have it, and a message of
	// a higher priority waits behind it.
	heldWork = 50 * time.Millisecond
	// mostEach and mostHeld bound what is held when the tasks take no time at all: for
	// each slot, and in all.
	mostEach = 100
	mostHeld = 1000
)

// pace is how long slots are taken by requests of late. A long one counts at once and
// short ones bit by bit, as the next one may be long again.
type pace struct {
	typical time.Duration
	known   bool
}

func (p *pace) note(took time.Duration) {
	if !p.known || took > p.typical {
		p.typical, p.known = took, true
		return
	}
	p.typical -= (p.typical - took) / 16
}

// each is how many requests one slot ends in heldWork, one at least: so many until
// anything is known.
func (p *pace) each() int {
	if !p.known {
		return 1
	}
	return int(min(mostEach, 1+heldWork/max(p.typical, 1)))
}

// prefetch is the number of messages to be held at most, running ones included, and of
// those that must be missing for more to be claimed while some still wait for slots.
// Where the worker itself decides it claims many at once.
func (c *Config) prefetch(slots, each int) (most, refill int) {
	switch {
	case c.DisablePrefetch:
		return slots, 1
	case c.PrefetchMultiplier < 0:
		return math.MaxInt32, 1
	case c.PrefetchMultiplier > 0:
		return slots * c.PrefetchMultiplier, 1
	}
	most = max(slots, min(slots*each, mostHeld))
	return most, max(1, most/2)
}

// prefetched is the most that is held at this moment.
func (w *Worker) prefetched() int {
	most, _ := w.cfg.prefetch(w.pool.paced())
	return most
}

// multiplier is worker_prefetch_multiplier in Celery's terms: 0 for no bound.
func (w *Worker) multiplier() int {
	if w.cfg.PrefetchMultiplier != 0 {
		return max(0, w.cfg.PrefetchMultiplier)
	}
	_, each := w.pool.paced()
	return each
}
