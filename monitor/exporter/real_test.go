package exporter_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// published is the release of celery-exporter that the test environment has.
const published = "celery-exporter"

// startReal runs the real celery-exporter and returns its URL.
func startReal(t *testing.T, url string) string {
	t.Helper()
	port := testkit.FreePort(t)
	p := testkit.Start(t, published, append(testkit.PythonEnv(), "TZ=UTC"), testkit.Python(t, published), "-c", "from src.cli import cli; cli()",
		"--broker-url="+url, "--host=127.0.0.1", "--port="+port, "--retry-interval=1", "--log-level=INFO")
	base := "http://127.0.0.1:" + port
	testkit.Eventually(t, 60*time.Second, "celery-exporter answers", func() bool {
		if p.Ended() {
			t.Fatalf("celery-exporter has ended:\n%s", testkit.Last(p.Out.String(), 3000))
		}
		reply, err := http.Get(base + "/health")
		if err != nil {
			return false
		}
		reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
	return base
}

// startPython runs a worker of Celery that consumes the queue "python".
func startPython(t *testing.T, url string) {
	t.Helper()
	dir := t.TempDir()
	app := fmt.Sprintf("from celery import Celery\napp = Celery(\"shop\", broker=%q)\n", url)
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(app), 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.Start(t, "worker", append(testkit.PythonEnv(), "PYTHONPATH="+dir), testkit.Python(t, testkit.CeleryNew),
		"-m", "celery", "-A", "shop", "worker", "-n", "w@real", "-Q", "python", "-c", "2", "--without-mingle", "--without-gossip")
}

// background runs fn until the test ends, and waits for its end.
func background(t *testing.T, fn func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestBesideExporter compares the series with those of a real celery-exporter on the same
// events and the same worker. Its release is older than [TestRecorded] and has no wait.
func TestBesideExporter(t *testing.T) {
	r := testkit.StartRedis(t)
	b, err := redis.New(redis.Config{URL: r.URL(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	var api *flower.API
	x, err := exporter.New(exporter.Config{
		Depths: func(context.Context) (map[string]int, error) {
			return map[string]int{"python": r.Waiting("python")}, nil
		},
		Consumers: func() []exporter.Consumer { return api.Consumers() },
	})
	if err != nil {
		t.Fatal(err)
	}
	remote := broker.CapabilitiesOf(b).Remote
	state, err := fleet.New(fleet.Config{Remote: remote, Observers: []fleet.Observer{x}})
	if err != nil {
		t.Fatal(err)
	}
	if api, err = flower.New(flower.Config{Fleet: state, Remote: remote}); err != nil {
		t.Fatal(err)
	}
	ours := httptest.NewServer(x.Handler())
	t.Cleanup(ours.Close)
	background(t, state.Run)
	background(t, api.Run)
	real := startReal(t, r.URL())
	startPython(t, r.URL())
	read := func(base string) string {
		reply, err := http.Get(base + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("status %d, %v: %s", reply.StatusCode, err, testkit.Clip(string(text), 500))
		}
		return string(text)
	}
	both := func(what, line string) {
		t.Helper()
		testkit.Eventually(t, 60*time.Second, what, func() bool { return strings.Contains(read(real), line) && strings.Contains(read(ours.URL), line) })
	}
	both("both know the worker", `celery_worker_up{hostname="real"} 1.0`)
	both("both know its queue", `celery_active_process_count{queue_name="python"} 2.0`)

	events := recorded(t)
	events = append(events, []byte(`{"type": "task-received", "uuid": "end", "name": "the.end", "hostname": "x@end", "timestamp": 1800001000, "clock": 1, "utcoffset": 0}`))
	for _, e := range events {
		raw, err := protocol.AppendEvents(nil, "task.multi", "w@h", "tag", slices.Concat([]byte("["), e, []byte("]")))
		if err != nil {
			t.Fatal(err)
		}
		r.Do("PUBLISH", "/0.celeryev/task.multi", raw)
	}
	both("both have taken in all events", `celery_task_received_total{hostname="end",name="the.end",queue_name="celery"} 1.0`)
	skip := []string{"_created", "queue_wait_time", "evently_"}
	got, want := series(read(ours.URL), skip...), series(read(real), skip...)
	missing := slices.DeleteFunc(slices.Clone(want), func(l string) bool {
		// Later releases create no series of tasks that a host has not sent.
		return slices.Contains(got, l) || strings.HasPrefix(l, "celery_task_sent_total") && strings.HasSuffix(l, " 0.0")
	})
	added := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return slices.Contains(want, l) })
	if len(want) < 300 || len(missing)+len(added) > 0 {
		t.Errorf("%d series; missing:\n%s\nadded:\n%s", len(want), strings.Join(missing, "\n"), strings.Join(added, "\n"))
	}

	// The exporter counts one list of a queue, and this one all.
	if _, err := inspect.New(remote).CancelConsumer(t.Context(), "python", "w@real"); err != nil {
		t.Fatal(err)
	}
	both("the queue has no consumer", `celery_active_worker_count{queue_name="python"} 0.0`)
	r.Do("LPUSH", "python", "x")
	r.Do("LPUSH", "python\x06\x163", "y", "z")
	if text := read(real); !strings.Contains(text, `celery_queue_length{queue_name="python"} 1.0`) {
		t.Errorf("the exporter counts otherwise by now: %s", text)
	}
	if text := read(ours.URL); !strings.Contains(text, `celery_queue_length{queue_name="python"} 3.0`) {
		t.Errorf("messages of priority 3 are not counted: %s", text)
	}
}
