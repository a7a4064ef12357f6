package worker

import (
	"context"
	"errors"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/events"
)

// end is a short run of which nothing is left but to tell the broker of its end.
type end struct {
	r          *request
	settlement broker.Settlement
	event      *events.Prepared // nil: none
	done       chan error       // capacity 1: who waits for the answer; nil: nobody does
}

// settleTogether has the broker told of an end and waits for its answer; ok is false for one that
// says nothing of the end, and when ctx ends before.
func (w *Worker) settleTogether(ctx context.Context, e end) (err error, ok bool) {
	e.done = make(chan error, 1)
	w.ends.Add(e)
	select {
	case err = <-e.done:
		return err, err == nil || errors.Is(err, ErrLost)
	case <-ctx.Done():
		return ctx.Err(), false
	}
}

// settleEnds tells the broker of ends. What it refuses is tried again, each by itself.
func (w *Worker) settleEnds(batch []end) {
	ctx := w.life.store
	settlements := make([]broker.Settlement, len(batch))
	for i := range batch {
		settlements[i] = batch[i].settlement
	}
	done := 0
	for i, err := range w.can.Batcher.SettleAll(ctx, settlements) {
		e := batch[i]
		if e.done != nil {
			e.done <- err
			continue
		}
		if err != nil && !errors.Is(err, ErrLost) {
			w.settling.Go(func() {
				w.settled(e, w.settle(e.r.after(ctx), "settle a task", e.r.task, e.settlement))
				w.pool.Settled(1)
			})
			continue
		}
		w.settled(e, err)
		done++
	}
	w.pool.Settled(done)
}

// settled notes what has become of a settlement.
func (w *Worker) settled(e end, err error) {
	switch {
	case errors.Is(err, ErrLost):
		w.counts.lost.Add(1)
		e.r.log.Warn("message was no longer ours when its task ended")
	case err == nil:
		w.events.Add(e.event)
	}
}
