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
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestETAWaits(t *testing.T) {
	var at atomic.Int64
	b := start(t, worker.Config{Concurrency: 1, PrefetchMultiplier: 1, Tasks: map[string]worker.Definition{
		"later": {Handler: do(func(context.Context) (any, error) { at.Store(time.Now().UnixNano()); return 1, nil })},
		"now":   {Handler: do(func(context.Context) (any, error) { return 1, nil })},
	}})
	eta := time.Now().Add(300 * time.Millisecond)
	later := b.send(t, "later", func(m *protocol.Message) { m.ETA = eta })
	b.eventually(t, "held, or done", func() bool { return b.w.Status().Scheduled == 1 || b.status(later) == "SUCCESS" })
	now := b.send(t, "now") // is not kept waiting by one that waits
	b.eventually(t, "now is done", func() bool { return b.status(now) == "SUCCESS" })
	b.eventually(t, "later is done", func() bool { return b.status(later) == "SUCCESS" })
	if got := time.Unix(0, at.Load()); got.Before(eta) {
		t.Errorf("ran %v before its ETA", eta.Sub(got))
	}
}

// The wall clock may be set while tasks wait for their ETA.
func TestETAInHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := workertest.NewBroker()
		var at atomic.Int64
		w, err := worker.New(worker.Config{
			Broker: b, Queues: []string{"q"}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Tasks: map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) {
				at.Store(time.Now().UnixNano())
				return nil, nil
			})}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		eta := time.Now().Add(2*time.Hour + 123*time.Millisecond)
		push(t, b, eta)
		time.Sleep(time.Until(eta) - time.Millisecond)
		synctest.Wait()
		if at.Load() != 0 {
			t.Error("ran before its ETA")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if late := time.Unix(0, at.Load()).Sub(eta); at.Load() == 0 || late > time.Millisecond {
			t.Errorf("ran %v after its ETA", late)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
