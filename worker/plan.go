package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// planner works out the settlement of an outcome: the result, and what follows the task.
type planner struct {
	env
	workflow *workflow
	decoder  *protocol.Decoder
}

// plan returns the settlement of an outcome. An outcome that nothing can follow becomes a
// failure.
func (p *planner) plan(ctx context.Context, r *request, o outcome) (broker.Settlement, outcome) {
	s := broker.Settlement{Delivery: r.delivery, DeadLetter: p.workflow.present.Text(r.msg, o.deadLetter), Tracked: r.tracked}
	if o.disposition == requeue {
		s.Requeue = broker.RequeueRedelivered
	}
	o = p.addReplacement(ctx, r, &s, o)
	o = p.addRetry(ctx, r, &s, o)
	o = p.addSuccess(ctx, r, &s, o)
	switch o.state {
	case protocol.StateFailure:
		p.addFailure(ctx, r, &s, o.exception, o.traceback)
	case protocol.StateRevoked:
		p.addFailedMember(r, &s, o.state, o.exception)
	}
	p.addResult(r, &s, o)
	p.rejectFailure(r, &s, o)
	return s, o
}

// addReplacement adds the messages of the task that replaces this one.
func (p *planner) addReplacement(ctx context.Context, r *request, s *broker.Settlement, o outcome) outcome {
	if o.replace == nil {
		return o
	}
	if err := p.replace(ctx, r, s, o.replace); err != nil {
		return failed(r.task, failureOf(err), err)
	}
	return o
}

func (p *planner) replace(ctx context.Context, r *request, s *broker.Settlement, e *ReplaceError) error {
	if e.Signature == nil {
		return errors.New("replaced by nothing")
	}
	plan, err := canvas.ReplaceStamped(r.msg, e.Signature, e.Stamper, p.workflow.context(r.msg))
	if err != nil {
		return err
	}
	return p.workflow.merge(ctx, s, plan)
}

// addRetry adds the message of the next attempt.
func (p *planner) addRetry(ctx context.Context, r *request, s *broker.Settlement, o outcome) outcome {
	if !o.retry {
		return o
	}
	next, err := p.nextAttempt(ctx, r, o)
	if err != nil {
		o = failure(r.task, err)
		o.deadLetter, s.DeadLetter = "retry cannot be published", "retry cannot be published"
		return o
	}
	s.Changes.Publish = append(s.Changes.Publish, *next)
	return o
}

// addSuccess encodes the result of a SUCCESS, and adds what follows it.
func (p *planner) addSuccess(ctx context.Context, r *request, s *broker.Settlement, o outcome) outcome {
	if o.state != protocol.StateSuccess {
		return o
	}
	handle, _ := o.result.(*resultHandle)
	raw, err := encodeResult(o.result)
	if err == nil {
		o.result = raw
		err = p.succeed(ctx, r, s, raw, handle)
	}
	if err == nil {
		return o
	}
	r.log.Error("task failed: nothing can follow its result", "error", err)
	s.Changes = broker.Changes{}
	if e, ok := errors.AsType[*protocol.MarshalError](err); ok {
		return failed(r.task, encodeError(e), err)
	}
	return failed(r.task, failureOf(err), err)
}

// succeed adds what follows the success of r with result. handle is the result if that is
// a handle, else nil. The error reports a workflow that cannot be carried out.
func (p *planner) succeed(ctx context.Context, r *request, s *broker.Settlement, result protocol.Raw, handle *resultHandle) error {
	m := r.msg
	if !m.Callbacks.IsNull() || !m.Chain.IsNull() {
		plan, err := canvas.AfterSuccess(m, result, p.workflow.context(m))
		if err != nil {
			return err
		}
		if handle != nil && handle.isArgument(plan) {
			return handle.encodeError()
		}
		if err := p.workflow.merge(ctx, s, plan); err != nil {
			return err
		}
		r.task.addChildren(plan.Children)
	}
	addMember(r, s, protocol.StateSuccess, result)
	return nil
}

