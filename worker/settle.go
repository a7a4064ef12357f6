package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/internal/batch"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/link"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/returns"
	"github.com/evently/workers/worker/internal/taskevents"
	"github.com/evently/workers/worker/protocol"
)

const (
	// busyPause is the time between two looks at a chord that another worker is about to
	// complete.
	busyPause = 500 * time.Millisecond
	// failPause is the time between the failure of a member and the failure of the body
	// of its chord. A Python caller looks at the members first and, a few round trips
	// later, at the body. If both failed in between, it would get a ChordError instead of
	// the cause.
	failPause = 50 * time.Millisecond
)

// settler tells the broker what became of messages.
type settler struct {
	env
	broker   broker.Broker
	batcher  broker.Batcher
	can      broker.Capabilities
	link     *link.Link
	pool     *pool.Pool[*request]
	where    whereabouts
	held     *holdings
	plan     *planner
	workflow *workflow
	events   taskevents.Writer
	counts   *counters

	store    context.Context // ends when the broker is told nothing more
	batch    *batch.Batcher[settlement]
	retrying sync.WaitGroup    // settlements that a round trip refused
	returns  *returns.Gatherer // messages whose runs ended too early
}

// settlement is a run that only has to be settled.
type settlement struct {
	r     *request
	s     broker.Settlement
	event *events.Prepared // nil: none
	done  chan error       // capacity 1: receives the answer; nil: no goroutine waits for it
}

// settleRun settles the outcome of a run: decide → plan → settle.
func (s *settler) settleRun(r *request, o outcome, runtime time.Duration) pool.Result {
	if o.disposition == leaveClaimed {
		return pool.Ended
	}
	early := r.delivery.Claim == ""
	if !early && !s.held.remove(r) && o.state != protocol.StateSuccess {
		return pool.Ended // another worker has the message, and the last word
	}
	log := r.log
	if o.state != protocol.StateSuccess || log.Enabled(s.store, slog.LevelInfo) {
		log = log.With("runtime", runtime.Seconds())
	}
	if early && o.disposition != acknowledge {
		log.Warn("task lost: it did not end, and its message was acknowledged before it began", "error", s.errorText(r, o.err))
		return pool.Ended
	}
	switch o.disposition {
	case giveBack:
		return s.giveBackRun(log, r, o)
	case disclaim:
		// The handler reports that the message is lost, and it is not.
		log.Warn("task gave up a message that is still held, given back")
		s.returnDeliveries(s.store, []broker.Delivery{r.delivery})
		return pool.Ended
	}
	ctx := r.task.after(s.store)
	planned, o := s.plan.plan(ctx, r, o)
	planned.Succeeded = o.state == protocol.StateSuccess
	r.task.addRecords(&planned, s.can)
	s.count(log, r, o, planned)
	// The event is written now: what follows the task may begin at once.
	return s.settlePlanned(ctx, settlement{r: r, s: planned, event: outcomeEvent(s.events, r.msg, o, runtime)})
}

// giveBackRun gives back the message of a run that a stop has cut short, or whose handler
// returned GiveBack. Other messages may go back with it, because handlers end in any order.
// Until then the slot stays taken: the next task would probably be given back as well.
func (s *settler) giveBackRun(log *slog.Logger, r *request, o outcome) pool.Result {
	d := r.delivery
	if !errors.Is(o.err, ErrStopped) && s.can.Outbox != nil {
		d.Entries = r.task.recorded()
	}
	over := s.returns.Add(r.msg.Task, d)
	if errors.Is(o.err, ErrStopped) {
		log.Info("task cut short by the stop, given back")
		return pool.Ended
	}
	log.Debug("task given back by its handler", "error", s.errorText(r, o.err))
	s.events.Add(s.events.Rejected(r.msg, true))
	select {
	case <-over:
	case <-s.store.Done():
	}
	return pool.Skipped // it says nothing about the pace
}

// giveBackBatch gives back messages that were gathered while the worker runs. Messages of
// the same tasks that wait to run go back with them, because they would overtake them.
func (s *settler) giveBackBatch(b returns.Batch) {
	waiting := s.where.withdraw(func(r *request) bool { return b.Tasks[r.msg.Task] })
	ds := append(b.Deliveries, s.release(waiting)...)
	s.log.Info("messages given back to the front of their queues", "messages", len(ds))
	s.returnDeliveries(s.store, ds)
}

