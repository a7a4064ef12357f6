package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// A message whose runs end with the process, again and again, is set aside.
func TestPoison(t *testing.T) {
	var runs atomic.Int32
	tasks := map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { runs.Add(1); return 1, nil })}}
	b := start(t, worker.Config{Tasks: tasks, MaxRedeliveries: 2})
	// The second start of a message that was never finished: a run that ended
	// with its process, seen from here.
	raw := func(m *protocol.Message) { m.ID, m.Redelivered = "pill", true }
	b.send(t, "t", raw)
	b.eventually(t, "first redelivery runs", func() bool { return runs.Load() == 1 && b.Unacked() == 0 })
	b.SetCrashes("pill", 1)
	id := b.send(t, "t", raw, func(m *protocol.Message) { m.Task = "t" })
	b.eventually(t, "set aside", func() bool { return len(b.DeadLetters()) == 1 })
	if runs.Load() != 1 {
		t.Errorf("ran %d times", runs.Load())
	}
	if got := b.DeadLetters()[0]; got.TaskID != id || !strings.Contains(got.Reason, "poison") {
		t.Errorf("dead letter %q of %q", got.Reason, got.TaskID)
	}
}

// The last chance of a message that may kill the worker is its own: nothing runs
// beside it that could be blamed.
func TestLastChanceRunsAlone(t *testing.T) {
	var running, beside atomic.Int32
	release := make(chan struct{})
	b := start(t, worker.Config{Concurrency: 4, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { running.Add(1); defer running.Add(-1); <-release; return nil, nil })},
		"suspect": {Handler: do(func(context.Context) (any, error) {
			beside.Store(running.Load())
			return nil, nil
		})},
	}})
	b.send(t, "t")
	b.eventually(t, "running", func() bool { return running.Load() == 1 })
	b.SetCrashes("suspect", 1)
	b.send(t, "suspect", func(m *protocol.Message) { m.ID, m.Redelivered = "suspect", true })
	later := b.send(t, "t")
	b.eventually(t, "both are reserved", func() bool { return b.w.Status().Reserved == 2 })
	close(release)
	b.eventually(t, "all have ended", func() bool { return b.status("suspect") == "SUCCESS" && b.status(later) == "SUCCESS" })
	if n := beside.Load(); n != 0 {
		t.Errorf("%d tasks ran beside it", n)
	}
}

// A message that another worker has got meanwhile is let go of.
func TestLostMessageIsLetGo(t *testing.T) {
	causes, holds := make(chan error, 1), make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(ctx context.Context) (any, error) {
			task, _ := worker.TaskFrom(ctx)
			if err := task.Held(ctx); err != nil {
				t.Errorf("Held before the loss: %v", err)
			}
			close(holds)
			<-ctx.Done()
			if err := task.Held(context.WithoutCancel(ctx)); !errors.Is(err, worker.ErrLost) {
				t.Errorf("Held after the loss: %v", err)
			}
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		})},
	}})
	id := b.send(t, "t")
	<-holds
	b.Steal()
	if err := <-causes; !errors.Is(err, worker.ErrLost) {
		t.Errorf("cause is %v, want ErrLost", err)
	}
	b.eventually(t, "slot is free", func() bool { return b.w.Status().Running == 0 })
	if b.status(id) != "" || b.w.Status().Lost != 1 {
		t.Errorf("state %q, lost %d", b.status(id), b.w.Status().Lost)
	}
}

// A claim may get lost in the moment in which the ETA of its message comes.
func TestLostAsItsETAComes(t *testing.T) {
	var runs atomic.Int32
	b := start(t, worker.Config{Concurrency: 4, Tasks: one(func(ctx context.Context) (any, error) {
		runs.Add(1)
		return nil, ctx.Err()
	})})
	const n = 300
	now := time.Now()
	for i := range n {
		b.send(t, "t", func(m *protocol.Message) { m.ETA = now.Add(time.Duration(i) * time.Millisecond / 2) })
	}
	b.eventually(t, "nothing is held any more", func() bool {
		b.Steal()
		s := b.w.Status()
		return s.Received == n && s.Scheduled == 0 && s.Reserved == 0 && s.Running == 0 && b.Unacked() == 0
	})
	if s := b.w.Status(); int64(runs.Load()) > n || s.Lost == 0 {
		t.Errorf("%d runs, %d lost", runs.Load(), s.Lost)
	}
}
