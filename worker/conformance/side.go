package main

import (
	"context"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// side is the connection over which tasks leave traces for the tests.
type side struct{ redigo.Pool }

func newSide(url string) *side {
	return &side{redigo.Pool{
		MaxIdle: 2,
		DialContext: func(ctx context.Context) (redigo.Conn, error) {
			return redigo.DialURLContext(ctx, url, redigo.DialReadTimeout(5*time.Second), redigo.DialWriteTimeout(5*time.Second))
		},
	}}
}

func (s *side) do(ctx context.Context, command string, args ...any) error {
	c, err := s.GetContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = redigo.DoContext(c, ctx, command, args...)
	return err
}

// echo leaves a message as redis-py does: bytes as they are.
func (s *side) echo(ctx context.Context, key string, message any) error {
	if _, ok := message.([]byte); !ok {
		message = fmt.Sprint(message)
	}
	return s.do(ctx, "RPUSH", key, message)
}

func (s *side) count(ctx context.Context, key string) error { return s.do(ctx, "INCR", key) }

func (s *side) tasks() map[string]worker.Definition {
	return map[string]worker.Definition{
		"redis_echo": {Handler: worker.Func(func(ctx context.Context, in struct {
			Message any
			Key     *string `celery:"redis_key,optional"`
		}) (any, error) {
			return nil, s.echo(ctx, or(in.Key, "redis-echo"), in.Message)
		})},
		"redis_echo_group_id": {Handler: worker.Func(func(ctx context.Context, in struct {
			Ignored any
			Key     *string `celery:"redis_key,optional"`
		}) (any, error) {
			t, _ := worker.TaskFrom(ctx)
			return nil, s.echo(ctx, or(in.Key, "redis-group-ids"), t.Message.Group)
		})},
		"redis_count": {Handler: worker.Func(func(ctx context.Context, in struct {
			Key *string `celery:"redis_key,optional"`
		}) (any, error) {
			return nil, s.count(ctx, or(in.Key, "redis-count"))
		})},
		"sum_and_record": {Handler: worker.Func(func(ctx context.Context, in struct {
			Values []any
			Key    string `celery:"redis_key"`
		}) (any, error) {
			sum, err := total(in.Values)
			if err != nil {
				return nil, err
			}
			t, _ := worker.TaskFrom(ctx)
			return sum, s.echo(ctx, in.Key, t.ID)
		})},
		"second_order_replace1": {Handler: s.stages("A", func() *canvas.Signature {
			return canvas.Chain(task("second_order_replace2"), task("second_order_replace1").Kwarg("state", true).Immutable(true))
		})},
		"second_order_replace2": {Handler: s.stages("B", func() *canvas.Signature {
			return canvas.Chain(task("redis_echo", "In/Out C"), task("second_order_replace2").Kwarg("state", true).Immutable(true))
		})},
		"errback_old_style": {Handler: worker.Func(func(ctx context.Context, in struct {
			ID string `celery:"request_id"`
		}) (any, error) {
			return in.ID, s.count(ctx, in.ID)
		})},
		"errback_old_style_with_args": {Handler: worker.Func(func(ctx context.Context, in struct {
			ID    string `celery:"request_id"`
			Label any
		}) (any, error) {
			return nil, s.echo(ctx, in.ID, in.Label)
		})},
		"errback_new_style":           s.errback(func(ctx context.Context, id string, _ []any) error { return s.count(ctx, id) }),
		"errback_new_style_with_args": s.errback(s.echoLabel),
	}
}

func or(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

// stages is a task that replaces itself and is called again at the end.
func (s *side) stages(name string, by func() *canvas.Signature) worker.Handler {
	return worker.Func(func(ctx context.Context, in struct {
		State bool `celery:"state,optional"`
	}) (any, error) {
		if in.State {
			return nil, s.echo(ctx, "redis-echo", "Out "+name)
		}
		if err := s.echo(ctx, "redis-echo", "In "+name); err != nil {
			return nil, err
		}
		return nil, worker.Replace(by())
	})
}

// errback is an error callback of three arguments, with more behind them.
func (s *side) errback(call func(ctx context.Context, id string, args []any) error) worker.Definition {
	return worker.Definition{
		Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.TypeError("an error callback of three arguments was called by a message")
		}),
		ErrorCallback: func(ctx context.Context, f *worker.FailedTask) error {
			var args []any
			if err := protocol.Unmarshal(f.Args, &args); err != nil {
				return err
			}
			return call(ctx, f.ID, args)
		},
	}
}

func (s *side) echoLabel(ctx context.Context, id string, args []any) error {
	if len(args) != 1 {
		return fmt.Errorf("error callback with %d arguments, want a label", len(args))
	}
	return s.echo(ctx, id, args[0])
}