// settlePlanned settles a run together with others if it can, so that its slot is free
// meanwhile.
func (s *settler) settlePlanned(ctx context.Context, e settlement) pool.Result {
	// A message that was delivered before has crashes to forget.
	if e.s.Plain() && !e.r.msg.Redelivered {
		if s.pool.Detach(e.r) {
			s.batch.Add(e)
			return pool.Settling
		}
		if err, ok := s.settleTogether(e); ok {
			s.settled(e, err)
			return pool.Ended
		}
	}
	s.pool.Yield(e.r)
	s.settled(e, s.settle(ctx, "settle a task", e.r.task, e.s))
	return pool.Ended
}

// settleTogether adds a settlement to a batch and waits for the answer. ok is false for an
// answer that leaves open what became of it, and when the broker is told nothing more.
func (s *settler) settleTogether(e settlement) (err error, ok bool) {
	e.done = make(chan error, 1)
	s.batch.Add(e)
	select {
	case err = <-e.done:
		return err, err == nil || errors.Is(err, ErrLost)
	case <-s.store.Done():
		return s.store.Err(), false
	}
}

// send settles a batch. A settlement that is refused is tried again by itself.
func (s *settler) send(entries []settlement) {
	settlements := make([]broker.Settlement, len(entries))
	for i := range entries {
		settlements[i] = entries[i].s
	}
	settled := 0
	for i, err := range s.batcher.SettleAll(s.store, settlements) {
		e := entries[i]
		if e.done != nil {
			e.done <- err
			continue
		}
		if err != nil && !errors.Is(err, ErrLost) {
			s.retrying.Go(func() {
				s.settled(e, s.settle(e.r.task.after(s.store), "settle a task", e.r.task, e.s))
				s.pool.Settled(1)
			})
			continue
		}
		s.settled(e, err)
		settled++
	}
	s.pool.Settled(settled)
}

// wait waits until all batches are settled. No task may run any more.
func (s *settler) wait() {
	s.batch.Wait()
	s.retrying.Wait()
}

// settled notes the answer to a settlement.
func (s *settler) settled(e settlement, err error) {
	switch {
	case errors.Is(err, ErrLost):
		s.counts.lost.Add(1)
		e.r.log.Warn("message lost before its task ended: its lease had run out")
	case err == nil:
		s.events.Add(e.event)
	}
}

// settle settles a delivery, and carries out what follows the chords that it completes. t
// is its task, nil when the message cannot be one.
func (s *settler) settle(ctx context.Context, what string, t *Task, planned broker.Settlement) error {
	var revoke []string
	defer func() { s.workflow.revoke(ctx, revoke) }()
	failed := planned.Result != nil && (planned.Result.Status == protocol.StateFailure || planned.Result.Status == protocol.StateRevoked)
	for {
		var done broker.Settled
		err := s.link.Persist(ctx, what, func(ctx context.Context) (err error) {
			done, err = s.broker.Settle(ctx, planned)
			return err
		})
		if err != nil {
			return err
		}
		s.events.Forward(sentEvents(planned.Changes.Publish))
		for _, body := range planned.Bodies {
			s.events.Forward(sentEvents(body.Changes.Publish))
		}
		if done.Done() {
			return nil
		}
		// The result and its consequences are stored. Only the chord is left.
		planned.Step++
		planned.Result, planned.Changes = nil, broker.Changes{Members: done.Busy}
		planned.Mark, planned.Names, planned.Entries = nil, nil, nil
		planned.Bodies = planned.Bodies[:0]
		for _, c := range done.Complete {
			body, ids := s.workflow.chordBody(ctx, t, c)
			planned.Bodies, revoke = append(planned.Bodies, body), append(revoke, ids...)
		}
		var pause time.Duration
		switch {
		case len(done.Complete) == 0:
			pause = busyPause
		case failed:
			pause, failed = failPause, false
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return err // the lease runs out
		}
	}
}

// failUnrun settles a message that is not run as a failure, with all consequences of one.
func (s *settler) failUnrun(ctx context.Context, r *request, exc *protocol.Exception, deadLetter string) {
	ctx = r.task.after(ctx)
	planned := s.plan.planUnrun(ctx, r, exc, deadLetter)
	r.task.addRecords(&planned, s.can)
	if s.settle(ctx, "fail a task that did not run", r.task, planned) == nil {
		s.events.Add(s.events.Failed(r.msg, exc, ""))
	}
}

// poisoned settles a message whose runs keep killing the process.
func (s *settler) poisoned(r *request, crashed int) {
	if !s.held.remove(r) {
		return
	}
	s.counts.deadLettered.Add(1)
	r.log.Error("task crashed the worker too often, message set aside in the dead letters", "runs", crashed)
	exc := &protocol.Exception{Type: "WorkerLostError", Module: "billiard.exceptions",
		Args: []any{"Worker exited prematurely, every time the task ran."}}
	r.withdraw(WithdrawnCrashed)
	s.failUnrun(s.store, r, exc, "poison: runs that never ended")
}

