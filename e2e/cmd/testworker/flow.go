package main

import (
	"context"
	"errors"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// flowTasks are the tasks of testdata/flows.py. They return and raise what the Python
// ones do, so that the stored results of workflows can be compared.
func (n *notes) flowTasks() map[string]worker.Definition {
	value := func(name string, args ...any) error { return &worker.Exception{Type: name, Args: args} }
	again := func(retries int, in time.Duration, cause error) worker.Definition {
		return raises(&worker.RetryError{Countdown: in, MaxRetries: &retries, Err: cause})
	}
	const now, soon, late = -1, 100 * time.Millisecond, time.Hour
	return map[string]worker.Definition{
		"flow.ident":       {Handler: worker.Func(func(_ context.Context, in struct{ X any }) (any, error) { return in.X, nil })},
		"flow.add":         {Handler: worker.Func(flowAdd)},
		"flow.const":       {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return 7, nil })},
		"flow.total":       {Handler: worker.Func(func(_ context.Context, in struct{ XS any }) (int64, error) { return flat(in.XS), nil })},
		"flow.sleep":       {Handler: worker.Func(flowSleep)},
		"flow.fail":        raises(value("ValueError", "no")),
		"flow.fail_key":    raises(value("KeyError", "k'ey")),
		"flow.fail_args":   raises(&worker.Exception{Type: "Custom", Module: "flow", Args: []any{"a", 1, nil, []any{1.5, map[string]any{"k": "v"}}, true}}),
		"flow.fail_bare":   raises(&worker.Exception{Type: "Custom", Module: "flow"}),
		"flow.reject":      raises(worker.Reject("no thanks")),
		"flow.ignore":      raises(worker.ErrIgnore),
		"flow.retry":       again(2, now, nil),
		"flow.retry_exc":   again(1, soon, value("ValueError", "again")),
		"flow.retry_later": again(3, late, value("ValueError", "later")),
		"flow.retry_bare":  again(3, late, nil),
		"flow.retry_once": {Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
			if t.Retries > 0 {
				return 3, nil
			}
			return nil, &worker.RetryError{Countdown: now}
		})},
		"flow.replace":       replaces(func() *canvas.Signature { return three() }),
		"flow.replace_group": replaces(func() *canvas.Signature { return canvas.Group(three(), three()) }),
		"flow.replace_fail":  replaces(func() *canvas.Signature { return canvas.Chain(three(), canvas.New("flow.fail")) }),
		"flow.replace_empty": replaces(func() *canvas.Signature { return canvas.Chain() }),
		"flow.send":          sends(nil),
		"flow.send_fail":     sends(value("ValueError", "after")),
		"flow.old": {Handler: worker.Func(func(ctx context.Context, in struct {
			ID string `celery:"task_id"`
		}) (int, error) {
			return 1, n.tell(ctx, "old", in.ID)
		})},
		"flow.new": {
			Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, errors.New("called by a message") }),
			ErrorCallback: func(ctx context.Context, f *worker.FailedTask) error {
				args := f.Exception.Args
				if args == nil {
					args = []any{}
				}
				return n.tell(ctx, "new", f.ID, f.Exception.Type, args, f.Traceback != "")
			},
		},
	}
}

func raises(err error) worker.Definition {
	return worker.Definition{Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, err })}
}

func replaces(by func() *canvas.Signature) worker.Definition {
	return worker.Definition{Handler: worker.Func(func(context.Context, struct{ X any }) (any, error) { return nil, worker.Replace(by()) })}
}

func three() *canvas.Signature { return canvas.New("flow.add", 1, 2).Immutable(true) }

// sends is a task that sends another and then returns its argument, or fails.
func sends(then error) worker.Definition {
	return worker.Definition{Handler: worker.Func(func(ctx context.Context, in struct {
		X any `celery:"x,optional"`
	}) (any, error) {
		t, ok := worker.TaskFrom(ctx)
		if !ok {
			return nil, errNoTask
		}
		if _, err := t.Send(ctx, three()); err != nil {
			return nil, err
		}
		return in.X, then
	})}
}

func flowAdd(_ context.Context, in struct {
	X any
	Y any `celery:"y,optional"`
}) (any, error) {
	if in.Y == nil {
		in.Y = int64(1)
	}
	x, xOK := in.X.(int64)
	y, yOK := in.Y.(int64)
	if !xOK || !yOK {
		return nil, worker.TypeError("not two numbers")
	}
	return x + y, nil
}

func flowSleep(ctx context.Context, in struct{ Seconds float64 }) (float64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Duration(in.Seconds * float64(time.Second))):
		return in.Seconds, nil
	}
}

// flat is the sum of the numbers in lists of lists; what is no number counts as 1.
func flat(v any) (sum int64) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			sum += flat(x)
		}
		return sum
	case int64:
		return v
	}
	return 1
}

// tell notes what an error callback was told.
func (n *notes) tell(ctx context.Context, what ...any) error {
	text, err := protocol.Marshal(what)
	if err != nil {
		return err
	}
	conn, err := n.pool.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = redigo.DoContext(conn, ctx, "RPUSH", "flow:told", text)
	return err
}
