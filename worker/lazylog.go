package worker

import (
	"context"
	"log/slog"
)

// lazyLog is a handler whose attributes are written out when something is logged.
// Those of slog do that at once, which is work for nothing with most tasks.
type lazyLog struct {
	base  slog.Handler
	attrs []slog.Attr
}

// lazily is log.With for attributes that are seldom needed.
func lazily(log *slog.Logger, attrs ...slog.Attr) *slog.Logger {
	return slog.New(&lazyLog{base: log.Handler(), attrs: attrs})
}

// Enabled implements [slog.Handler].
func (l *lazyLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.base.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *lazyLog) Handle(ctx context.Context, r slog.Record) error {
	return l.base.WithAttrs(l.attrs).Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (l *lazyLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	both := make([]slog.Attr, 0, len(l.attrs)+len(attrs))
	return &lazyLog{base: l.base, attrs: append(append(both, l.attrs...), attrs...)}
}

// WithGroup implements [slog.Handler].
func (l *lazyLog) WithGroup(name string) slog.Handler {
	return l.base.WithAttrs(l.attrs).WithGroup(name)
}
