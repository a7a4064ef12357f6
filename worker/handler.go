package worker

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/bind"
	"github.com/evently/workers/worker/protocol"
)

// A Handler runs one task. Its error decides what becomes of the message: nil
// stores SUCCESS with the result; an error made by [Retry], [Reject],
// [Requeue], [GiveBack] or [GiveUp], and [ErrIgnore], do what their names say, as the
// exceptions Retry, Reject and Ignore of celery.exceptions do; any other error,
// or a panic, stores FAILURE.
//
// ctx ends at a time limit, when the task is revoked and terminated, when another worker
// holds the message, and when the grace period of a stop is over. [context.Cause] tells
// which: [ErrSoftTimeLimit], [ErrTimeLimit], [ErrRevoked], [ErrLost] or [ErrStopped]. The
// context of [Task.Wait] also ends with [ErrWaited].
//
// The result must be encodable as JSON. Goroutines are reused: the next task finds what a
// handler leaves on its goroutine, such as a locked thread.
type Handler interface {
	Run(ctx context.Context, t *Task) (result any, err error)
}

// HandlerFunc makes a Handler of a plain function.
type HandlerFunc func(ctx context.Context, t *Task) (any, error)

// Run calls f.
func (f HandlerFunc) Run(ctx context.Context, t *Task) (any, error) { return f(ctx, t) }

// Middleware wraps a Handler: logging, metrics, tracing, rate limits.
// [StateAfter] tells it what an error leads to.
type Middleware func(Handler) Handler

// Func makes a Handler of a typed function. The exported fields of A are, in
// order, the positional parameters; the tag `celery:"user_id"` names the
// keyword, `celery:"user_id,optional"` makes a parameter one with a default
// (the field keeps its zero value). Arguments that do not fit end in FAILURE
// with TypeError and are not retried, like the wrong call of a Python function.
//
// For a task without arguments A is struct{}. [New] refuses an A that no arguments
// fit, and an R that has no form in JSON.
func Func[A, R any](fn func(ctx context.Context, args A) (R, error)) Handler {
	return typed[A, R](fn)
}

// typed is the Handler that Func makes.
type typed[A, R any] func(ctx context.Context, args A) (R, error)

func (fn typed[A, R]) Run(ctx context.Context, t *Task) (any, error) {
	var args A
	if err := t.Bind(&args); err != nil {
		return nil, err
	}
	return fn(ctx, args)
}

// typeFaults returns why the function could never be called, or never return a result.
func (fn typed[A, R]) typeFaults() []error {
	faults := bind.Faults(reflect.TypeFor[A]())
	for _, f := range protocol.MarshalFaults(reflect.TypeFor[R]()) {
		faults = append(faults, fmt.Errorf("result type: %w: leave it out with the tag `json:\"-\"`, or return any", f))
	}
	return faults
}

// parameterNames returns the names of the positional arguments.
func (fn typed[A, R]) parameterNames() []string { return bind.Names(reflect.TypeFor[A]()) }

// parameterNames returns the names of the positional arguments of a handler, nil
// when only the handler knows them.
func parameterNames(h Handler) []string {
	if named, ok := h.(interface{ parameterNames() []string }); ok {
		return named.parameterNames()
	}
	return nil
}

// recordContext records the context that a handler runs in, with all values that the
// middleware has put into it.
func recordContext(h Handler) Handler {
	return HandlerFunc(func(ctx context.Context, t *Task) (any, error) {
		t.mu.Lock()
		t.ran = ctx
		t.mu.Unlock()
		return h.Run(ctx, t)
	})
}

// SetAsideHeader is the header of a message that was retried from the dead letters. It holds
// the time at which the message was set aside first, as ISO 8601 text. The message has no
// other sign of its age, and may be weeks old.
const SetAsideHeader = broker.SetAsideHeader

// SetAside returns when the message was set aside in the dead letters, from which it was
// retried. Zero: it never was.
func (t *Task) SetAside() time.Time { return t.HeaderTime(SetAsideHeader) }

// HeaderTime returns the time in a header of the message, see [RetryError.Headers] and
// [TimeHeader]. It is zero when there is no such header, or the header is no time: any
// producer can write headers.
func (t *Task) HeaderTime(name string) time.Time {
	if t.Message == nil {
		return time.Time{}
	}
	var text string
	if protocol.Unmarshal(t.Message.Header(name), &text) != nil {
		return time.Time{}
	}
	at, err := protocol.ParseTime(text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// TimeHeader returns a header that holds a time, to the microsecond.
func TimeHeader(name string, at time.Time) protocol.Header {
	return protocol.TimeHeader(name, at)
}

// after returns ctx with the values of the context that the handler of t ran in. If it did
// not run, ctx carries the task alone.
func (t *Task) after(ctx context.Context) context.Context {
	t.mu.Lock()
	ran := t.ran
	t.mu.Unlock()
	if ran == nil {
		return NewContext(ctx, t)
	}
	return afterRun{ctx, context.WithoutCancel(ran)}
}

// afterRun is a context that ends with one context and has the values of another.
type afterRun struct {
	context.Context
	values context.Context
}

// Value returns the value of the context of the run, or else of the context that ends it.
func (c afterRun) Value(key any) any {
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}
