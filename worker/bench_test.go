package worker_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type none struct{}

// do makes a handler of a function without arguments.
func do(fn func(ctx context.Context) (any, error)) worker.Handler {
	return worker.Func(func(ctx context.Context, _ none) (any, error) { return fn(ctx) })
}

// one makes a task table of one function.
func one(fn func(ctx context.Context) (any, error)) map[string]worker.Definition {
	return map[string]worker.Definition{"t": {Handler: do(fn)}}
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// arithmetic are tasks for workflows.
func arithmetic() map[string]worker.Definition {
	return map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, in struct{ X, Y int }) (int, error) { return in.X + in.Y, nil })},
		"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (int, error) {
			sum := 0
			for _, n := range in.Numbers {
				sum += n
			}
			return sum, nil
		})},
		"fail": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, &worker.Exception{Type: "ValueError", Args: []any{"no"}}
		})},
	}
}

// bench is a running worker on a Broker in memory.
type bench struct {
	*workertest.Broker
	w      *worker.Worker
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg worker.Config) *bench {
	t.Helper()
	b := &bench{Broker: workertest.NewBroker(), done: make(chan error, 1)}
	cfg.Broker, cfg.Queues = b.Broker, []string{"q"}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	b.w = w
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go func() { b.done <- w.Run(ctx) }()
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *bench) stop(t *testing.T) {
	t.Helper()
	b.cancel()
	if b.done == nil {
		return
	}
	if err := <-b.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	b.done = nil
}

func (b *bench) send(t *testing.T, task string, change ...func(*protocol.Message)) string {
	t.Helper()
	m := &protocol.Message{ID: uuid.NewString(), Task: task, Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: uuid.NewString(), RoutingKey: "q"}
	for _, f := range change {
		f(m)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if m.Redelivered {
		if raw, err = protocol.MarkRedelivered(raw); err != nil {
			t.Fatalf("mark: %v", err)
		}
	}
	b.Push(m.RoutingKey, m.Priority, raw)
	return m.ID
}

func (b *bench) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not come to pass: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (b *bench) status(id string) string {
	if r := b.Result(id); r != nil {
		return r.Status
	}
	return ""
}

// client returns a Client whose tasks go to the worker's queue.
func (b *bench) client(t *testing.T) *worker.Client {
	t.Helper()
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: "q"}})
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	return c
}

func (b *bench) get(t *testing.T, s *canvas.Signature, v any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := b.client(t).Send(ctx, s)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return r.Get(ctx, v)
}

func push(t *testing.T, b *workertest.Broker, eta time.Time) {
	t.Helper()
	x := &bench{Broker: b}
	x.send(t, "t", func(m *protocol.Message) { m.ETA = eta })
}

// syncBuffer collects a log that many goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