// revoke settles a message without running it, as REVOKED.
func (s *settler) revoke(ctx context.Context, r *request, reason string) {
	if !s.held.remove(r) {
		return
	}
	s.counts.revoked.Add(1)
	r.log.Info("task revoked", "reason", reason)
	planned := s.plan.planRevoked(r, revokedError(reason))
	r.withdraw(Withdrawal(reason))
	r.task.addRecords(&planned, s.can)
	if s.settle(r.task.after(ctx), "revoke a task", r.task, planned) == nil {
		s.events.Add(s.events.Revoked(r.msg, reason))
	}
}

// completeChord settles a delivery whose earlier run was counted in its chord, but not
// acknowledged. Only the chord is left.
func (s *settler) completeChord(r *request) {
	if !s.held.remove(r) {
		return
	}
	r.log.Info("task had ended before, its chord continues")
	planned := broker.Settlement{Delivery: r.delivery}
	// State and result do not matter: the chord has them.
	addMember(r, &planned, protocol.StateSuccess, protocol.Raw("null"))
	_ = s.settle(r.task.after(s.store), "complete a chord", r.task, planned)
}

// deduplicate settles a delivery whose earlier run has stored a SUCCESS
// (worker_deduplicate_successful_tasks).
func (s *settler) deduplicate(r *request, stored *protocol.Result) {
	if !s.held.remove(r) {
		return
	}
	r.log.Info("task had succeeded before, it does not run again")
	ctx := r.task.after(s.store)
	planned, raw := s.plan.planSucceeded(ctx, r, stored)
	if s.settle(ctx, "settle a task that had succeeded", r.task, planned) == nil && planned.DeadLetter == "" {
		s.events.Add(s.events.Succeeded(r.msg, raw, 0))
	}
}

// giveBack returns messages to the front of their queues in their old order.
func (s *settler) giveBack(ctx context.Context, rs []*request) {
	s.returnDeliveries(ctx, s.release(rs))
}

// giveBackLater gives back a message that has not begun to run, together with others.
func (s *settler) giveBackLater(r *request) {
	if s.held.remove(r) {
		s.returns.Add(r.msg.Task, r.delivery)
	}
}

// release removes requests from the held ones, and returns the deliveries that were still
// held.
func (s *settler) release(rs []*request) []broker.Delivery {
	ds := make([]broker.Delivery, 0, len(rs))
	for _, r := range rs {
		if s.held.remove(r) {
			ds = append(ds, r.delivery)
		}
	}
	return ds
}

// returnCutShort gives back the messages whose runs have ended too early.
func (s *settler) returnCutShort() { s.returnDeliveries(s.store, s.returns.Take()) }

// returnDeliveries gives messages back. If the broker is unavailable until the end of the
// stop, their leases run out.
func (s *settler) returnDeliveries(ctx context.Context, ds []broker.Delivery) {
	if len(ds) == 0 {
		return
	}
	_ = s.link.Persist(ctx, "give back messages", func(ctx context.Context) error { return s.broker.Return(ctx, ds) })
}

// count counts and logs how a task ended.
func (s *settler) count(log *slog.Logger, r *request, o outcome, planned broker.Settlement) {
	if planned.DeadLetter != "" {
		s.counts.deadLettered.Add(1)
		log = log.With("dead_letter", planned.DeadLetter)
	}
	switch {
	case o.state == protocol.StateRetry:
		s.counts.retried.Add(1)
		level := slog.LevelWarn
		if o.free {
			level = slog.LevelDebug // no fault of the task; its handler knows
		}
		log.Log(context.Background(), level, "task will be retried", "countdown", o.countdown.Seconds(), "error", s.errorText(r, o.err))
	case o.state == protocol.StateSuccess && planned.DeadLetter != "":
		s.counts.succeeded.Add(1) // the state that the caller sees
		log.Warn("task given up, its answer is stored")
	case o.state == protocol.StateSuccess:
		s.counts.succeeded.Add(1)
		log.Info("task succeeded")
	case o.state == protocol.StateRevoked:
		s.counts.revoked.Add(1)
		log.Warn("task terminated")
	case o.replace != nil:
		log.Info("task replaced by another")
	case o.state == protocol.StateFailure:
		s.counts.failed.Add(1)
		log.Error("task failed", "error", s.errorText(r, o.err))
	case o.disposition == requeue:
		log.Warn("task requeued", "error", s.errorText(r, o.err))
	default:
		log.Info("task ended")
	}
}

// errorText returns the text of an error of a handler, without secrets of the arguments.
func (s *settler) errorText(r *request, err error) string {
	if err == nil {
		return ""
	}
	return s.workflow.present.Text(r.msg, errorText(err))
}
