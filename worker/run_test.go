package worker_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

func TestRunTwice(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { return nil, nil })}}})
	b.eventually(t, "running", func() bool { return b.w.Status().State == worker.StateRunning })
	if err := b.w.Run(context.Background()); err == nil {
		t.Error("a second Run succeeded")
	}
}

func TestMiddlewareOrder(t *testing.T) {
	var order []string
	mw := func(name string) worker.Middleware {
		return func(next worker.Handler) worker.Handler {
			return worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				order = append(order, name)
				return next.Run(ctx, task)
			})
		}
	}
	b := start(t, worker.Config{Middleware: []worker.Middleware{mw("outer"), mw("inner")}, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { order = append(order, "handler"); return nil, nil })},
	}})
	id := b.send(t, "t")
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	b.stop(t)
	if !slices.Equal(order, []string{"outer", "inner", "handler"}) {
		t.Errorf("order %v", order)
	}
}

// Arguments of tasks never reach the log.
func TestArgumentsStayOutOfTheLog(t *testing.T) {
	var log strings.Builder
	handler := slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	b := start(t, worker.Config{Logger: slog.New(handler), Tasks: map[string]worker.Definition{
		"t": {Handler: worker.Func(func(_ context.Context, a struct{ N int }) (any, error) { return a.N, nil })},
	}})
	bad := b.send(t, "t", func(m *protocol.Message) {
		m.Args, m.ArgsRepr = protocol.Raw(`["canary-493817"]`), "['canary-493817']"
	})
	b.eventually(t, "failed", func() bool { return b.status(bad) == "FAILURE" })
	b.send(t, "unknown", func(m *protocol.Message) { m.Kwargs = protocol.Raw(`{"canary-493817": 1}`) })
	b.eventually(t, "set aside", func() bool { return len(b.DeadLetters()) == 1 })
	b.stop(t)
	if strings.Contains(log.String(), "493817") || !strings.Contains(log.String(), bad) {
		t.Errorf("log:\n%s", log.String())
	}
	for _, r := range b.History() {
		if enc, err := protocol.EncodeResult(&r); err != nil || strings.Contains(string(enc), "493817") {
			t.Errorf("result: %s %v", enc, err)
		}
	}
}
