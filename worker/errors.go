package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/protocol"
)

// Causes that end the context of a handler; ask with [context.Cause].
var (
	// ErrSoftTimeLimit is the cause when the soft time limit passed. The return of the
	// handler decides, as without a limit: a result is SUCCESS, [Retry] a retry. Only an
	// error of the context, context.Canceled or ErrSoftTimeLimit itself, becomes FAILURE
	// with SoftTimeLimitExceeded.
	ErrSoftTimeLimit = errors.New("soft time limit exceeded")
	// ErrTimeLimit is the cause when the hard time limit passed. FAILURE with
	// TimeLimitExceeded is stored, unless [Task.OnTimeLimit] decides otherwise. A later
	// return of the handler is ignored.
	ErrTimeLimit = errors.New("time limit exceeded")
	// ErrRevoked is the cause when the task was revoked and terminated. REVOKED is stored
	// at once. A later return of the handler is ignored.
	ErrRevoked = errors.New("task was revoked and terminated")
	// ErrLost is the cause when the lease of the message ran out and another worker holds
	// it now. The handler must take no step that cannot be taken back.
	ErrLost = broker.ErrLost
	// ErrStopped is the cause when the grace period of a stop is over. An error that the
	// handler returns from then on gives the message back to its queue, to be run again.
	ErrStopped = errors.New("worker is stopping")
)

// ErrWaited is the cause that ends the context of a wait that took too long; see
// [Task.Wait].
var ErrWaited = errors.New("waited too long")

// ErrIgnore ends a task without a result, as celery.exceptions.Ignore does.
var ErrIgnore = errors.New("ignore")

// RetryError asks for another attempt. Make one with [Retry].
type RetryError struct {
	// Err is the cause. The caller sees it in the RETRY state, and as the FAILURE when no
	// retry is left.
	Err error
	// Countdown is the time until the next attempt. Zero: the backoff of the task; negative:
	// at once.
	Countdown time.Duration
	// MaxRetries, when not nil, overrides the bound of the task: a count, NoRetries or
	// UnlimitedRetries.
	MaxRetries *int
	// Expires is the time after which the next attempt is not made any more. Zero: the
	// expiry of the message.
	Expires time.Time
	// Args and Kwargs, when not nil, replace the arguments of the message.
	Args   []any
	Kwargs map[string]any
	// Free attempts do not count against MaxRetries. Use them for faults outside of the
	// task, such as a throttled peer.
	Free bool
	// Headers are added to the message of the next attempt, as by Celery's
	// self.retry(headers=…): each replaces a header of its name, the others stay.
	// [protocol.Message.Header] reads them. A name that Celery uses makes the retry a
	// FAILURE.
	Headers []protocol.Header
}

func (e *RetryError) Error() string {
	if e.Err == nil {
		return "retry"
	}
	return "retry: " + e.Err.Error()
}

func (e *RetryError) Unwrap() error { return e.Err }

// Retry asks for another attempt after the task's backoff (see
// [Definition.Backoff]). When MaxRetries retries were made, err becomes the
// FAILURE of the task. To choose the delay return a &RetryError{} instead.
func Retry(err error) error { return &RetryError{Err: err} }

// RejectError refuses the message. Make one with [Reject] or [Requeue].
type RejectError struct {
	Reason  string
	Requeue bool
}

func (e *RejectError) Error() string {
	if e.Requeue {
		return "requeue: " + e.Reason
	}
	return "reject: " + e.Reason
}

// Reject refuses the message for good, as celery.exceptions.Reject does: the task fails with
// that exception. Celery then drops the message. This worker moves it to the dead letters,
// with the reason.
func Reject(reason string) error { return &RejectError{Reason: reason} }

// Requeue puts the message to the end of its queue, as
// celery.exceptions.Reject(requeue=True) does. No result is stored.
func Requeue(reason string) error { return &RejectError{Reason: reason, Requeue: true} }

// GiveBackError gives the message back. Make one with [GiveBack].
type GiveBackError struct {
	// Err is why, for the log.
	Err error
}

func (e *GiveBackError) Error() string {
	if e.Err == nil {
		return "give back"
	}
	return "give back: " + e.Err.Error()
}

