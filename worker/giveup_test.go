package worker_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
)

// A task that was given up is SUCCESS for its caller. The log tells what
// happened.
func TestGiveUpIsLogged(t *testing.T) {
	var log syncBuffer
	b := start(t, worker.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Tasks: one(func(context.Context) (any, error) {
		return nil, worker.GiveUp(1, "relay refused")
	})})
	id := b.send(t, "t")
	b.eventually(t, "the task ends", func() bool { return b.status(id) == "SUCCESS" && strings.Contains(log.String(), id) })
	b.stop(t)
	text := log.String()
	if strings.Contains(text, "task succeeded") || !strings.Contains(text, "task given up") || !strings.Contains(text, `dead_letter="relay refused"`) {
		t.Errorf("log:\n%s", text)
	}
}
