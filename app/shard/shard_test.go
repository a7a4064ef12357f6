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

func newShard(t *testing.T, name string, run worker.HandlerFunc) (*Shard, *workertest.Broker) {
	t.Helper()
	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{
		Broker: b, Name: "w@h", Queues: []string{"q"}, MaxTasks: 1, Concurrency: 1,
		Tasks: map[string]worker.Definition{"t": {Handler: run}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Shard{Name: name, Worker: w}, b
}

func nothing(context.Context, *worker.Task) (any, error) { return nil, nil }

func message(t *testing.T, id string) []byte {
	t.Helper()
	m, err := protocol.Encode(&protocol.Message{ID: id, Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: id, RoutingKey: "q"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// The workers of a process end together: by the context, and when one of them ends by itself.
func TestSetEndsAsOne(t *testing.T) {
	t.Parallel()
	last := message(t, "1")
	for name, byItself := range map[string]bool{"by the context": false, "by itself": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eu, _ := newShard(t, "eu", nothing)
			us, queue := newShard(t, "us", nothing)
			all := Set{eu, us}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ends, done := make(chan struct{}, 2), make(chan error, 1)
			go func() { done <- all.Run(ctx, t.Context(), func() { ends <- struct{}{} }) }()
			until(t, "both consume", func() bool { return eu.consumes() && us.consumes() })
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

// A worker that stops by itself stops the others when it begins to, and not when its last task
// has ended.
func TestSetStopsAsOne(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	eu, _ := newShard(t, "eu", nothing)
	us, queue := newShard(t, "us", func(context.Context, *worker.Task) (any, error) {
		close(begun)
		<-finish
		return nil, nil
	})
	all := Set{eu, us}
	done := make(chan error, 1)
	go func() { done <- all.Run(t.Context(), t.Context(), func() {}) }()
	until(t, "both consume", func() bool { return eu.consumes() && us.consumes() })
	queue.Push("q", 0, message(t, "1")) // MaxTasks is 1
	<-begun
	until(t, "the other worker has stopped", func() bool { return eu.Worker.Status().State == worker.StateStopped })
	if state := us.Worker.Status().State; state == worker.StateStopped {
		t.Errorf("the worker with a running task is %s", state)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWorkerOf(t *testing.T) {
	t.Parallel()
	if one, named := (&Shard{}).WorkerOf("w@h"), (&Shard{Name: "eu"}).WorkerOf("w@h"); one != "w@h" || named != "w@h/eu" {
		t.Errorf("%s and %s", one, named)
	}
}
