package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

// assign panics for a nil map, where no linter sees it coming.
func assign(m map[int]int) error { m[1] = 1; return nil }

func TestOutcomes(t *testing.T) {
	cause := errors.New("smtp down")
	for name, tc := range map[string]struct {
		handler func(ctx context.Context) (any, error)
		change  func(*worker.Definition)
		retries int
		state   string
		excType string
		module  string
		args    []any
		dead    string
		result  string
		retry   bool
	}{
		"success": {handler: func(context.Context) (any, error) { return map[string]int{"n": 1}, nil }, state: "SUCCESS", result: `{"n": 1}`},
		"failure": {handler: func(context.Context) (any, error) { return nil, cause }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"named": {handler: func(context.Context) (any, error) {
			return nil, &worker.Exception{Type: "Refund", Module: "shop.errors", Args: []any{"no", 42}}
		}, state: "FAILURE", excType: "Refund", module: "shop.errors", args: []any{"no", 42}},
		"retry":           {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"retry exhausted": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, retries: 3, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"retry without a cause exhausted": {handler: func(context.Context) (any, error) { return nil, worker.Retry(nil) }, retries: 3,
			state: "FAILURE", excType: "MaxRetriesExceededError", module: "celery.exceptions"},
		"no retries":      {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, change: func(d *worker.Definition) { d.MaxRetries = worker.NoRetries }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"endless retries": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, retries: 99, change: func(d *worker.Definition) { d.MaxRetries = worker.UnlimitedRetries }, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"free retry":      {handler: func(context.Context) (any, error) { return nil, &worker.RetryError{Err: cause, Free: true} }, retries: 3, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"reject": {handler: func(context.Context) (any, error) { return nil, worker.Reject("no thanks") }, state: "FAILURE", excType: "Reject", module: "celery.exceptions",
			args: []any{"no thanks", false}, dead: "rejected: no thanks"},
		"requeue": {handler: func(context.Context) (any, error) { return nil, worker.Requeue("later") }},
		"give back": {handler: func(context.Context) (any, error) {
			return nil, fmt.Errorf("relay: %w", worker.GiveBack(cause))
		}, retries: 3},
		"give back without a cause":      {handler: func(context.Context) (any, error) { return nil, worker.GiveBack(nil) }},
		"give back, not a retry":         {handler: func(context.Context) (any, error) { return nil, worker.Retry(worker.GiveBack(cause)) }},
		"give back after the soft limit": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, worker.GiveBack(ctx.Err()) }, change: func(d *worker.Definition) { d.SoftTimeLimit = time.Millisecond }},
		"ignore":                         {handler: func(context.Context) (any, error) { return 1, worker.ErrIgnore }},
		"give up": {handler: func(context.Context) (any, error) {
			return nil, worker.GiveUp(map[string]bool{"success": false}, "refused")
		}, state: "SUCCESS", result: `{"success": false}`, dead: "refused"},
		"panic":         {handler: func(context.Context) (any, error) { panic("oh") }, state: "FAILURE", excType: "RuntimeError", module: "builtins", args: []any{"panic: oh"}},
		"nil map panic": {handler: func(context.Context) (any, error) { return nil, assign(nil) }, state: "FAILURE", excType: "RuntimeError", module: "builtins", args: []any{"panic: assignment to entry in nil map"}},
		"goexit":        {handler: func(context.Context) (any, error) { runtime.Goexit(); return nil, nil }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"handler ended its goroutine (runtime.Goexit)"}},
		"not encodable": {handler: func(context.Context) (any, error) { return make(chan int), nil }, state: "FAILURE", excType: "EncodeError", module: "kombu.exceptions"},
		"soft limit": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }, change: func(d *worker.Definition) { d.SoftTimeLimit = time.Millisecond },
			state: "FAILURE", excType: "SoftTimeLimitExceeded", module: "billiard.exceptions", args: []any{}},
		"soft limit heeded": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return context.Cause(ctx).Error(), nil }, change: func(d *worker.Definition) { d.SoftTimeLimit = time.Millisecond },
			state: "SUCCESS", result: `"soft time limit exceeded"`},
		"hard limit": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }, change: func(d *worker.Definition) { d.TimeLimit = time.Millisecond },
			state: "FAILURE", excType: "TimeLimitExceeded", module: "billiard.exceptions", args: []any{0.001}},
		"ignored result": {handler: func(context.Context) (any, error) { return 1, nil }, change: func(d *worker.Definition) { d.IgnoreResult = true }},
		"acknowledged early, fails": {handler: func(context.Context) (any, error) { return nil, cause }, change: func(d *worker.Definition) { d.AcksEarly = true },
			state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"acknowledged early, retries": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, change: func(d *worker.Definition) { d.AcksEarly = true },
			state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := worker.Definition{Handler: do(tc.handler)}
			if tc.change != nil {
				tc.change(&d)
			}
			o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t", Retries: tc.retries})
			if o.State != tc.state || string(o.Result) != tc.result || o.DeadLetter != tc.dead || (o.Retry != nil) != tc.retry {
				t.Errorf("got state %q, result %s, dead letter %q, retry %v; want %q, %s, %q, %v",
					o.State, o.Result, o.DeadLetter, o.Retry != nil, tc.state, tc.result, tc.dead, tc.retry)
			}
			if o.GivenBack != strings.HasPrefix(name, "give back") {
				t.Errorf("given back: %v", o.GivenBack)
			}
			if tc.excType != "" {
				if o.Exception == nil || o.Exception.Type != tc.excType || o.Exception.Module != tc.module || tc.args != nil && !slices.Equal(o.Exception.Args, tc.args) {
					t.Errorf("exception is %+v, want %s.%s%v", o.Exception, tc.module, tc.excType, tc.args)
				}
			}
			if tc.retry && o.Retry != nil {
				want := tc.retries + 1
				if name == "free retry" {
					want = tc.retries
				}
				if o.Retry.Retries != want || o.Retry.ETA.Before(time.Now().Add(time.Minute)) {
					t.Errorf("retry number %d with eta %v, want %d and an eta in three minutes", o.Retry.Retries, o.Retry.ETA, want)
				}
			}
		})
	}
}

