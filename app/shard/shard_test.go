package shard

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func newShard(t *testing.T, name string) (*Shard, *workertest.Broker) {
	t.Helper()
	nothing := worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil })
	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{
		Broker: b, Name: "w@h", Queues: []string{"q"}, MaxTasks: 1, Concurrency: 1,
		Tasks: map[string]worker.Definition{"t": {Handler: nothing}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Shard{Name: name, Worker: w}, b
}

// The workers of a process end together: by the context, and when one of them ends by itself.
func TestSetEndsAsOne(t *testing.T) {
	t.Parallel()
	last, err := protocol.Encode(&protocol.Message{ID: "1", Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: "1", RoutingKey: "q"})
	if err != nil {
		t.Fatal(err)
	}
	for name, byItself := range map[string]bool{"by the context": false, "by itself": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eu, _ := newShard(t, "eu")
			us, queue := newShard(t, "us")
			all := Set{eu, us}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ends, done := make(chan struct{}, 2), make(chan error, 1)
			go func() { done <- all.Run(ctx, t.Context(), func() { ends <- struct{}{} }) }()
			for deadline := time.Now().Add(30 * time.Second); !eu.consumes() || !us.consumes(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("not both consume: %s", all.Words())
				}
			}
			if words := all.Words(); !strings.Contains(words, "eu running: 0 of 1 slots") || !strings.Contains(words, "; us running") {
				t.Errorf("words: %s", words)
			}
			if byItself {
				queue.Push("q", 0, last) // MaxTasks is 1
			} else {
				cancel()
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if len(ends) != 1 {
				t.Errorf("end was called %d times, want once, after the last worker", len(ends))
			}
		})
	}
}

func TestWorkerOf(t *testing.T) {
	t.Parallel()
	if one, named := (&Shard{}).WorkerOf("w@h"), (&Shard{Name: "eu"}).WorkerOf("w@h"); one != "w@h" || named != "w@h/eu" {
		t.Errorf("%s and %s", one, named)
	}
}
