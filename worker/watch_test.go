package worker_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

// stuck is a Broker whose Wait hangs until its connections are dropped, which a
// Broker must not do.
type stuck struct {
	*workertest.Broker
	reset  chan struct{}
	resets atomic.Int32
}

func (s *stuck) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-s.reset:
	}
	return nil
}

func (s *stuck) Reset() {
	s.resets.Add(1)
	s.reset <- struct{}{}
}

func TestWatchdogRebuildsAStalledConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &stuck{Broker: workertest.NewBroker(), reset: make(chan struct{})}
		w, err := worker.New(worker.Config{
			Broker: b, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Tasks: map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { return nil, nil })}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := b.resets.Load(); n != 0 {
			t.Errorf("connections were dropped %d times within 11 s of waiting", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := b.resets.Load(); n != 1 {
			t.Errorf("connections were dropped %d times after 14 s of standing still, want once", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
