package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/protocol"
)

// execute sees one request through, from its start to what is stored of it.
func (w *Worker) execute(life lifecycle, r *request) pool.Result {
	if !w.held.has(r) {
		return pool.Skipped // lost while it waited for a slot
	}
	if reason := w.withdrawn(r); reason != "" {
		w.revokeRequest(life.store, r, reason)
		return pool.Skipped
	}
	if !w.start(life, r) {
		return pool.Skipped
	}
	r.limit(w)
	r.log.Debug("task started")
	w.totals.add(r.msg.Task)
	w.events.started(r.msg)
	a, here := w.call(life, r)
	if !here {
		return pool.Replaced
	}
	return w.conclude(life, r, a)
}

// conclude does what the answer of the handler asks for.
func (w *Worker) conclude(life lifecycle, r *request, a handled) pool.Result {
	if errors.Is(a.cause, ErrTimeLimit) {
		a.err = r.afterTimeLimit(a.err)
	}
	w.checkMemory() // before its slot is another's
	return w.finish(life, r, decideSafely(r.task, r.def.Definition, a.result, a.err, a.cause), a.runtime)
}

// withdrawn tells why a request must not run: "expired", "revoked" or "".
func (w *Worker) withdrawn(r *request) string {
	switch {
	case w.expired(r.msg):
		return "expired"
	case w.revoked.covers(r.msg):
		return "revoked"
	}
	return ""
}

// start announces the run and reports whether it may begin.
func (w *Worker) start(life lifecycle, r *request) bool {
	var started *protocol.Result
	if (w.cfg.TrackStarted || r.def.TrackStarted) && !r.ignoreResult {
		started = w.result(r.task, protocol.StateStarted)
		started.Result = startedMeta{PID: os.Getpid(), Hostname: w.cfg.Name}
	}
	// A first delivery without STARTED needs no word with the broker.
	if started != nil || r.msg.Redelivered {
		var before broker.Started
		err := w.persist(life.store, "start a task", func(ctx context.Context) (err error) {
			before, err = w.broker.Start(ctx, r.delivery, w.startOf(r, started))
			return err
		})
		switch {
		case err != nil:
			// Lost, or the stop came while the broker was away: the lease tells.
			w.held.remove(r)
			return false
		case before.Counted:
			w.resume(life.store, r)
			return false
		case before.Success != nil:
			w.deduplicate(life.store, r, before.Success)
			return false
		case before.Crashed >= w.cfg.MaxRedeliveries:
			w.poisoned(life, r, before.Crashed)
			return false
		}
	}
	r.tracked = started != nil
	if r.acksEarly {
		if !w.held.remove(r) {
			return false
		}
		err := w.settle(life.store, "acknowledge", r.task, broker.Settlement{Delivery: r.delivery})
		if err != nil {
			return false
		}
		r.delivery.Claim, r.task.claim = "", ""
	}
	return true
}

// startOf is what the broker has to know of a run.
func (w *Worker) startOf(r *request, started *protocol.Result) broker.Start {
	s := broker.Start{Result: started, Stored: w.cfg.DeduplicateSuccessful && !r.acksEarly}
	if entry, ok := canvas.Member(r.msg, "", nil); ok && r.msg.Redelivered {
		s.Member = &entry
	}
	return s
}

// startedMeta is the result of the state STARTED.
type startedMeta struct {
	PID      int    `json:"pid"`
	Hostname string `json:"hostname"`
}

// poisoned ends a message whose runs keep killing the process.
func (w *Worker) poisoned(life lifecycle, r *request, crashed int) {
	if !w.held.remove(r) {
		return
	}
	w.counts.deadLettered.Add(1)
	r.log.Error("task never came to an end, message set aside in the dead letters", "runs", crashed)
	exc := &protocol.Exception{Type: "WorkerLostError", Module: "billiard.exceptions",
		Args: []any{"Worker exited prematurely, every time the task ran."}}
	w.failUnrun(life.store, r, exc, "poison: runs that never ended")
}

