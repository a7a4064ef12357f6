package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/internal/taskevents"
	"github.com/evently/workers/worker/protocol"
)

// disposition is what becomes of a message after its run.
type disposition int

const (
	acknowledge  disposition = iota // removed, with all that the outcome says
	requeue                         // put to the end of its queue
	giveBack                        // put to the front of its queue: a stop cut the run short, or the handler asks for it
	disclaim                        // held by another worker, the handler reports
	leaveClaimed                    // still claimed: the handler runs on
)

// outcome is the decision about a run of a handler.
type outcome struct {
	disposition disposition
	state       string              // protocol state to store; "" stores nothing
	result      any                 // for SUCCESS
	exception   *protocol.Exception // for RETRY and FAILURE
	traceback   string
	retry       bool
	free        bool          // the retry does not count
	countdown   time.Duration // of the retry
	again       *RetryError   // changes of the retry
	replace     *ReplaceError // by another task
	deadLetter  string        // reason
	err         error         // for the log
}

// rejected reports whether the handler refused the message for good.
func (o outcome) rejected() bool {
	_, ok := errors.AsType[*RejectError](o.err)
	return ok
}

// decideSafely calls decide. It also decides about errors whose methods panic, such as a nil
// pointer that was returned as an error.
func decideSafely(t *Task, d Definition, result any, err, cause error) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			text := fmt.Sprintf("the error of the handler, of type %T, cannot be read", err)
			o = failed(t, &protocol.Exception{Type: "RuntimeError", Module: "builtins", Args: []any{text}}, errors.New(text))
		}
	}()
	return decide(t, d, result, err, cause)
}

// decide returns the outcome of a run from the answer of its handler. cause is
// context.Cause of the handler's context, nil while that was alive. decide is pure: the
// whole policy is a table in its test.
func decide(t *Task, d Definition, result any, err, cause error) outcome {
	switch {
	case err == nil:
		// Even when another worker holds the message: the work is done, and the broker
		// stores a SUCCESS in any case.
		return outcome{state: protocol.StateSuccess, result: result}
	case errors.Is(err, errAbandoned):
		return outcome{disposition: leaveClaimed, err: err}
	case errors.Is(err, ErrLost), errors.Is(cause, ErrLost):
		return outcome{disposition: disclaim, err: ErrLost}
	}
	if errors.Is(cause, ErrRevoked) {
		return outcome{state: protocol.StateRevoked, exception: revokedError("terminated"), err: ErrRevoked}
	}
	if e, ok := errors.AsType[*ReplaceError](err); ok {
		return outcome{replace: e}
	}
	if g, ok := errors.AsType[*GiveUpError](err); ok {
		return outcome{state: protocol.StateSuccess, result: g.Result, deadLetter: g.Reason, err: err}
	}
	if r, ok := errors.AsType[*RejectError](err); ok {
		if r.Requeue {
			return outcome{disposition: requeue, err: err}
		}
		return outcome{state: protocol.StateFailure, deadLetter: "rejected: " + r.Reason, err: err,
			exception: &protocol.Exception{Type: "Reject", Module: "celery.exceptions", Args: []any{r.Reason, false}}}
	}
	if errors.Is(err, ErrIgnore) {
		return outcome{err: nil}
	}
	// The handler was cut off by a stop, not by its own fault: that costs no retry.
	if errors.Is(cause, ErrStopped) {
		return outcome{disposition: giveBack, err: ErrStopped}
	}
	if g, ok := errors.AsType[*GiveBackError](err); ok {
		return outcome{disposition: giveBack, err: g}
	}
	if r, ok := errors.AsType[*RetryError](err); ok {
		return decideRetry(t, d, r)
	}
	if errors.Is(cause, ErrSoftTimeLimit) && (errors.Is(err, context.Canceled) || errors.Is(err, ErrSoftTimeLimit)) {
		return failure(t, &Exception{Type: "SoftTimeLimitExceeded", Module: "billiard.exceptions", Args: []any{}, Err: ErrSoftTimeLimit})
	}
	if p, ok := errors.AsType[*errPanic](err); ok {
		// The text of an error is meant to be stored, the text of a panic is not.
		return failure(t, &Exception{Type: "RuntimeError", Args: []any{t.Redact(p.Error())}, Err: p}, stackFrames(p.stack)...)
	}
	return failure(t, err)
}

func decideRetry(t *Task, d Definition, r *RetryError) outcome {
	last := t.LastAttempt()
	if r.MaxRetries != nil {
		last = t.Retries >= *r.MaxRetries
	}
	if last && !r.Free {
		if r.Err == nil {
			args, kwargs := t.shownForRetry(r)
			return failure(t, maxRetriesExceeded(t, args, kwargs))
		}
		return failure(t, r.Err)
	}
	countdown := max(r.Countdown, 0)
	if r.Countdown == 0 {
		countdown = d.Backoff.Delay(t.Retries)
	}
	o := outcome{state: protocol.StateRetry, retry: true, free: r.Free, countdown: countdown, again: r, err: r}
	if r.Err != nil {
		o.exception = wire(r.Err)
	}
	text := "Retry in " + strconv.FormatFloat(countdown.Seconds(), 'f', -1, 64) + "s"
	if o.exception != nil {
		text += ": " + canvas.ReprException(o.exception)
	}
	o.traceback = canvas.Traceback(
		&protocol.Exception{Type: "Retry", Module: "celery.exceptions", Args: []any{text}}, canvas.GoFrame(t.Name, ""))
	return o
}

// maxRetriesExceeded returns the exception of a task that asks for one attempt too many,
// without a cause.
func maxRetriesExceeded(t *Task, args, kwargs string) *Exception {
	text := fmt.Sprintf("Can't retry %s[%s] args:%s kwargs:%s", t.Name, t.ID, args, kwargs)
	return &Exception{Type: "MaxRetriesExceededError", Module: "celery.exceptions", Args: []any{text}}
}

