package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// watched is a Broker that tells what its queue holds after each Return.
type watched struct {
	*workertest.Broker
	mu       sync.Mutex
	returned func(queued [][]byte)
}

func (w *watched) Claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Broker.Claim(ctx, max)
}

func (w *watched) Return(ctx context.Context, ds []broker.Delivery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.Broker.Return(ctx, ds)
	w.returned(w.Queued("q"))
	return err
}

// Messages that are given back at about the same time are in front of their queue in the
// order of their claims, whichever handler ends first. They spend no attempt.
func TestGiveBackKeepsTheOrder(t *testing.T) {
	for _, prefetch := range []int{1, 3, 0} {
		t.Run(fmt.Sprintf("prefetch %d", prefetch), func(t *testing.T) { testGiveBackOrder(t, prefetch) })
	}
}

func testGiveBackOrder(t *testing.T, prefetch int) {
	const slots = 8
	var log syncBuffer
	b := &watched{Broker: workertest.NewBroker()}
	returned := make(chan [][]byte, 10)
	b.returned = func(queued [][]byte) { returned <- queued }
	var running sync.WaitGroup
	running.Add(slots)
	var begun atomic.Int32
	cfg := worker.Config{
		Broker: b, Queues: []string{"q"}, Concurrency: slots, PrefetchMultiplier: worker.Prefetch(prefetch), SendTaskEvents: true,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Tasks: map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			if begun.Add(1) > slots {
				return 1, nil
			}
			running.Done()
			running.Wait()
			time.Sleep(rand.N(20 * time.Millisecond))
			return nil, worker.GiveBack(errors.New("relay unavailable"))
		})}},
	}
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	bench := &bench{Broker: b.Broker, w: w, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	bench.cancel = cancel
	var want []string
	for range 4*slots + 5 {
		want = append(want, bench.send(t, "t", func(m *protocol.Message) { m.Retries = 2 }))
	}
	go func() { bench.done <- w.Run(ctx) }()
	var got []string
	for _, raw := range <-returned {
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if i := len(got); m.Redelivered != (i < max(1, prefetch)*slots) || m.Retries != 2 {
			t.Errorf("message %d: redelivered %v, %d retries", i, m.Redelivered, m.Retries)
		}
		got = append(got, m.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the queue is\n%v, want\n%v", got, want)
	}
	for _, id := range want {
		bench.eventually(t, "it runs", func() bool { return bench.status(id) == "SUCCESS" })
	}
	bench.stop(t)
	for _, r := range bench.History() {
		if r.Status != protocol.StateSuccess {
			t.Errorf("the state %s was stored", r.Status)
		}
	}
	rejected := 0
	for _, e := range bench.events(t) {
		if e.Type == "task-rejected" && e.Requeue {
			rejected++
		}
	}
	if rejected != slots {
		t.Errorf("%d events task-rejected, want %d", rejected, slots)
	}
	if text := log.String(); strings.Count(text, "messages given back") != 1 || strings.Contains(text, "level=ERROR") || strings.Contains(text, "level=WARN") {
		t.Errorf("log:\n%s", text)
	}
}

// A stop gives back what was given back a moment before, and in front of what waits.
func TestGiveBackAtAStop(t *testing.T) {
	var b *bench
	waiting := make(chan struct{})
	b = start(t, worker.Config{Concurrency: 1, PrefetchMultiplier: 4, Tasks: one(func(context.Context) (any, error) {
		<-waiting
		b.cancel()
		return nil, worker.GiveBack(errors.New("not now"))
	})})
	var want []string
	for range 4 {
		want = append(want, b.send(t, "t"))
	}
	b.eventually(t, "all are claimed", func() bool { return b.w.Status().Reserved == 3 })
	close(waiting)
	b.stop(t)
	var got []string
	for _, raw := range b.Queued("q") {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, env.ID)
	}
	if !slices.Equal(got, want) || b.Unacked() != 0 {
		t.Errorf("the queue after the stop is %v, want %v; %d unacknowledged", got, want, b.Unacked())
	}
}

// StateAfter tells a middleware that nothing is stored.
func TestStateAfterGiveBack(t *testing.T) {
	if s := worker.StateAfter(t.Context(), &worker.Task{}, fmt.Errorf("x: %w", worker.GiveBack(nil))); s != "" {
		t.Errorf("StateAfter is %q, want none", s)
	}
}