// failUnrun ends a message that is not run as a failure, with all that follows
// one.
func (w *Worker) failUnrun(ctx context.Context, r *request, exc *protocol.Exception, deadLetter string) {
	ctx = r.after(ctx)
	s := broker.Settlement{Delivery: r.delivery, DeadLetter: deadLetter}
	if r.stored(protocol.StateFailure) {
		s.Result = w.result(r.task, protocol.StateFailure)
		s.Result.Exception, s.Result.DateDone = exc, w.now()
	}
	w.fail(ctx, r, &s, exc, "")
	if w.settle(ctx, "end a task that did not run", r.task, s) == nil {
		w.events.Add(w.events.failed(r.msg, exc, ""))
	}
}

// finish carries out the decision.
func (w *Worker) finish(life lifecycle, r *request, o outcome, runtime time.Duration) pool.Result {
	early := r.delivery.Claim == ""
	if !early && !o.abandoned && !w.held.remove(r) && o.state != protocol.StateSuccess {
		return pool.Ended // another worker has the message, and the last word
	}
	log := r.log
	if o.state != protocol.StateSuccess || log.Enabled(life.store, slog.LevelInfo) {
		log = log.With("runtime", runtime.Seconds())
	}
	switch {
	case o.abandoned:
		return pool.Ended
	case early && (o.giveBack || o.drop || o.requeue):
		log.Warn("task did not end, and its message was acknowledged before it began: it is lost", "error", w.told(r, o.err))
		return pool.Ended
	case o.giveBack:
		log.Info("task cut short by the stop, given back")
		w.cutShort.add(r.delivery)
		return pool.Ended
	case o.drop:
		// The handler says that the message is lost, and it is not.
		log.Warn("task gave up its message, which is still ours: given back")
		_ = w.persist(life.store, "give back a message", func(ctx context.Context) error {
			return w.broker.Return(ctx, []broker.Delivery{r.delivery})
		})
		return pool.Ended
	}
	s := broker.Settlement{Delivery: r.delivery, DeadLetter: w.present.text(r.msg, o.deadLetter), Tracked: r.tracked}
	if o.requeue {
		s.Requeue = broker.RequeueRedelivered
	}
	ctx := r.after(life.store)
	o = w.follow(ctx, r, &s, o)
	w.rejectFailure(r, &s, o, early)
	w.count(log, r, o, s)
	e := end{r: r, settlement: s, event: w.events.settled(r.msg, o, runtime)} // written now: what follows it may begin at once
	// One that was delivered before has crashes to forget.
	if s.Plain() && !r.msg.Redelivered {
		if w.pool.Detach(r) {
			w.ends.Add(e)
			return pool.Settling
		}
		if err, ok := w.settleTogether(life.store, e); ok {
			w.settled(e, err)
			return pool.Ended
		}
	}
	w.pool.Yield(r)
	w.settled(e, w.settle(ctx, "settle a task", r.task, s))
	return pool.Ended
}