func TestExpired(t *testing.T) {
	o := workertest.Run(t, map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) {
		t.Error("an expired task ran")
		return nil, nil
	})}}, workertest.Call{Task: "t", Expires: time.Now().Add(-time.Second)})
	if o.State != "REVOKED" || o.Exception.Type != "TaskRevokedError" || !slices.Equal(o.Exception.Args, []any{"expired"}) {
		t.Errorf("got %s %+v, want REVOKED with TaskRevokedError(expired)", o.State, o.Exception)
	}
}

// nilError has a method that cannot be called on the nil pointer it often is.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestErrorThatCannotBeRead(t *testing.T) {
	o := workertest.Run(t, one(func(context.Context) (any, error) {
		var e *nilError
		return nil, e
	}), workertest.Call{Task: "t"})
	if o.State != "FAILURE" || o.Exception.Type != "RuntimeError" {
		t.Errorf("got %+v, want FAILURE", o)
	}
}

// A handler that says by itself that its message is lost is wrong, and the message
// must not stay claimed for ever.
func TestHandlerGivesItsMessageUp(t *testing.T) {
	var runs atomic.Int32
	b := start(t, worker.Config{Tasks: one(func(context.Context) (any, error) {
		if runs.Add(1) == 1 {
			return nil, worker.ErrLost
		}
		return 1, nil
	})})
	id := b.send(t, "t")
	b.eventually(t, "it runs again", func() bool { return b.status(id) == "SUCCESS" && b.Unacked() == 0 })
}

func TestFailureIsNotAcknowledged(t *testing.T) {
	d := arithmetic()["fail"]
	d.RejectOnFailure = true
	if o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t"}); o.State != "FAILURE" || o.DeadLetter != "failed: ValueError" {
		t.Errorf("got %+v, want FAILURE and a dead letter", o)
	}
	slow := worker.Definition{TimeLimit: time.Millisecond, RequeueOnTimeout: true, Handler: do(func(ctx context.Context) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}
	if o := workertest.Run(t, map[string]worker.Definition{"t": slow}, workertest.Call{Task: "t"}); o.State != "FAILURE" || !o.Requeued {
		t.Errorf("got %+v, want FAILURE and the message back", o)
	}
}
