package worker_test

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/workertest"
)

func TestMaxTasks(t *testing.T) {
	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{Logger: silent(), Broker: b, Queues: []string{"q"}, MaxTasks: 3, Concurrency: 1, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
	bench := &bench{Broker: b}
	for range 5 {
		bench.send(t, "t")
	}
	if err := w.Run(context.Background()); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := len(b.Queued("q")); n != 2 || b.Unacked() != 0 {
		t.Errorf("%d messages left, %d unacknowledged, want two and none", n, b.Unacked())
	}
}

// runOut runs a worker over a queue of five tasks until it ends by itself, and
// returns how many of them it has left.
func runOut(t *testing.T, cfg worker.Config) (left int, log string) {
	t.Helper()
	b := workertest.NewBroker()
	bench := &bench{Broker: b}
	for range 5 {
		bench.send(t, "t")
	}
	var text strings.Builder
	cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
	cfg.Broker, cfg.Queues, cfg.Concurrency = b, []string{"q"}, 1
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("the worker did not end by itself")
	}
	if n := b.Unacked(); n != 0 {
		t.Errorf("%d messages are unacknowledged", n)
	}
	return len(b.Queued("q")), text.String()
}

// A process that has grown too large ends after the task, as by a stop.
func TestMaxMemory(t *testing.T) {
	var mu sync.Mutex
	var kept [][]byte
	defer func() { kept = nil }()
	const chunk = 32 << 20
	debug.FreeOSMemory() // what other tests have left is not ours
	left, log := runOut(t, worker.Config{
		MaxMemory: process.Resident() + 2*chunk + chunk/2,
		Tasks: one(func(context.Context) (any, error) {
			leak := make([]byte, chunk)
			for i := range leak {
				leak[i] = 1 // or the system gives no memory for it
			}
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, leak)
			return nil, nil
		}),
	})
	// The race detector has memory of its own for each byte.
	if left < 1 || left == 5 {
		t.Errorf("%d of five tasks are left", left)
	}
	if !strings.Contains(log, "memory") || !strings.Contains(log, "max_memory=") {
		t.Errorf("the log does not tell why:\n%s", log)
	}
	if len(kept) == 0 {
		t.Error("nothing was kept: this test proves nothing")
	}
}

// Nothing begins once it is known that the process is too large.
func TestMaxMemoryBeginsNothingMore(t *testing.T) {
	left, _ := runOut(t, worker.Config{MaxMemory: 1, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	if left != 4 {
		t.Errorf("%d of five tasks are left, want four", left)
	}
}

func TestMaxMemoryIsNotNegative(t *testing.T) {
	_, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Tasks: one(nil), MaxMemory: -1})
	if err == nil || !strings.Contains(err.Error(), "MaxMemory") {
		t.Errorf("a negative MaxMemory: %v", err)
	}
}
