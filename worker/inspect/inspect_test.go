package inspect_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a Celery application with a task that runs until a key appears.
const app = `
import time
from celery import Celery
app = Celery("shop", broker=%[1]q, backend=%[1]q)

@app.task(name="shop.wait")
def wait():
    r = app.backend.client
    r.set("begun", "1")
    while not r.exists("done"):
        time.sleep(0.05)
`

// Workers of both kinds are found beside each other, with what they do.
func TestWorkers(t *testing.T) {
	server := testkit.StartRedis(t)
	b := openBroker(t, server.URL())
	client := inspect.New(b)
	if ws, err := client.Workers(t.Context()); err != nil || len(ws) != 0 {
		t.Fatalf("without workers: %v, %v", ws, err)
	}

	started, release := make(chan struct{}), make(chan struct{})
	ours, stop := run(t, server.URL(), worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
		close(started)
		<-release
		return nil, nil
	}))
	for _, celery := range []string{testkit.CeleryOld, testkit.CeleryNew} {
		startPython(t, celery, server.URL())
	}
	send(t, server.URL(), "go", "shop.go")
	send(t, server.URL(), "python-"+testkit.CeleryNew, "shop.wait")
	<-started
	var found []inspect.Worker
	testkit.Eventually(t, 60*time.Second, "three workers answer, and the tasks run", func() bool {
		var err error
		if found, err = client.Workers(t.Context()); err != nil {
			return false // a busy machine: the next question may be answered in time
		}
		active := 0
		for _, w := range found {
			active += w.Active
		}
		return len(found) == 3 && active == 2
	})
	for i, want := range []inspect.Worker{
		{Node: "go@h", State: "running", Concurrency: 3, Active: 1, PID: os.Getpid(), Software: "shop-workers", Version: "1.2.3"},
		{Node: "python-celery-5.2@h", Python: true, State: "running", Concurrency: 2, Software: "celery", Version: "5.2"},
		{Node: "python-celery-5@h", Python: true, State: "running", Concurrency: 2, Active: 1, Software: "celery", Version: "5."},
	} {
		got := found[i]
		if !strings.HasPrefix(got.Version, want.Version) || got.PID <= 0 || want.PID != 0 && got.PID != want.PID {
			t.Errorf("version %q, PID %d of %+v", got.Version, got.PID, want)
		}
		got.Version, got.PID, got.Uptime = want.Version, want.PID, 0
		if got != want {
			t.Errorf("worker %+v, want %+v", got, want)
		}
	}

	// A worker that stops answers until its last task has ended.
	stop()
	testkit.Eventually(t, 30*time.Second, "our worker says that it stops", func() bool {
		found, err := client.Workers(t.Context())
		return err == nil && len(found) == 3 && found[0].State == "stopping"
	})
	close(release)
	if err := <-ours; err != nil {
		t.Error(err)
	}
	server.Do("SET", "done", "1")
	if found, err := client.Workers(t.Context()); err != nil || len(found) != 2 || !found[0].Python {
		t.Errorf("after the stop: %+v, %v", found, err)
	}
}

// remote answers requests as told.
type remote struct {
	broker.Remote
	replies []string // to stats, bodies; %s is the ticket
}

func (r remote) Ask(ctx context.Context, raw []byte, _ string, receive func([]byte)) error {
	var d protocol.Decoder
	q, err := d.DecodeControl(raw)
	if err != nil {
		return err
	}
	if q.Method != "stats" {
		<-ctx.Done()
		return nil
	}
	for i, reply := range r.replies {
		raw, err := protocol.EncodeReply(q, protocol.ControlReply{Node: fmt.Sprintf("n%d@h", i), Value: protocol.Raw(reply)}, "tag")
		if err != nil {
			return err
		}
		receive(raw)
	}
	receive([]byte("no answer"))
	q.Ticket = "of another question"
	raw, err = protocol.EncodeReply(q, protocol.ControlReply{Node: "other@h", Value: protocol.Raw("{}")}, "tag")
	receive(raw)
	return err
}

// Any process can answer, and workers of other kinds may answer otherwise.
func TestWorkersOfStrangeAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	found, err := inspect.New(remote{replies: []string{
		`"text"`, `null`, `[1]`, `{"error": "no"}`, `{"pid": "x"}`, `{"pool": {"max-concurrency": "N/A"}}`,
		`{"software": "x", "pool": {"max-concurrency": 1e400, "running": 2}}`,
	}}).Workers(ctx)
	if err != nil || len(found) != 7 {
		t.Fatalf("%d workers: %+v, %v", len(found), found, err)
	}
	for i, w := range found {
		if w.Node != fmt.Sprintf("n%d@h", i) || w.State != "running" || w.PID != 0 || w.Concurrency != 0 {
			t.Errorf("worker %+v", w)
		}
	}
}

func openBroker(t *testing.T, url string) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// run runs a worker of this library.
func run(t *testing.T, url string, h worker.Handler) (ended <-chan error, stop context.CancelFunc) {
	t.Helper()
	w, err := worker.New(worker.Config{
		Broker: openBroker(t, url), Name: "go@h", Queues: []string{"go"}, Concurrency: 3, WithoutMingle: true,
		Software: "shop-workers", SoftwareVersion: "1.2.3",
		Tasks:  map[string]worker.Definition{"shop.go": {Handler: h}},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return done, stop
}

// startPython starts a worker of Celery that consumes the queue of its name.
func startPython(t *testing.T, celery, url string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(fmt.Sprintf(app, url)), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(testkit.PythonEnv(), "PYTHONPATH="+dir)
	testkit.Start(t, celery, env, testkit.Python(t, celery), "-m", "celery", "-A", "shop", "worker",
		"-n", "python-"+celery+"@h", "-Q", "python-"+celery, "-c", "2", "--without-mingle", "--without-gossip")
}

// send publishes a task into a queue.
func send(t *testing.T, url, queue, task string) {
	t.Helper()
	c, err := worker.NewClient(worker.ClientConfig{Backend: openBroker(t, url), Publishing: worker.Publishing{DefaultQueue: queue}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), canvas.New(task)); err != nil {
		t.Fatal(err)
	}
}
