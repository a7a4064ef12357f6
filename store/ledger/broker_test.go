package ledger_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A task marks itself, records the outcome with its end, and the writer stores both, with
// the real broker in between.
func TestBroker(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	server := redistest.Start(t)
	newBroker := func() *redis.Broker {
		b, err := redis.New(redis.Config{URL: server.URL(0), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	b := newBroker()
	s := sealer(t, ledger.SealerConfig{Secrets: b, Mask: mask})
	send := func(ctx context.Context, task *worker.Task) (any, error) {
		e := ledger.Event{Mail: task.Fingerprint(), TaskID: task.ID, Kind: "otp", State: ledger.Sending, At: time.Now(), Attempt: 1, Address: "ada@example.com"}
		if _, err := task.Mark(ctx, "sending", broker.Entry{Stream: ledger.StreamName, Fields: ledger.Encode(e, s)}); err != nil {
			return nil, err
		}
		e.State, e.At = ledger.Accepted, time.Now()
		task.Record(ledger.StreamName, ledger.Encode(e, s)...)
		return nil, nil
	}
	w, err := worker.New(worker.Config{Broker: b, Queues: []string{"celery"}, Logger: quiet, Tasks: map[string]worker.Definition{"mail": {Handler: worker.HandlerFunc(send)}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	client, err := worker.NewClient(worker.ClientConfig{Backend: newBroker()})
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.Send(ctx, canvas.New("mail").Set(canvas.Options{Queue: "celery"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Get(ctx, nil); err != nil {
		t.Fatal(err)
	}

	f := newFixture(t, sqliteDB(t))
	f.sealer = s
	writer := newBroker()
	now := time.Now
	history := f.writer(func(c *ledger.WriterConfig) { c.Outbox, c.Leaser, c.Now = writer, writer, now })
	f.run(history, func() bool { return history.Status().Written == 2 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	found, err := f.reader().Find(t.Context(), "ada@example.com", 10)
	if err != nil || len(found) != 1 || found[0].State != ledger.Accepted || found[0].To != "a***@example.com" {
		t.Errorf("Find: %+v, %v", found, err)
	}
	if left, err := writer.Backlog(t.Context(), ledger.StreamName); err != nil || left.Length != 0 {
		t.Errorf("the stream has %+v, %v", left, err)
	}
}

// The backlog of the stream is not known while Redis does not answer.
func TestBacklogInAnOutage(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	b, err := redis.New(redis.Config{URL: server.URL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	f := newFixture(t, sqliteDB(t))
	history := f.writer(func(c *ledger.WriterConfig) { c.Outbox, c.Leaser, c.Now = b, b, time.Now })
	stop := f.start(history)
	defer stop()
	looked := func(is bool) func() bool { return func() bool { return history.Status().Looked == is } }
	await(t, "a look", looked(true))
	server.Proc.Kill()
	await(t, "the outage is noticed", looked(false))
	server.Start()
	await(t, "a look after the outage", looked(true))
}
