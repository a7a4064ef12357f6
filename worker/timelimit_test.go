package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
)

// A handler that does not return gives up its slot at the hard time limit.
func TestHardLimitFreesTheSlot(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"stuck": {Handler: do(func(context.Context) (any, error) { <-release; return 1, nil }), TimeLimit: 10 * time.Millisecond},
		"t":     {Handler: do(func(context.Context) (any, error) { return 1, nil })},
	}})
	stuck, next := b.send(t, "stuck"), b.send(t, "t")
	b.eventually(t, "the next task runs", func() bool { return b.status(next) == "SUCCESS" })
	if b.status(stuck) != "FAILURE" || b.w.Status().Aborted != 1 {
		t.Errorf("state %q, aborted %d", b.status(stuck), b.w.Status().Aborted)
	}
}

// Handlers that do not heed their hard time limit do not pile up.
func TestDeafHandlersAreBounded(t *testing.T) {
	release := make(chan struct{})
	var running, most atomic.Int32
	b := start(t, worker.Config{Concurrency: 2, TaskTimeLimit: 5 * time.Millisecond, Tasks: one(func(context.Context) (any, error) {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return nil, nil
	})})
	const n = 40
	for range n {
		b.send(t, "t")
	}
	b.eventually(t, "the worker says so", func() bool { return strings.Contains(b.w.Status().Fault, "time limit") })
	if s := b.w.Status(); s.Consuming {
		t.Error("the worker claims to consume")
	}
	close(release)
	b.eventually(t, "all have ended", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 && b.w.Status().Aborted == 0 })
	if most.Load() > 2+4+2*4 {
		t.Errorf("%d handlers ran at once with two slots", most.Load())
	}
}