func (e *GiveBackError) Unwrap() error { return e.Err }

// GiveBack puts the message back to the front of its queue, as a stop does with a run that
// it cuts short: no result is stored, no attempt is spent, and no crash is counted. It is
// for a handler that finds out that no task of its kind can do its work now, because a server
// that they all need is unavailable.
//
// Messages that are given back within a tenth of a second keep the order of their claims.
// They are claimed again at once, unless [Worker.Hold] keeps their tasks in the queues. A
// message that was acknowledged before its run cannot be given back: it is lost. Entries of
// [Task.Record] are not written, and a mark stays as it is.
func GiveBack(err error) error { return &GiveBackError{Err: err} }

// ReplaceError asks for another task instead of this one. Make one with [Replace].
type ReplaceError struct {
	Signature *canvas.Signature
	// Stamper, when not nil, stamps the replacement (on_replace).
	Stamper canvas.Stamper
}

func (e *ReplaceError) Error() string { return "replaced by another task" }

// Replace ends a task without a result and runs a signature instead, under the same id
// (Task.replace): with its callbacks, in its chord, and before the rest of its chain.
func Replace(s *canvas.Signature) error { return &ReplaceError{Signature: s} }

// GiveUpError ends a task with a result that the caller can read, and sets the
// message aside in the dead letters for a person. Make one with [GiveUp].
type GiveUpError struct {
	Result any    // stored with SUCCESS
	Reason string // why, for the dead letters; without personal data
}

func (e *GiveUpError) Error() string { return "given up: " + e.Reason }

// GiveUp stores result as SUCCESS and puts a copy of the message into the dead letters. It
// is for services whose producers expect an answer, not an exception, when the work could
// not be done.
func GiveUp(result any, reason string) error {
	return &GiveUpError{Result: result, Reason: reason}
}

// Exception is an error with its name in Python: AsyncResult.get() raises it. Module must be
// loaded by the caller, else Celery makes up a class of that name; "builtins" and
// "celery.exceptions" are always loaded. Args are the arguments of the Python constructor.
//
// An error that is no Exception, and wraps none, reaches Python as builtins.Exception with
// its text.
type Exception struct {
	Type   string
	Module string // "" means builtins
	Args   []any
	Err    error // cause on the Go side, not sent
}

func (e *Exception) Error() string {
	if len(e.Args) == 0 {
		return e.Type
	}
	return fmt.Sprintf("%s: %v", e.Type, e.Args[0])
}

func (e *Exception) Unwrap() error { return e.Err }

// TypeError returns the exception of a wrong call, Python's TypeError.
func TypeError(format string, args ...any) error {
	return &Exception{Type: "TypeError", Args: []any{fmt.Sprintf(format, args...)}}
}

// wire returns the form of err that is stored for Python.
func wire(err error) *protocol.Exception {
	if e, ok := errors.AsType[*Exception](err); ok {
		module := e.Module
		if module == "" {
			module = "builtins"
		}
		return &protocol.Exception{Type: e.Type, Module: module, Args: e.Args}
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		return &protocol.Exception{Type: e.Type, Module: "builtins", Args: []any{e.Text}}
	}
	if e, ok := errors.AsType[*canvas.TaskError](err); ok {
		return e.Exception // what Python raises where such a workflow is made
	}
	text := "unknown error"
	if err != nil {
		text = err.Error()
	}
	return &protocol.Exception{Type: "Exception", Module: "builtins", Args: []any{text}}
}

// errPanic is the error of a handler that panicked.
type errPanic struct {
	value any
	stack string
}

// Error returns the panic value as it is. The value may hold anything, so the text must not
// be shown to others.
func (e *errPanic) Error() string {
	if err, ok := e.value.(error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic: %v", e.value)
}

var errGoexit = errors.New("handler ended its goroutine (runtime.Goexit)")

// errAbandoned is the error of a handler that the worker does not wait for any more, and
// that may still do its work.
var errAbandoned = errors.New("handler is left behind")

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

// errorText returns the text of an error whose methods may panic.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "the error cannot be read"
		}
	}()
	return err.Error()
}