// revokedError returns the exception of a task that was revoked, or has expired.
func revokedError(reason string) *protocol.Exception {
	return &protocol.Exception{Type: "TaskRevokedError", Module: "celery.exceptions", Args: []any{reason}}
}

// failed returns the outcome of a failure that no handler has returned.
func failed(t *Task, exc *protocol.Exception, err error) outcome {
	return outcome{state: protocol.StateFailure, exception: exc, traceback: canvas.Traceback(exc, canvas.GoFrame(t.Name, "")), err: err}
}

// failure returns the outcome of an error; frames are the stack of a panic.
func failure(t *Task, err error, frames ...canvas.Frame) outcome {
	o := outcome{state: protocol.StateFailure, exception: wire(err), err: err}
	if errors.Is(err, ErrTimeLimit) {
		return o // as in Celery: nothing has raised that one
	}
	if len(frames) == 0 {
		frames = []canvas.Frame{canvas.GoFrame(t.Name, moreThan(err, o.exception))}
	}
	o.traceback = canvas.Traceback(o.exception, frames...)
	return o
}

// moreThan returns the text of an error that wraps an [Exception], "" for other errors: it
// says more than the stored exception.
func moreThan(err error, e *protocol.Exception) string {
	if x, ok := errors.AsType[*Exception](err); !ok || err == error(x) {
		return ""
	}
	return err.Error()
}

// stackFrames parses the text of a stack, [debug.Stack], up to the panic. It leaves out the
// arguments of the calls.
func stackFrames(stack string) []canvas.Frame {
	lines := strings.Split(stack, "\n")
	if i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "panic(") }); i >= 0 {
		lines = lines[i+2:]
	}
	var frames []canvas.Frame
	for i := 0; i+1 < len(lines); i++ {
		place, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		place, _, _ = strings.Cut(place, " +0x")
		colon := strings.LastIndexByte(place, ':')
		if colon < 0 {
			continue
		}
		line, err := strconv.Atoi(place[colon+1:])
		if err != nil {
			continue
		}
		function := strings.TrimPrefix(lines[i], "created by ")
		if paren := strings.LastIndexByte(function, '('); paren > 0 {
			function = function[:paren]
		}
		frames = append(frames, canvas.Frame{File: place[:colon], Line: line, Function: function})
		i++
	}
	slices.Reverse(frames)
	return frames
}

// States of [StateAfter] that no result has. They are in celery.states.
const (
	StateRejected = "REJECTED"
	StateIgnored  = "IGNORED"
)

// StateAfter returns the state that an error of a Handler leads to, for a Middleware, as in
// Celery's signal task_postrun: "SUCCESS", "RETRY", "FAILURE", "REVOKED", [StateRejected]
// after [Reject] and [Requeue], [StateIgnored] after [ErrIgnore] and [Replace]. It is ""
// when the message goes back to its queue, or another worker holds it. ctx is the context
// that the Handler ran in.
//
// StateAfter does not know later faults: a result that JSON cannot encode becomes a FAILURE,
// and so does a retry that cannot be published.
func StateAfter(ctx context.Context, t *Task, err error) (state string) {
	defer func() {
		if recover() != nil { // a method of err
			state = protocol.StateFailure
		}
	}()
	cause := context.Cause(ctx)
	switch { // what is decided while the handler still runs
	case errors.Is(cause, ErrTimeLimit):
		return protocol.StateFailure
	case errors.Is(cause, ErrRevoked):
		return protocol.StateRevoked
	}
	o := decide(t, Definition{}, nil, err, cause)
	_, rejected := errors.AsType[*RejectError](err)
	switch {
	case o.disposition == disclaim, o.disposition == giveBack:
		return ""
	case o.disposition == requeue, rejected && o.state == protocol.StateFailure:
		return StateRejected
	case o.state != "":
		return o.state
	}
	return StateIgnored
}

// shownForRetry returns the arguments of the attempt that a handler has asked for, without
// their secrets, as Celery shows them when no retry is left.
func (t *Task) shownForRetry(e *RetryError) (args, kwargs string) {
	if t.Message == nil || t.workflow == nil {
		return "(...)", "{...}" // of a test of the handler alone
	}
	m, err := again(t.Message, e)
	if err != nil {
		m, e = t.Message, &RetryError{} // those have a form
	}
	next := *m
	if e.Args != nil || next.ArgsRepr == "" || next.ArgsRepr == canvas.ArgsRepr(next.Args, false) {
		next.ArgsRepr = canvas.ArgsRepr(next.Args, true)
	}
	if e.Kwargs != nil || next.KwargsRepr == "" {
		next.KwargsRepr = canvas.KwargsRepr(next.Kwargs)
	}
	s := t.workflow.present.Arguments(&next, present.InEvent)
	return s.ArgsRepr, s.KwargsRepr
}

// outcomeEvent prepares the event of the outcome of a run, to be sent once the outcome is
// stored. It is nil when there is none.
func outcomeEvent(w taskevents.Writer, m *protocol.Message, o outcome, runtime time.Duration) *events.Prepared {
	switch {
	case o.retry:
		return w.Retried(m, o.exception, o.traceback)
	case o.state == protocol.StateSuccess:
		raw, _ := o.result.(protocol.Raw)
		return w.Succeeded(m, raw, runtime)
	case o.state == protocol.StateRevoked:
		return w.Revoked(m, "terminated")
	case o.state == protocol.StateFailure:
		if o.rejected() {
			return w.Rejected(m, false)
		}
		return w.Failed(m, o.exception, o.traceback)
	case o.disposition == requeue:
		return w.Rejected(m, true)
	}
	return nil
}
