package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

func TestMain(m *testing.M) {
	if value := os.Getenv(childVariable); value != "" {
		child(value)
		return
	}
	// The tests wait most of the time: more of them at once than processors.
	flag.Parse()
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		if err := n.Value.Set("8"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// send puts a task message into a queue, as a producer does, and returns its id.
func send(t testing.TB, c redigo.Conn, queue, task, args string, change ...func(*protocol.Message)) string {
	t.Helper()
	m := &protocol.Message{
		ID: uuid.NewString(), Task: task, Args: protocol.Raw(args), Kwargs: protocol.Raw("{}"),
		DeliveryTag: uuid.NewString(), RoutingKey: queue,
	}
	m.RootID, m.CorrelationID = m.ID, m.ID
	for _, f := range change {
		f(m)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	list := queue
	if m.Priority >= 3 {
		list = fmt.Sprintf("%s\x06\x16%d", queue, m.Priority/3*3)
	}
	if _, err := c.Do("LPUSH", list, raw); err != nil {
		t.Fatalf("push: %v", err)
	}
	return m.ID
}

type stored struct {
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
}

func result(t testing.TB, c redigo.Conn, id string) (s stored) {
	t.Helper()
	b, err := redigo.Bytes(c.Do("GET", "celery-task-meta-"+id))
	if errors.Is(err, redigo.ErrNil) {
		return stored{Status: "PENDING"}
	}
	if err != nil {
		t.Fatalf("read result: %v", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatalf("read result: %v", err)
	}
	return s
}

// eventually polls for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not come to pass: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// backend makes a broker that only publishes.
func backend(t testing.TB, s *redistest.Server) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatalf("redis.New: %v", err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// runWorker runs a worker until the test ends or stop is called.
func runWorker(t testing.TB, rc redis.Config, wc worker.Config) (w *worker.Worker, stop func()) {
	t.Helper()
	rc.Logger, wc.Logger = quiet(), quiet()
	b, err := redis.New(rc)
	if err != nil {
		t.Fatalf("redis.New: %v", err)
	}
	wc.Broker = b
	if wc.Queues == nil {
		wc.Queues = []string{"q"}
	}
	w, err = worker.New(wc)
	if err != nil {
		t.Fatalf("worker.New: %v", err)
	}
	return w, untilEnd(t, w)
}

// untilEnd runs a worker until the test ends or stop is called.
func untilEnd(t testing.TB, w *worker.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestTaskEndsInResult(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 2, Tasks: map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, a struct{ X, Y int }) (int, error) { return a.X + a.Y, nil })},
	}})
	for _, priority := range []int{0, 3, 9} {
		id := send(t, c, "q", "add", "[1, 2]", func(m *protocol.Message) { m.Priority = priority })
		eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
		if got := string(result(t, c, id).Result); got != "3" {
			t.Errorf("result is %s, want 3", got)
		}
	}
	id := send(t, c, "q", "add", "[1]")
	eventually(t, "result", func() bool { return result(t, c, id).Status == "FAILURE" })
	eventually(t, "acknowledged", func() bool {
		n, err := redigo.Int(c.Do("HLEN", "unacked"))
		return err == nil && n == 0
	})
}
