package worker

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestLazyLogIsAsWith(t *testing.T) {
	options := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	write := func(log *slog.Logger) {
		log.Debug("not seen")
		log.Info("plain", "a", 1)
		log.With("b", 2).Warn("more", slog.Group("g", "x", 1))
		left, right := log.With("side", "left"), log.With("side", "right")
		left.Info("one")
		right.WithGroup("in").With("c", 3).Info("two", "d", 4)
	}
	var lazy, usual bytes.Buffer
	base := slog.New(slog.NewJSONHandler(&lazy, options)).With("base", true)
	write(slog.New(&lazyLog{base: base.Handler(), task: &Task{Name: "t", ID: "i", RootID: "r", CorrelationID: "c", Queue: "q", Retries: 2}}))
	write(slog.New(slog.NewJSONHandler(&usual, options)).With("base", true).With("task", "t", "task_id", "i", "root_id", "r", "correlation_id", "c", "queue", "q", "attempt", 3))
	if lazy.String() != usual.String() {
		t.Errorf("got\n%swant\n%s", lazy.String(), usual.String())
	}
}
