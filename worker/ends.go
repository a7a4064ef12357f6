package worker

import (
	"context"
	"errors"
	"sync"
	"time"

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

// ends tells the broker of many ends at a time, so that no goroutine waits for one. Those
// that come while a round trip is under way wait for the next.
type ends struct {
	settle  func([]end) // one round trip
	expects func() bool // whether more runs are about to end

	mu      sync.Mutex
	waiting []end
	away    int           // goroutines that make round trips
	gathers chan struct{} // one of them waits for what is expected; closed when nothing is; nil: none does
	claim   claimStep     // of a claim that is to go along
	wg      *sync.WaitGroup
}

const (
	// endsMost bounds one round trip: a script holds up everybody else.
	endsMost = 64
	// endsCrowd is how many wait when a second round trip begins while one is under way.
	endsCrowd = 16
	// endsPatience is how long a round trip waits for runs that are about to end.
	endsPatience = 500 * time.Microsecond
)

// add has the broker told of an end, soon.
func (q *ends) add(e end) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, e)
	if q.away == 0 || q.away == 1 && len(q.waiting) >= endsCrowd {
		q.away++
		q.wg.Add(1)
		go q.run()
	}
	q.check()
}

// check ends the wait of gather when nothing is expected any more; q.mu is held.
func (q *ends) check() {
	if q.gathers != nil && (len(q.waiting) >= endsCrowd || !q.missing()) {
		close(q.gathers)
		q.gathers = nil
	}
}

// claimStep is how far a claim has come that goes along with a round trip.
type claimStep int

const (
	noClaim      claimStep = iota
	claimComes             // round trips wait for it
	claimReady             // the next one takes it along
	claimCarried           // and has; its messages are about to run: the next one waits for these
)

// missing reports whether something is expected; q.mu is held.
func (q *ends) missing() bool {
	return q.claim == claimComes || q.claim == claimCarried || q.expects()
}

// claims has round trips wait for a claim that is to go along, where some are expected.
// It returns how many ends wait already.
func (q *ends) claims(more int) (waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting = len(q.waiting); more+waiting > 0 {
		q.claim = claimComes
	}
	return waiting
}

// ready has the next round trip take the claim along.
func (q *ends) ready() { q.step(claimReady) }

// claimed has round trips wait no longer for a claim, nor for its messages.
func (q *ends) claimed() { q.step(noClaim) }

func (q *ends) step(to claimStep) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claim = to
	q.check()
}

// await has the broker told of an end and waits for its answer; ok is false for one that
// says nothing of the end, and when ctx ends before.
func (q *ends) await(ctx context.Context, e end) (err error, ok bool) {
	e.done = make(chan error, 1)
	q.add(e)
	select {
	case err = <-e.done:
		return err, err == nil || errors.Is(err, ErrLost)
	case <-ctx.Done():
		return ctx.Err(), false
	}
}

// run makes round trips as long as somebody waits for one.
func (q *ends) run() {
	defer q.wg.Done()
	var batch []end
	for {
		q.gather()
		if batch = q.take(batch); len(batch) == 0 {
			return
		}
		q.settle(batch)
		q.mu.Lock()
		if q.claim == claimReady {
			q.claim = claimCarried
		}
		q.mu.Unlock()
	}
}

// gather waits a moment for those that are about to come: of runs that began together
// many end at the same time.
func (q *ends) gather() {
	q.mu.Lock()
	if n := len(q.waiting); n == 0 || n >= endsCrowd || q.gathers != nil || !q.missing() {
		q.mu.Unlock()
		return
	}
	all := make(chan struct{})
	q.gathers = all
	q.mu.Unlock()
	patience := time.NewTimer(endsPatience)
	defer patience.Stop()
	select {
	case <-all:
	case <-patience.C:
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.gathers == all {
			q.gathers = nil
		}
	}
}

// take returns those whose turn it is, in the memory of the last ones. With none the
// goroutine is one less.
func (q *ends) take(last []end) []end {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), endsMost)
	if n == 0 {
		q.away--
		return nil
	}
	clear(last)
	batch := append(last[:0], q.waiting[:n]...)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return batch
}

// settleEnds tells the broker of ends. What it refuses is tried again, each by itself.
func (w *Worker) settleEnds(ctx context.Context, batch []end) {
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
			w.pool.wg.Go(func() {
				w.settled(e, w.settle(e.r.after(ctx), "settle a task", e.r.task, e.settlement))
				w.pool.ended(1)
			})
			continue
		}
		w.settled(e, err)
		done++
	}
	w.pool.ended(done)
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
