package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
)

// Waiting for a shared resource does not count against the limits of a task.
func TestWaitStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a busy machine is no time limit
		const soft, hard = 150 * time.Millisecond, 300 * time.Millisecond
		gate := make(chan struct{}, 1)
		b := start(t, worker.Config{Concurrency: 4, TaskSoftTimeLimit: soft, TaskTimeLimit: hard, Tasks: map[string]worker.Definition{
			"t": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				err := task.Wait(ctx, time.Minute, func(ctx context.Context) error {
					select {
					case gate <- struct{}{}:
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				})
				if err != nil {
					return nil, err
				}
				defer func() { <-gate }()
				select {
				case <-time.After(soft * 2 / 3): // the work: four of them take longer than the hard limit
					return 1, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})},
		}})
		var ids []string
		for range 6 {
			ids = append(ids, b.send(t, "t"))
		}
		b.eventually(t, "all have ended", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
		for i, id := range ids {
			if got := b.status(id); got != "SUCCESS" {
				t.Errorf("task %d: %s", i, got)
			}
		}
	})
}

// The clock goes on after a wait, and after the longest wait even if that does not return.
func TestClockGoesOnAfterAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a busy machine is no time limit
		release := make(chan struct{})
		defer close(release)
		b := start(t, worker.Config{Concurrency: 2, TaskTimeLimit: 100 * time.Millisecond, Tasks: map[string]worker.Definition{
			"after": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				_ = task.Wait(ctx, time.Minute, func(context.Context) error { return nil })
				<-release
				return 1, nil
			})},
			"stuck": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				return nil, task.Wait(ctx, 10*time.Millisecond, func(ctx context.Context) error { <-release; return nil })
			})},
			"long": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				err := task.Wait(ctx, 10*time.Millisecond, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
				if !errors.Is(err, worker.ErrWaited) || ctx.Err() != nil {
					t.Errorf("%v after the longest wait; the task: %v", err, ctx.Err())
				}
				return 1, nil
			})},
		}})
		after, stuck := b.send(t, "after"), b.send(t, "stuck")
		b.eventually(t, "both are over their limit", func() bool { return b.status(after) == "FAILURE" && b.status(stuck) == "FAILURE" })
		long := b.send(t, "long")
		b.eventually(t, "the long wait is over", func() bool { return b.status(long) == "SUCCESS" })
	})
}

// The handler has said what becomes of its task should it never return.
func TestOnTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a busy machine is no time limit
		release := make(chan struct{})
		defer close(release)
		var runs atomic.Int32
		stuck := func(decide func() error) worker.Definition {
			return worker.Definition{TimeLimit: 20 * time.Millisecond, Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				task.OnTimeLimit(decide)
				if runs.Add(1); task.Retries > 0 {
					return "again", nil
				}
				<-release
				return nil, nil
			})}
		}
		b := start(t, worker.Config{Concurrency: 8, Tasks: map[string]worker.Definition{
			"retry":   stuck(func() error { return &worker.RetryError{Err: worker.ErrTimeLimit, Countdown: -1} }),
			"give up": stuck(func() error { return worker.GiveUp("an answer", "it hung") }),
			"nil":     stuck(func() error { return nil }),
			"panic":   stuck(func() error { panic("no") }),
		}})
		retry, giveUp, none, panics := b.send(t, "retry"), b.send(t, "give up"), b.send(t, "nil"), b.send(t, "panic")
		b.eventually(t, "all have ended", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
		for id, want := range map[string]string{retry: "SUCCESS", giveUp: "SUCCESS", none: "FAILURE", panics: "FAILURE"} {
			if got := b.status(id); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		if n := runs.Load(); n != 5 {
			t.Errorf("%d runs, want 5", n)
		}
		if letters := b.DeadLetters(); len(letters) != 1 || letters[0].Reason != "it hung" {
			t.Errorf("dead letters: %v", letters)
		}
	})
}

// Remote control cannot pass the bound of the slots, and the settings must not.
func TestMaxConcurrency(t *testing.T) {
	tasks := one(func(context.Context) (any, error) { return nil, nil })
	b := start(t, worker.Config{Name: "w@h", MaxConcurrency: 3, Concurrency: 2, Tasks: tasks})
	if got := b.ask(t, "pool_grow", `{"n": 2}`); !strings.Contains(got, "bounded to 3") {
		t.Errorf("pool_grow by 2: %s", got)
	}
	if got := b.ask(t, "pool_grow", `{"n": 1}`); got != `{"ok": "pool will grow"}` || b.w.Status().Concurrency != 3 {
		t.Errorf("pool_grow by 1: %s, %d slots", got, b.w.Status().Concurrency)
	}
	a := start(t, worker.Config{Name: "a@h", MaxConcurrency: 3, Autoscale: worker.Autoscale{Min: 1, Max: 3}, Tasks: tasks})
	if got := a.ask(t, "autoscale", `{"max": 4, "min": 1}`); !strings.Contains(got, "bounded to 3") {
		t.Errorf("autoscale to 4: %s", got)
	}
	for _, c := range []worker.Config{{Concurrency: 4}, {Autoscale: worker.Autoscale{Min: 1, Max: 4}}} {
		c.MaxConcurrency, c.Tasks, c.Broker = 3, tasks, b.Broker
		if _, err := worker.New(c); err == nil || !strings.Contains(err.Error(), "MaxConcurrency is 3") {
			t.Errorf("New: %v", err)
		}
	}
}
