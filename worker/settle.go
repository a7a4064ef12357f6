package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
)

// busyPause is the time between two looks at a chord that another worker is
// about to complete.
const busyPause = 500 * time.Millisecond

// failPause is the time between the failure of a member and that of the body of
// its chord. Whoever waits for a chord in Python looks at its members first and,
// a few round trips later, at its body. Were both to fail in between, it would be
// told of a ChordError instead of the cause.
const failPause = 50 * time.Millisecond

// settle ends a delivery, and carries out what follows the chords that it
// completes. t is its task, nil when the message cannot be one.
func (w *Worker) settle(ctx context.Context, what string, t *Task, s broker.Settlement) error {
	var revoke []string
	defer func() { w.revoke(ctx, revoke) }()
	failed := s.Result != nil && (s.Result.Status == protocol.StateFailure || s.Result.Status == protocol.StateRevoked)
	for {
		var done broker.Settled
		err := w.persist(ctx, what, func(ctx context.Context) (err error) {
			done, err = w.broker.Settle(ctx, s)
			return err
		})
		if err != nil {
			return err
		}
		w.events.Forward(sent(s.Changes.Publish))
		for _, body := range s.Bodies {
			w.events.Forward(sent(body.Changes.Publish))
		}
		if done.Done() {
			return nil
		}
		// The result and what follows it are stored; what is left is the chord.
		s.Step++
		s.Result, s.Changes = nil, broker.Changes{Members: done.Busy}
		s.Bodies = s.Bodies[:0]
		for _, c := range done.Complete {
			body, ids := w.chordBody(ctx, t, c)
			s.Bodies, revoke = append(s.Bodies, body), append(revoke, ids...)
		}
		var pause time.Duration
		switch {
		case len(done.Complete) == 0:
			pause = busyPause
		case failed:
			pause, failed = failPause, false
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return err // the lease tells
		}
	}
}

// publish carries out changes that do not end a delivery.
func (w *Worker) publish(ctx context.Context, c broker.Changes) error {
	if err := w.can.Backend.Publish(ctx, c); err != nil {
		return err
	}
	w.events.Forward(sent(c.Publish))
	return nil
}

// chordBody works out what follows a complete chord, and which tasks must not
// run any more then; t is the task that runs. What cannot be worked out fails the
// body: somebody waits for it.
func (w *Worker) chordBody(ctx context.Context, t *Task, c broker.CompleteChord) (body broker.ChordBody, revoke []string) {
	m := c.Part.Message
	body.GroupID = c.Part.Entry.GroupID
	cc := w.canvasContext(m)
	cc.Children = t.published()
	plan, err := canvas.ChordBody(m, c.Joined, cc)
	if err == nil {
		if body.Changes, err = w.changesAfter(ctx, plan); err == nil {
			body.Failed = plan.BodyFailed
			t.addChildren(plan.Children)
			w.callErrbacks(ctx, plan)
			return body, plan.Revoke
		}
	}
	w.log.Error("body of a chord cannot be published", "group_id", body.GroupID, "error", err)
	body.Failed = true
	if plan, err = canvas.ChordError(m, "Callback error: "+canvas.ReprException(wire(err)), cc); err == nil {
		if body.Changes, err = w.changesAfter(ctx, plan); err == nil {
			t.addChildren(plan.Children)
			w.callErrbacks(ctx, plan)
			return body, plan.Revoke
		}
	}
	w.log.Error("body of a chord cannot even fail", "group_id", body.GroupID, "error", err)
	body.Changes = broker.Changes{}
	return body, nil
}

// canvasContext is what canvas has to know when it is m that publishes.
func (w *Worker) canvasContext(m *protocol.Message) canvas.Context {
	c := w.pub.context(m)
	c.ResultExtended = w.cfg.ResultExtended
	c.Errback = func(task string) canvas.ErrbackStyle {
		if w.definition(task).ErrorCallback != nil {
			return canvas.ErrbackCall
		}
		return canvas.ErrbackMessage
	}
	return c
}

// succeed adds what follows the success of r with result; handle is not nil when that
// is a handle. The error is that of a workflow that cannot be carried out.
func (w *Worker) succeed(ctx context.Context, r *request, s *broker.Settlement, result protocol.Raw, handle *resultHandle) error {
	m := r.msg
	if !m.Callbacks.IsNull() || !m.Chain.IsNull() {
		plan, err := canvas.AfterSuccess(m, result, w.canvasContext(m))
		if err != nil {
			return err
		}
		if handle != nil && handle.isArgument(plan) {
			return handle.encodeError()
		}
		if err := w.merge(ctx, s, plan); err != nil {
			return err
		}
		r.task.addChildren(plan.Children)
	}
	w.member(r, s, protocol.StateSuccess, result)
	return nil
}

