package worker

import (
	"context"
	"log/slog"
)

// lazyLog is a handler whose attributes, those of a task, are written out when something
// is logged. Those of slog do that at once, which is work for nothing with most tasks.
type lazyLog struct {
	base slog.Handler
	task *Task
}

// with is the handler that has the attributes.
func (l *lazyLog) with() slog.Handler {
	return l.base.WithAttrs([]slog.Attr{slog.String("task", l.task.Name), slog.String("task_id", l.task.ID),
		slog.String("root_id", l.task.RootID), slog.String("correlation_id", l.task.CorrelationID)})
}

// Enabled implements [slog.Handler].
func (l *lazyLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.base.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *lazyLog) Handle(ctx context.Context, r slog.Record) error { return l.with().Handle(ctx, r) }

// WithAttrs implements [slog.Handler].
func (l *lazyLog) WithAttrs(attrs []slog.Attr) slog.Handler { return l.with().WithAttrs(attrs) }

// WithGroup implements [slog.Handler].
func (l *lazyLog) WithGroup(name string) slog.Handler { return l.with().WithGroup(name) }
