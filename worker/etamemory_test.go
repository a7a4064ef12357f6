package worker_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// etaQueue is a Broker with a given number of messages of some 1.2 KB that are due
// tomorrow. It makes them as they are claimed, in memory of their size, as they
// are read from a connection.
type etaQueue struct {
	*workertest.Broker
	t     testing.TB
	left  int
	bytes int
}

func (q *etaQueue) Claim(_ context.Context, max int) (ds []broker.Delivery, err error) {
	for range min(max, q.left) {
		q.left--
		id := uuid.NewString()
		raw, err := protocol.Encode(&protocol.Message{
			ID: id, Task: "t", Args: protocol.Raw(fmt.Sprintf(`[%q, "%s"]`, id, strings.Repeat("x", 120))),
			Kwargs: protocol.Raw("{}"), DeliveryTag: uuid.NewString(), RoutingKey: "q", ETA: time.Now().Add(24 * time.Hour),
			ArgsRepr: "['…']", KwargsRepr: "{}", Origin: "gen1@host", ReplyTo: uuid.NewString(),
		})
		if err != nil {
			q.t.Fatal(err)
		}
		raw = append(make([]byte, 0, len(raw)), raw...)
		q.bytes += len(raw)
		ds = append(ds, broker.Delivery{Claim: fmt.Sprintf("%s:%028d", uuid.NewString(), q.left), Queue: "q", Raw: raw})
	}
	return ds, nil
}

// etaMemory returns the bytes of memory for each of n tasks that wait for their
// ETA, and the bytes of a message.
func etaMemory(t testing.TB, n int) (perTask, perMessage float64) {
	t.Helper()
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	q := &etaQueue{Broker: workertest.NewBroker(), t: t, left: n}
	w, err := worker.New(worker.Config{
		Logger: silent(), Broker: q, Queues: []string{"q"}, Tasks: one(func(context.Context) (any, error) { return nil, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for deadline := time.Now().Add(2 * time.Minute); w.Status().Scheduled < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d tasks are held", w.Status().Scheduled, n)
		}
	}
	used := heap() - before
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return used / float64(n), float64(q.bytes) / float64(n)
}

// A task that waits costs its message and little more, as there may be many.
func TestETAMemory(t *testing.T) {
	if task, message := etaMemory(t, 20_000); task > 1.5*message {
		t.Errorf("a task with a message of %.0f bytes takes %.0f", message, task)
	}
}

// BenchmarkETAMemory tells what a hundred thousand of them cost; the figure stands
// in docs/operations.md.
func BenchmarkETAMemory(b *testing.B) {
	for b.Loop() {
		task, message := etaMemory(b, 100_000)
		b.ReportMetric(task, "B/task")
		b.ReportMetric(message, "B/message")
	}
}
