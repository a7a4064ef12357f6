package main

import (
	"context"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

const module = "t.integration.tasks"

// expected is the suite's own ExpectedException.
func expected(args ...any) error {
	if args == nil {
		args = []any{}
	}
	return &worker.Exception{Type: "ExpectedException", Module: module, Args: args}
}

func unpickleable(foo any) error {
	return &worker.Exception{Type: "UnpickleableException", Module: module, Args: []any{foo}}
}

// values returns the positional arguments.
func values(t *worker.Task) ([]any, error) {
	var args []any
	if err := protocol.Unmarshal(t.Message.Args, &args); err != nil {
		return nil, worker.TypeError("%s() arguments are not a list", t.Name)
	}
	return args, nil
}

// errorTasks fail, or refuse their message.
func errorTasks() map[string]worker.Definition {
	return map[string]worker.Definition{
		"raise_error": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, &worker.Exception{Type: "ValueError", Args: []any{"deliberate error"}}
		})},
		"fail": {Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
			args, err := values(t)
			if err != nil {
				return nil, err
			}
			return nil, expected(append([]any{"Task expected to fail"}, args...)...)
		})},
		"fail_unpickleable": {Handler: worker.Func(func(_ context.Context, in struct{ Foo, Bar any }) (any, error) {
			return nil, unpickleable(in.Foo)
		})},
		"return_exception": {Handler: worker.Func(func(_ context.Context, in struct{ E any }) ([]any, error) {
			return []any{in.E, true}, nil
		})},
		"reject_then_succeed": {Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
			if !t.Redelivered {
				return nil, worker.Requeue("first pass")
			}
			return "second-pass", nil
		})},
		"reject_without_requeue": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Reject("rejected")
		})},
		"store_success_then_reject": {Handler: worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
			if !t.Redelivered {
				if err := t.UpdateState(ctx, protocol.StateSuccess, "first-pass"); err != nil {
					return nil, err
				}
				return nil, worker.Requeue("first pass")
			}
			return "dedup-pass", nil
		})},
	}
}

// again is Python's self.retry, as the suite calls it.
type again struct {
	Expires    protocol.Raw `celery:"expires,optional"`
	MaxRetries *int         `celery:"max_retries,optional"`
	Countdown  *float64     `celery:"countdown,optional"`
}

func (a again) retry(cause error, countdown float64, maxRetries int) error {
	e := &worker.RetryError{Err: cause, MaxRetries: &maxRetries}
	if a.MaxRetries != nil {
		e.MaxRetries = a.MaxRetries
	}
	if a.Countdown != nil {
		countdown = *a.Countdown
	}
	if e.Countdown = time.Duration(countdown * float64(time.Second)); e.Countdown == 0 {
		e.Countdown = -1
	}
	var in float64
	if !a.Expires.IsNull() && protocol.Unmarshal(a.Expires, &in) == nil {
		e.Expires = time.Now().Add(time.Duration(in * float64(time.Second)))
	}
	return e
}

// keywords binds the keyword arguments alone: as an error callback, and in
// chains, these tasks get positional arguments that they ignore.
func keywords(t *worker.Task, v any) error {
	if err := protocol.Unmarshal(t.Message.Kwargs, v); err != nil {
		return worker.TypeError("%s() keyword arguments do not fit", t.Name)
	}
	return nil
}

// onceMore is a task that is retried once and then returns the result of after.
func onceMore(after func(*worker.Task) any) worker.Handler {
	return worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
		if t.Retries > 0 {
			return after(t), nil
		}
		var in struct {
			Expires    protocol.Raw `json:"expires"`
			MaxRetries *int         `json:"max_retries"`
			Countdown  *float64     `json:"countdown"`
		}
		if err := keywords(t, &in); err != nil {
			return nil, err
		}
		return nil, again(in).retry(nil, 0.1, 1)
	})
}

func retryTasks() map[string]worker.Definition {
	retries := func(t *worker.Task) any { return t.Retries }
	atOnce := worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
		if t.Retries > 0 {
			return t.Retries, nil
		}
		return nil, &worker.RetryError{Countdown: -1}
	})
	return map[string]worker.Definition{
		"retry":              {Handler: worker.Func(retry)},
		"retry_unpickleable": {Handler: worker.Func(retryUnpickleable)},
		"retry_once":         {Handler: onceMore(retries)},
		"retry_once_priority": {Handler: onceMore(func(t *worker.Task) any {
			return t.Message.Priority
		})},
		"retry_once_headers": {Handler: onceMore(func(t *worker.Task) any {
			headers := map[string]protocol.Raw{}
			for _, h := range t.Message.Headers {
				headers[h.Name] = h.Value
			}
			return headers
		})},
		"retry_once_ignore_result":     {Handler: atOnce, IgnoreResult: true},
		"retry_once_with_result":       {Handler: atOnce},
		"retry_with_args_after_kwargs": {Handler: worker.Func(retryWithArgs)},
		"retry_with_kwargs_after_args": {Handler: worker.Func(retryWithKwargs)},
	}
}

func autoRetry(ctx context.Context, _ struct{}) (int, error) {
	if t, ok := worker.TaskFrom(ctx); ok && t.Retries > 0 {
		return t.Retries, nil
	}
	return 0, worker.Retry(&worker.Exception{Type: "ValueError"})
}

func retry(ctx context.Context, in struct {
	Value any `celery:"return_value,optional"`
}) (any, error) {
	if t, ok := worker.TaskFrom(ctx); ok && truthy(in.Value) && t.Retries >= 3 {
		return in.Value, nil
	}
	return nil, &worker.RetryError{Err: expected(), Countdown: 5 * time.Second}
}

func retryUnpickleable(_ context.Context, in struct {
	Foo any
	Bar any
	How struct {
		Countdown  *float64 `json:"countdown"`
		MaxRetries *int     `json:"max_retries"`
	} `celery:"retry_kwargs"`
}) (any, error) {
	return nil, again{MaxRetries: in.How.MaxRetries, Countdown: in.How.Countdown}.retry(unpickleable(in.Foo), 1, 3)
}

// secondPass is the result of the tasks below.
type secondPass struct {
	Foo     any  `json:"foo"`
	Bar     any  `json:"bar"`
	Label   any  `json:"label,omitempty"`
	Retries int  `json:"retries"`
	IsEager bool `json:"is_eager"`
}

// retryWithArgs replaces its positional arguments.
func retryWithArgs(ctx context.Context, in struct {
	Foo, Bar int
	Label    any `celery:"label,optional"`
}) (any, error) {
	t, _ := worker.TaskFrom(ctx)
	if t.Retries == 0 {
		kwargs := map[string]any{}
		if in.Label != nil {
			kwargs["label"] = in.Label
		}
		return nil, &worker.RetryError{Countdown: -1, Args: []any{in.Foo + 1, in.Bar + 1}, Kwargs: kwargs}
	}
	return secondPass{Foo: in.Foo, Bar: in.Bar, Label: in.Label, Retries: t.Retries}, nil
}

// retryWithKwargs replaces a keyword argument.
func retryWithKwargs(ctx context.Context, in struct{ Foo, Bar int }) (any, error) {
	t, _ := worker.TaskFrom(ctx)
	if t.Retries == 0 {
		return nil, &worker.RetryError{Countdown: -1, Args: []any{}, Kwargs: map[string]any{"foo": in.Foo + 1, "bar": in.Bar}}
	}
	return secondPass{Foo: in.Foo, Bar: in.Bar, Retries: t.Retries}, nil
}
