package worker

import (
	"context"

	"github.com/evently/workers/worker/internal/pool"
)

// prefetch returns the number of messages that are held for each slot. The worker itself
// decides where none is set.
func (c *Config) prefetch() pool.Prefetch {
	if c.DisablePrefetch {
		return 1
	}
	return pool.Prefetch(c.PrefetchMultiplier)
}

// prefetchCount is prefetch_count in Celery's terms: 0 for no bound.
func (w *Worker) prefetchCount() int {
	if !w.cfg.prefetch().Bounded() {
		return 0
	}
	most, _ := w.pool.Prefetched()
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
	_, each := w.pool.Prefetched()
	return each
}

// await waits for messages, and meanwhile sees that what is held does not wait in vain.
func (w *Worker) await(ctx, store context.Context) error {
	if !w.cfg.prefetch().Adaptive() || w.pool.Waiting() == 0 {
		return w.broker.Wait(ctx)
	}
	brief, cancel := context.WithTimeout(ctx, pool.StaleAfter)
	defer cancel()
	err := w.broker.Wait(brief)
	w.returnExcess(store)
	return err
}

// returnExcess requeues prefetched messages that another worker could run sooner.
func (w *Worker) returnExcess(ctx context.Context) {
	if rs := w.pool.Excess(); len(rs) > 0 {
		w.log.Debug("tasks take longer than those before: messages go back to their queues", "messages", len(rs))
		w.giveBack(ctx, rs)
	}
}