// follow adds to a settlement the result and all that follows the outcome. What
// cannot follow turns the outcome into a failure.
func (w *Worker) follow(ctx context.Context, r *request, s *broker.Settlement, o outcome) outcome {
	if o.replace != nil {
		if err := w.replace(ctx, r, s, o.replace); err == nil {
			return o
		} else {
			o = failed(r.task, failureOf(err), err)
		}
	}
	if o.retry {
		p, err := w.publication(ctx, r, o)
		if err == nil {
			s.Changes.Publish = append(s.Changes.Publish, *p)
		} else {
			o = failure(r.task, err)
			o.deadLetter, s.DeadLetter = "retry cannot be published", "retry cannot be published"
		}
	}
	if o.state == protocol.StateSuccess {
		handle, _ := o.result.(*resultHandle)
		raw, err := w.encodable(r, o.result)
		if err == nil {
			o.result = raw
			err = w.succeed(ctx, r, s, raw, handle)
		}
		if err != nil {
			r.log.Error("task has a result that nothing can follow", "error", err)
			s.Changes = broker.Changes{}
			o = failed(r.task, failureOf(err), err)
			if e, ok := errors.AsType[*protocol.MarshalError](err); ok {
				o = failed(r.task, encodeError(e), err)
			}
		}
	}
	switch o.state {
	case protocol.StateFailure:
		w.fail(ctx, r, s, o.exception, o.traceback)
	case protocol.StateRevoked:
		w.memberFailed(r, s, o.state, o.exception)
	}
	if o.state != "" && r.stored(o.state) {
		s.Result = w.result(r.task, o.state)
		s.Result.Exception, s.Result.Children = o.exception, r.task.childrenRaw()
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
	return o
}

// rejectFailure does what a setting asks for when a late task has failed, instead
// of acknowledging its message.
func (w *Worker) rejectFailure(r *request, s *broker.Settlement, o outcome, early bool) {
	if early || o.state != protocol.StateFailure || s.DeadLetter != "" {
		return
	}
	if errors.Is(o.err, ErrTimeLimit) {
		if w.cfg.RequeueOnTimeout || r.def.RequeueOnTimeout {
			s.Requeue = broker.RequeueRedelivered
		}
		return
	}
	if w.cfg.RejectOnFailure || r.def.RejectOnFailure {
		s.DeadLetter = "failed: " + o.exception.Type
	}
}

// encodable returns a result as JSON.
func (w *Worker) encodable(r *request, result any) (protocol.Raw, error) {
	raw, err := protocol.Marshal(result)
	if err != nil {
		if _, ok := errors.AsType[*protocol.MarshalError](err); !ok {
			// Of a method of the value: its text may hold anything.
			err = &protocol.MarshalError{Detail: "one of its methods failed"}
		}
		return nil, err
	}
	return raw, nil
}

// publication makes the message of a retry.
func (w *Worker) publication(ctx context.Context, r *request, o outcome) (*broker.Publication, error) {
	opts := protocol.RetryOptions{DeliveryTag: uuid.NewString(), Origin: w.pub.origin, Queue: r.delivery.Queue, Headers: o.again.Headers, IgnoreResult: r.ignoreResult}
	if o.countdown > 0 {
		opts.ETA = w.now().Add(o.countdown)
	}
	if o.free {
		n := r.msg.Retries
		opts.Retries = &n
	}
	m, err := again(r.msg, o.again)
	if err == nil {
		err = w.pub.prepareRetry(ctx, m, opts)
	}
	if err != nil {
		return nil, err
	}
	raw, err := protocol.EncodeRetry(m, opts)
	if limit := w.cfg.Limits.Size; err == nil && len(raw) > limit {
		// It came compressed, perhaps. What this worker could not read again must
		// not go out.
		size := len(raw)
		opts.Encoding.Compression = "zlib"
		if raw, err = protocol.EncodeRetry(m, opts); err == nil {
			if _, unread := w.decoder.Decode(raw); unread != nil {
				err = fmt.Errorf("its message would have %d bytes, more than the %d that this worker reads", size, limit)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	p := &broker.Publication{Queue: r.delivery.Queue, RoutingKey: r.delivery.Queue, Priority: r.msg.Priority, Raw: raw}
	if w.cfg.SendSentEvent {
		next := *m
		next.Retries, next.ETA = r.msg.Retries+1, opts.ETA
		if opts.Retries != nil {
			next.Retries = *opts.Retries
		}
		if p.Sent, err = w.pub.sentEvent(&next, *p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// again returns the message of a retry as far as its handler has changed it.
func again(m *protocol.Message, e *RetryError) (*protocol.Message, error) {
	next := *m
	if !e.Expires.IsZero() {
		next.Expires = e.Expires
	}
	if e.Args != nil {
		raw, err := protocol.Marshal(e.Args)
		if err != nil {
			return nil, fmt.Errorf("arguments of a retry: %w", err)
		}
		next.Args, next.ArgsRepr = raw, canvas.Repr(raw)
	}
	if e.Kwargs != nil {
		raw, err := protocol.Marshal(e.Kwargs)
		if err != nil {
			return nil, fmt.Errorf("keyword arguments of a retry: %w", err)
		}
		next.Kwargs, next.KwargsRepr = raw, canvas.Repr(raw)
	}
	return &next, nil
}