// addFailure adds what follows a failure of r.
func (p *planner) addFailure(ctx context.Context, r *request, s *broker.Settlement, exc *protocol.Exception, traceback string) {
	m := r.msg
	p.addFailedMember(r, s, protocol.StateFailure, exc)
	if m.Chain.IsNull() && m.Errbacks.IsNull() {
		return
	}
	c := p.workflow.context(m)
	c.ErrorsIgnored = r.ignoreResult && !r.storeErrors
	var tb *string
	if traceback != "" {
		tb = &traceback
	}
	plan, err := canvas.AfterFailure(m, exc, tb, c)
	if err == nil {
		if err = p.workflow.merge(ctx, s, plan); err != nil {
			r.log.Error("error callbacks of the task cannot be published", "error", err)
			plan.Messages = nil // the rest tells callers that wait for the chain
			err = p.workflow.merge(ctx, s, plan)
		}
	}
	if err != nil {
		r.log.Error("failure has no consequences: they cannot be carried out", "error", err)
		return
	}
	// In Celery the result of r was stored before them, so they are no children of it.
	p.workflow.callErrbacks(ctx, plan)
}

// addFailedMember counts r in its chord as failed.
func (p *planner) addFailedMember(r *request, s *broker.Settlement, state string, exc *protocol.Exception) {
	if r.msg.Chord.IsNull() {
		return
	}
	raw, err := canvas.ExceptionRaw(exc)
	if err != nil {
		r.log.Error("exception cannot be encoded for its chord", "error", err)
		raw = protocol.Raw(`{"exc_type": "Exception", "exc_message": [], "exc_module": "builtins"}`)
	}
	addMember(r, s, state, raw)
}

// addMember counts r in the chord that it belongs to.
func addMember(r *request, s *broker.Settlement, state string, result protocol.Raw) {
	if entry, ok := canvas.Member(r.msg, state, result); ok {
		// Before members that never ran, as in Celery.
		s.Changes.Members = slices.Insert(s.Changes.Members, 0, canvas.ChordPart{Message: r.msg, Entry: entry})
	}
}

// addResult adds the result of an outcome, if it is stored.
func (p *planner) addResult(r *request, s *broker.Settlement, o outcome) {
	if o.state == "" || !r.stored(o.state) {
		return
	}
	s.Result = p.result(r.task, o.state)
	s.Result.Exception, s.Result.Children = o.exception, r.task.childrenRaw()
	if o.traceback != "" {
		s.Result.Traceback = &o.traceback
	}
	if o.state == protocol.StateSuccess {
		s.Result.Result = o.result
		if p.cfg.DeduplicateSuccessful {
			s.Result.Fingerprint = r.task.Fingerprint()
		}
	}
	if !o.retry {
		s.Result.DateDone = p.now()
	}
}

// rejectFailure requeues or sets aside the message of a failed task that was to be
// acknowledged, if a setting asks for it.
func (p *planner) rejectFailure(r *request, s *broker.Settlement, o outcome) {
	if r.delivery.Claim == "" || o.state != protocol.StateFailure || s.DeadLetter != "" {
		return
	}
	if errors.Is(o.err, ErrTimeLimit) {
		if p.cfg.RequeueOnTimeout || r.def.RequeueOnTimeout {
			s.Requeue = broker.RequeueRedelivered
		}
		return
	}
	if p.cfg.RejectOnFailure || r.def.RejectOnFailure {
		s.DeadLetter = "failed: " + o.exception.Type
	}
}

// planUnrun returns the settlement of a message that is not run and fails.
func (p *planner) planUnrun(ctx context.Context, r *request, exc *protocol.Exception, deadLetter string) broker.Settlement {
	s := broker.Settlement{Delivery: r.delivery, DeadLetter: deadLetter}
	p.addUnrunResult(r, &s, protocol.StateFailure, exc)
	p.addFailure(ctx, r, &s, exc, "")
	return s
}

// planRevoked returns the settlement of a message that was revoked before it ran.
func (p *planner) planRevoked(r *request, exc *protocol.Exception) broker.Settlement {
	s := broker.Settlement{Delivery: r.delivery}
	p.addUnrunResult(r, &s, protocol.StateRevoked, exc)
	p.addFailedMember(r, &s, protocol.StateRevoked, exc)
	return s
}

func (p *planner) addUnrunResult(r *request, s *broker.Settlement, state string, exc *protocol.Exception) {
	if r.stored(state) {
		s.Result = p.result(r.task, state)
		s.Result.Exception, s.Result.DateDone = exc, p.now()
	}
}

