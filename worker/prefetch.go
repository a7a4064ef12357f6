package worker

import (
	"context"
	"math"
	"time"
)

const (
	// heldWork is how much work is claimed ahead where the worker itself decides: as much
	// as is done within that time. For so long nobody else can have a message, and one of
	// a higher priority waits behind it. A run that takes longer is a long one.
	heldWork = 50 * time.Millisecond
	// inVain is how long a message has waited for a slot when those that wait behind it
	// go back to their queues, if there are more than should be held.
	inVain = 4 * heldWork
	// mostEach and mostHeld bound what is held when the tasks take no time at all: for
	// each slot, and in all if there are fewer slots than that.
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

// short reports whether runs are about as short as a round trip to the broker.
func (p *pace) short() bool { return p.known && p.typical < shortRun }

// each is how many requests one slot ends in heldWork, one at least: so many until
// anything is known.
func (p *pace) each() int {
	if !p.known {
		return 1
	}
	return int(min(mostEach, 1+heldWork/max(p.typical, 1)))
}

// adaptive reports whether the worker itself decides how much it holds.
func (c *Config) adaptive() bool { return !c.DisablePrefetch && c.PrefetchMultiplier == 0 }

// prefetch is a [prefetch] by the settings. Numbers that are set hold exactly, as
// Celery's do; where the worker itself decides it claims many at once.
func (c *Config) prefetch(slots, long, each int) (most, refill int) {
	switch {
	case c.DisablePrefetch:
		return slots, 1
	case c.PrefetchMultiplier < 0:
		return math.MaxInt32, 1
	case c.PrefetchMultiplier > 0:
		return slots * c.PrefetchMultiplier, 1
	}
	long = min(long, slots)
	most = max(slots, min(long+(slots-long)*each, mostHeld))
	return most, max(1, most/2)
}

// prefetchCount is prefetch_count in Celery's terms: 0 for no bound.
func (w *Worker) prefetchCount() int {
	if !w.cfg.DisablePrefetch && w.cfg.PrefetchMultiplier < 0 {
		return 0
	}
	most, _ := w.pool.prefetched(w.cfg.prefetch)
	return most
}

// multiplier is worker_prefetch_multiplier in Celery's terms: 0 for no bound.
func (w *Worker) multiplier() int {
	switch {
	case w.cfg.PrefetchMultiplier != 0:
		return max(0, w.cfg.PrefetchMultiplier)
	case w.cfg.DisablePrefetch:
		return 1
	}
	_, each := w.pool.prefetched(w.cfg.prefetch)
	return each
}

// await waits for messages, and meanwhile sees that what is held does not wait in vain.
func (w *Worker) await(ctx, store context.Context) error {
	if !w.cfg.adaptive() || w.pool.waiting() == 0 {
		return w.broker.Wait(ctx)
	}
	brief, cancel := context.WithTimeout(ctx, inVain)
	defer cancel()
	err := w.broker.Wait(brief)
	w.relieve(store)
	return err
}

// relieve gives back what would wait here though others could run it.
func (w *Worker) relieve(ctx context.Context) {
	if !w.cfg.adaptive() {
		return
	}
	if rs := w.pool.excess(w.cfg.prefetch); len(rs) > 0 {
		w.log.Debug("tasks take longer than those before: messages go back to their queues", "messages", len(rs))
		w.giveBack(ctx, rs)
	}
}
