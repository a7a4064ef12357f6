package worker

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// execute sees one request through, from its start to what is stored of it.
func (w *Worker) execute(life lifecycle, r *request) {
	if !w.held.has(r) {
		return // lost while it waited for a slot
	}
	if r.expired(w.now()) {
		w.revoke(life.store, r, "expired")
		return
	}
	if !w.start(life, r) {
		return
	}
	began := w.now()
	result, err, cause := w.call(life, r)
	o := decide(r.task, r.def.Definition, result, err, cause)
	w.finish(life, r, o, w.now().Sub(began))
}

// start announces the run and reports whether it may begin.
func (w *Worker) start(life lifecycle, r *request) bool {
	var started *protocol.Result
	if w.cfg.TrackStarted && !r.ignoreResult {
		started = w.result(r.msg, protocol.StateStarted)
		started.Result = startedMeta{PID: os.Getpid(), Hostname: w.cfg.Name}
	}
	// A first delivery without STARTED needs no word with the broker.
	if started != nil || r.msg.Redelivered {
		crashed := 0
		err := w.persist(life.store, "start a task", func(ctx context.Context) (err error) {
			crashed, err = w.broker.Start(ctx, r.delivery, started)
			return err
		})
		if err != nil {
			// Lost, or the stop came while the broker was away: the lease tells.
			w.held.remove(r)
			return false
		}
		if crashed >= w.cfg.MaxRedeliveries {
			w.poisoned(life, r, crashed)
			return false
		}
	}
	if r.acksEarly {
		if !w.held.remove(r) {
			return false
		}
		err := w.persist(life.store, "acknowledge", func(ctx context.Context) error {
			return w.broker.Settle(ctx, Settlement{Delivery: r.delivery})
		})
		if err != nil {
			return false
		}
		r.delivery.Claim = ""
	}
	r.log.Debug("task started")
	return true
}

// startedMeta is the result of the state STARTED.
type startedMeta struct {
	PID      int    `json:"pid"`
	Hostname string `json:"hostname"`
}

// poisoned ends a message whose runs keep killing the process.
func (w *Worker) poisoned(life lifecycle, r *request, crashed int) {
	w.held.remove(r)
	w.counts.deadLettered.Add(1)
	r.log.Error("task never came to an end, message set aside in the dead letters", "runs", crashed)
	s := Settlement{Delivery: r.delivery, DeadLetter: "poison: runs that never ended"}
	if !r.ignoreResult {
		s.Result = w.result(r.msg, protocol.StateFailure)
		s.Result.DateDone = w.now()
		s.Result.Exception = &protocol.Exception{Type: "WorkerLostError", Module: "billiard.exceptions",
			Args: []any{"Worker exited prematurely, every time the task ran."}}
	}
	_ = w.persist(life.store, "set a message aside", func(ctx context.Context) error { return w.broker.Settle(ctx, s) })
}

// call runs the handler within its time limits. The cause is that of the
// handler's context at its end.
func (w *Worker) call(life lifecycle, r *request) (result any, err, cause error) {
	ctx, cancel := r.begin(life.work)
	defer cancel(nil)

	type answer struct {
		result any
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		a := answer{err: errGoexit}
		defer func() {
			if v := recover(); v != nil {
				a = answer{err: &errPanic{value: v, stack: string(debug.Stack())}}
			}
			done <- a
		}()
		a.result, a.err = r.def.handler.Run(ctx, r.task)
	}()

	var soft, hard <-chan time.Time
	if r.soft > 0 {
		t := time.NewTimer(r.soft)
		defer t.Stop()
		soft = t.C
	}
	if r.hard > 0 {
		t := time.NewTimer(r.hard)
		defer t.Stop()
		hard = t.C
	}
	for {
		select {
		case a := <-done:
			return a.result, a.err, context.Cause(ctx)
		case <-life.store.Done():
			// The stop is over and the handler does not heed its context. The
			// message stays claimed until the lease ends with the process:
			// while this may still be at work nobody else must begin.
			w.abandon(func() { <-done })
			return nil, ErrLost, ErrStopped
		case <-soft:
			r.log.Warn("soft time limit exceeded", "limit", r.soft)
			cancel(ErrSoftTimeLimit)
		case <-hard:
			cancel(ErrTimeLimit)
			r.log.Error("hard time limit exceeded", "limit", r.hard)
			// Go cannot end a goroutine from outside. The slot is given up and
			// the handler counted until it returns by itself.
			w.abandon(func() { <-done })
			return nil, &Exception{Type: "TimeLimitExceeded", Module: "billiard.exceptions",
				Args: []any{r.hard.Seconds()}, Err: ErrTimeLimit}, ErrTimeLimit
		}
	}
}

