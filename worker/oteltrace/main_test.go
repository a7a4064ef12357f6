package oteltrace_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/oteltrace"
	"github.com/evently/workers/worker/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder keeps all spans in memory.
type recorder struct {
	*tracetest.InMemoryExporter
	provider *sdk.TracerProvider
}

func record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{InMemoryExporter: tracetest.NewInMemoryExporter()}
	r.provider = sdk.NewTracerProvider(sdk.WithSyncer(r))
	t.Cleanup(func() {
		if err := r.provider.Shutdown(context.Background()); err != nil {
			t.Errorf("end the provider: %v", err)
		}
	})
	return r
}

func (r *recorder) tracing(links bool) *oteltrace.Tracing {
	return oteltrace.New(oteltrace.Config{TracerProvider: r.provider, Links: links})
}

// named returns the spans of that name, in the order of their ends.
func (r *recorder) named(name string) (spans tracetest.SpanStubs) {
	for _, s := range r.GetSpans() {
		if s.Name == name {
			spans = append(spans, s)
		}
	}
	return spans
}

// the returns the only span of that name.
func (r *recorder) the(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	spans := r.named(name)
	if len(spans) != 1 {
		var all []string
		for _, s := range r.GetSpans() {
			all = append(all, s.Name)
		}
		t.Fatalf("%d spans %q, want one; there are %q", len(spans), name, all)
	}
	return spans[0]
}

// attributes of a span as text.
func attributes(s tracetest.SpanStub) map[string]string {
	m := map[string]string{}
	for _, a := range s.Attributes {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

// run runs a worker until the test ends or stop is called.
func run(t *testing.T, url string, cfg worker.Config) (stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b, err := redis.New(redis.Config{URL: url, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Broker, cfg.Queues, cfg.Logger = b, []string{"q"}, log
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// backend makes a broker that only publishes.
func backend(t *testing.T, url string) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come to pass: %s", what)
		}
	}
}

// python runs a script with real Celery and returns what it printed.
func python(t *testing.T, celery string, args ...string) string {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	path := filepath.Join(cache, "evently-workers", celery, "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no environment with %s: %v; run make setup", celery, err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", celery, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