// fail adds what follows a failure of r.
func (w *Worker) fail(ctx context.Context, r *request, s *broker.Settlement, exc *protocol.Exception, traceback string) {
	m := r.msg
	w.memberFailed(r, s, protocol.StateFailure, exc)
	if m.Chain.IsNull() && m.Errbacks.IsNull() {
		return
	}
	c := w.canvasContext(m)
	c.ErrorsIgnored = r.ignoreResult && !r.storeErrors
	var tb *string
	if traceback != "" {
		tb = &traceback
	}
	plan, err := canvas.AfterFailure(m, exc, tb, c)
	if err == nil {
		if err = w.merge(ctx, s, plan); err != nil {
			r.log.Error("error callbacks of the task cannot be published", "error", err)
			plan.Messages = nil // the rest tells who waits for the chain
			err = w.merge(ctx, s, plan)
		}
	}
	if err != nil {
		r.log.Error("what follows the failure of the task cannot be carried out", "error", err)
		return
	}
	// The result of r was stored before them, says Celery: they are no children of it.
	w.callErrbacks(ctx, plan)
}

// merge adds a plan to a settlement.
func (w *Worker) merge(ctx context.Context, s *broker.Settlement, plan *canvas.Plan) error {
	c, err := w.changesAfter(ctx, plan)
	if err != nil {
		return err
	}
	add(&s.Changes, c)
	return nil
}

// member counts r in the chord that it belongs to.
func (w *Worker) member(r *request, s *broker.Settlement, state string, result protocol.Raw) {
	if entry, ok := canvas.Member(r.msg, state, result); ok {
		// Before those that never ran: as it is done in Celery.
		s.Changes.Members = append([]canvas.ChordPart{{Message: r.msg, Entry: entry}}, s.Changes.Members...)
	}
}

func (w *Worker) memberFailed(r *request, s *broker.Settlement, state string, exc *protocol.Exception) {
	if r.msg.Chord.IsNull() {
		return
	}
	raw, err := canvas.ExceptionRaw(exc)
	if err != nil {
		r.log.Error("exception has no form in a chord", "error", err)
		raw = protocol.Raw(`{"exc_type": "Exception", "exc_message": [], "exc_module": "builtins"}`)
	}
	w.member(r, s, state, raw)
}

// resume ends a delivery whose earlier run got as far as the chord, but not to
// its acknowledgement: only the chord is left.
func (w *Worker) resume(ctx context.Context, r *request) {
	if !w.held.remove(r) {
		return
	}
	ctx = r.after(ctx)
	r.log.Info("task had ended before, its chord goes on")
	s := broker.Settlement{Delivery: r.delivery}
	// State and result do not matter: the chord has them.
	w.member(r, &s, protocol.StateSuccess, protocol.Raw("null"))
	_ = w.settle(ctx, "end a chord", r.task, s)
}

// deduplicate ends a delivery whose earlier run has stored a SUCCESS
// (worker_deduplicate_successful_tasks). Callbacks and chain were published
// before it, unless nothing was: then they are published now.
func (w *Worker) deduplicate(ctx context.Context, r *request, stored *protocol.Result) {
	if !w.held.remove(r) {
		return
	}
	ctx = r.after(ctx)
	r.log.Info("task had succeeded before, it does not run again")
	s := broker.Settlement{Delivery: r.delivery}
	raw, err := valueOf(stored)
	if err == nil {
		if published(stored) {
			w.member(r, &s, protocol.StateSuccess, raw)
		} else {
			err = w.succeed(ctx, r, &s, raw, nil)
		}
	}
	if err != nil {
		r.log.Error("what follows the task cannot be carried out", "error", err)
		s.Changes = broker.Changes{}
		s.DeadLetter = "what follows the task cannot be carried out"
	}
	if w.settle(ctx, "end a task that had succeeded", r.task, s) == nil && s.DeadLetter == "" {
		w.events.Add(w.events.succeeded(r.msg, raw, 0))
	}
}

// published reports whether a result has children: what was linked to the task
// is among them.
func published(r *protocol.Result) bool {
	children, err := r.Children.Elements()
	return err == nil && len(children) > 0
}

// encodeError is Celery's exception for a value that JSON has no form for.
func encodeError(e *protocol.MarshalError) *protocol.Exception {
	text := fmt.Sprintf("Object of type %v is not JSON serializable: %s", e.Type, e.Detail)
	if e.Type == nil {
		text = "Object is not JSON serializable: " + e.Detail
	}
	return &protocol.Exception{Type: "EncodeError", Module: "kombu.exceptions", Args: []any{"TypeError(" + canvas.ReprText(text) + ")"}}
}

// failureOf turns the fault of a workflow into the failure of the task that asked
// for it.
func failureOf(err error) *protocol.Exception {
	if e, ok := errors.AsType[*canvas.TaskError](err); ok {
		return e.Exception
	}
	return &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{fmt.Sprintf("cannot publish what follows the task: %v", err)}}
}