// abandon counts a handler that is no longer waited for until it returns.
func (w *Worker) abandon(returned func()) {
	w.aborted.Add(1)
	go func() {
		returned()
		w.aborted.Add(-1)
	}()
}

// finish carries out the decision.
func (w *Worker) finish(life lifecycle, r *request, o outcome, runtime time.Duration) {
	early := r.delivery.Claim == ""
	if !early && !w.held.remove(r) && o.state != protocol.StateSuccess {
		return // another worker has the message, and the last word
	}
	log := r.log.With("runtime", runtime.Seconds())
	switch {
	case o.drop:
		return
	case o.giveBack:
		log.Info("task cut short by the stop, given back")
		if !early {
			w.cutShort.add(r.delivery)
		}
		return
	}

	s := Settlement{Delivery: r.delivery, Requeue: o.requeue && !early, DeadLetter: o.deadLetter}
	if o.state != "" {
		s.Result = w.result(r.msg, o.state)
		s.Result.Exception = o.exception
		if o.traceback != "" {
			s.Result.Traceback = &o.traceback
		}
		if o.state == protocol.StateSuccess {
			s.Result.Result = o.result
		}
		if !o.retry {
			s.Result.DateDone = w.now()
		}
	}
	if o.retry {
		p, err := w.publication(r, o)
		if err != nil {
			log.Error("retry cannot be published", "error", err)
			o = failure(err, "")
			s.Result.Status, s.Result.Exception, s.Result.DateDone = o.state, o.exception, w.now()
			s.DeadLetter = "retry cannot be published"
		} else {
			s.Publish = p
		}
	}
	s.Result = w.encodable(r, s.Result)
	if r.ignoreResult {
		s.Result = nil
	}
	w.count(log, o, s)
	err := w.persist(life.store, "settle a task", func(ctx context.Context) error { return w.broker.Settle(ctx, s) })
	if err == ErrLost {
		w.counts.lost.Add(1)
		log.Warn("message was no longer ours when its task ended")
	}
}

// encodable replaces a result that is no JSON by the FAILURE that Celery makes
// of it.
func (w *Worker) encodable(r *request, res *protocol.Result) *protocol.Result {
	if res == nil {
		return nil
	}
	_, err := protocol.EncodeResult(res)
	if err == nil {
		return res
	}
	r.log.Error("result is not encodable as JSON", "error", err)
	f := w.result(r.msg, protocol.StateFailure)
	f.DateDone = w.now()
	f.Exception = &protocol.Exception{Type: "EncodeError", Module: "kombu.exceptions", Args: []any{err.Error()}}
	return f
}

// publication makes the message of a retry.
func (w *Worker) publication(r *request, o outcome) (*Publication, error) {
	opts := protocol.RetryOptions{DeliveryTag: uuid.NewString(), Origin: w.origin, Queue: r.delivery.Queue}
	if o.countdown > 0 {
		opts.ETA = w.now().Add(o.countdown)
	}
	if o.free {
		n := r.msg.Retries
		opts.Retries = &n
	}
	raw, err := protocol.EncodeRetry(r.msg, opts)
	if err != nil {
		return nil, err
	}
	return &Publication{Queue: r.delivery.Queue, Priority: r.msg.Priority, Raw: raw}, nil
}
