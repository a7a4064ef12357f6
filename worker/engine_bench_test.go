package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// engineTasks is how many tasks an operation of BenchmarkEngine has.
const engineTasks = 1000

// gated is a worker on a Broker in memory, whose tasks do nothing but wait for the
// gate: what is claimed at a time does not depend on how fast they were sent.
type gated struct {
	broker *workertest.Broker
	w      *worker.Worker
	gate   sync.RWMutex
	sent   int64
}

func startGated(t testing.TB) *gated {
	t.Helper()
	g := &gated{broker: workertest.NewBroker()}
	var err error
	g.w, err = worker.New(worker.Config{Broker: g.broker, Queues: []string{"q"}, Concurrency: 1, Logger: silent(), Tasks: map[string]worker.Definition{
		"t": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			g.gate.RLock()
			defer g.gate.RUnlock()
			return nil, nil
		})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return g
}

// fill closes the gate and sends n tasks.
func (g *gated) fill(t testing.TB, n int) {
	t.Helper()
	g.gate.Lock()
	for range n {
		raw, err := protocol.Encode(&protocol.Message{
			ID: uuid.NewString(), Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: uuid.NewString(), RoutingKey: "q",
		})
		if err != nil {
			t.Fatal(err)
		}
		g.broker.Push("q", 0, raw)
	}
	g.sent += int64(n)
}

// drain opens the gate and waits until all have ended.
func (g *gated) drain(t testing.TB) {
	t.Helper()
	g.gate.Unlock()
	for deadline := time.Now().Add(time.Minute); g.w.Status().Succeeded < g.sent; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d tasks ended, want %d", g.w.Status().Succeeded, g.sent)
		}
	}
}

// BenchmarkEngine is the way of tasks through the engine, without what a Broker
// costs.
func BenchmarkEngine(b *testing.B) {
	b.ReportAllocs()
	g := startGated(b)
	for b.Loop() {
		b.StopTimer()
		g.fill(b, engineTasks)
		b.StartTimer()
		g.drain(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*engineTasks), "ns/task")
}