// planSucceeded returns the settlement of a message whose earlier run stored a SUCCESS,
// and its result. Callbacks and chain were published before that, unless none was: then
// they are published now.
func (p *planner) planSucceeded(ctx context.Context, r *request, stored *protocol.Result) (broker.Settlement, protocol.Raw) {
	s := broker.Settlement{Delivery: r.delivery}
	raw, err := valueOf(stored)
	switch {
	case err != nil:
	case hasChildren(stored):
		addMember(r, &s, protocol.StateSuccess, raw)
	default:
		err = p.succeed(ctx, r, &s, raw, nil)
	}
	if err != nil {
		r.log.Error("success has no consequences: they cannot be carried out", "error", err)
		s.Changes = broker.Changes{}
		s.DeadLetter = "what follows the task cannot be carried out"
	}
	return s, raw
}

// hasChildren reports whether a result has children. Tasks that are linked to the task are
// among them.
func hasChildren(r *protocol.Result) bool {
	children, err := r.Children.Elements()
	return err == nil && len(children) > 0
}

// nextAttempt makes the message of a retry.
func (p *planner) nextAttempt(ctx context.Context, r *request, o outcome) (*broker.Publication, error) {
	opts := protocol.RetryOptions{DeliveryTag: uuid.NewString(), Origin: p.workflow.pub.origin, Queue: r.delivery.Queue,
		Headers: o.again.Headers, IgnoreResult: r.ignoreResult}
	if o.countdown > 0 {
		opts.ETA = p.now().Add(o.countdown)
	}
	if o.free {
		n := r.msg.Retries
		opts.Retries = &n
	}
	m, err := again(r.msg, o.again)
	if err != nil {
		return nil, err
	}
	if err := p.workflow.pub.prepareRetry(ctx, m, opts); err != nil {
		return nil, err
	}
	raw, err := p.encodeRetry(m, opts)
	if err != nil {
		return nil, err
	}
	next := &broker.Publication{Queue: r.delivery.Queue, RoutingKey: r.delivery.Queue, Priority: r.msg.Priority, Raw: raw}
	if p.cfg.SendSentEvent {
		event := *m
		event.Retries, event.ETA = r.msg.Retries+1, opts.ETA
		if opts.Retries != nil {
			event.Retries = *opts.Retries
		}
		if next.Sent, err = p.workflow.pub.sentEvent(&event, *next); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// encodeRetry encodes the message of a retry, compressed if it would be too large. A
// message that this worker could not read again must not go out.
func (p *planner) encodeRetry(m *protocol.Message, opts protocol.RetryOptions) ([]byte, error) {
	raw, err := protocol.EncodeRetry(m, opts)
	limit := p.cfg.Limits.Size
	if err != nil || len(raw) <= limit {
		return raw, err
	}
	size := len(raw)
	opts.Encoding.Compression = "zlib" // as it came, perhaps
	if raw, err = protocol.EncodeRetry(m, opts); err != nil {
		return nil, err
	}
	if _, err := p.decoder.Decode(raw); err != nil {
		return nil, fmt.Errorf("its message would have %d bytes, more than the %d that this worker reads", size, limit)
	}
	return raw, nil
}

// encodeResult returns a result as JSON.
func encodeResult(result any) (protocol.Raw, error) {
	raw, err := protocol.Marshal(result)
	if err == nil {
		return raw, nil
	}
	if _, ok := errors.AsType[*protocol.MarshalError](err); !ok {
		// A method of the value failed: its error may say anything.
		err = &protocol.MarshalError{Detail: "one of its methods failed"}
	}
	return nil, err
}

// encodeError returns Celery's exception for a value that JSON has no form for.
func encodeError(e *protocol.MarshalError) *protocol.Exception {
	text := fmt.Sprintf("Object of type %v is not JSON serializable: %s", e.Type, e.Detail)
	if e.Type == nil {
		text = "Object is not JSON serializable: " + e.Detail
	}
	return &protocol.Exception{Type: "EncodeError", Module: "kombu.exceptions", Args: []any{"TypeError(" + canvas.ReprText(text) + ")"}}
}

// failureOf returns the exception of a task whose workflow cannot be carried out.
func failureOf(err error) *protocol.Exception {
	if e, ok := errors.AsType[*canvas.TaskError](err); ok {
		return e.Exception
	}
	return &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{fmt.Sprintf("cannot publish what follows the task: %v", err)}}
}
