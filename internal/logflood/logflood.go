// Package logflood bounds the lines of a log during a flood. Of warnings and errors of one kind
// the first ones of each second are written, and one line tells how many were left out. Other
// lines are not touched.
package logflood

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config describes a Handler.
type Config struct {
	PerSecond int // lines of one kind; default: DefaultPerSecond
	Kinds     int // that are told apart; default: DefaultKinds
}

// Defaults of [Config].
const (
	DefaultPerSecond = 10
	DefaultKinds     = 500
)

// Handler passes records on to another handler. Handlers that are derived from it count together.
type Handler struct {
	next  slog.Handler
	flood *flood
}

// New returns a Handler in front of next.
func New(next slog.Handler, cfg Config) *Handler {
	f := &flood{perSecond: cfg.PerSecond, most: cfg.Kinds, base: next, kinds: map[string]*kind{}}
	if f.perSecond <= 0 {
		f.perSecond = DefaultPerSecond
	}
	if f.most <= 0 {
		f.most = DefaultKinds
	}
	return &Handler{next: next, flood: f}
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || h.flood.passes(r) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), flood: h.flood}
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), flood: h.flood}
}

// Flush writes how many lines were left out so far. Call it before the program ends.
func (h *Handler) Flush() { h.flood.tell() }

// LeftOut returns the number of lines that were left out since the start.
func (h *Handler) LeftOut() int64 { return h.flood.leftOut.Load() }

// flood counts the records of each kind.
type flood struct {
	perSecond, most int
	base            slog.Handler // for the lines about the others
	leftOut         atomic.Int64

	mu      sync.Mutex
	kinds   map[string]*kind // of the current second
	pending bool             // tell is due
}

// kind counts the records of one kind within a second.
type kind struct {
	level   slog.Level
	message string
	since   time.Time
	seen    int
}

// passes counts a record, and reports whether it is written.
func (f *flood) passes(r slog.Record) bool {
	key := keyOf(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.kinds[key]
	if k == nil && len(f.kinds) >= f.most {
		key = r.Level.String() + r.Message // too many kinds: texts differ each time
		k = f.kinds[key]
	}
	if k == nil {
		k = &kind{level: r.Level, message: r.Message, since: r.Time}
		f.kinds[key] = k
	}
	if !f.pending {
		f.pending = true
		time.AfterFunc(time.Second, f.tell)
	}
	if k.seen++; k.seen <= f.perSecond {
		return true
	}
	f.leftOut.Add(1)
	return false
}

// tell writes a line for each kind of which records were left out, and begins a new second.
func (f *flood) tell() {
	f.mu.Lock()
	kinds := f.kinds
	f.kinds, f.pending = map[string]*kind{}, false
	f.mu.Unlock()
	now := time.Now()
	for _, k := range kinds {
		if k.seen <= f.perSecond {
			continue
		}
		r := slog.NewRecord(now, k.level, "log lines of one kind left out", 0)
		r.AddAttrs(slog.String("message", k.message), slog.Int("left_out", k.seen-f.perSecond), slog.Float64("seconds", now.Sub(k.since).Seconds()))
		_ = f.base.Handle(context.Background(), r) // as of any line
	}
}

// told are the attributes that tell kinds of records apart, beside level and message.
const told = " kind reason class code relay error key breaker "

// keyOf returns the kind of a record. Numbers do not count, because they are often ids.
func keyOf(r slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Level.String())
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(told, " "+a.Key+" ") {
			b.WriteByte('|')
			b.WriteString(shape(a))
		}
		return true
	})
	return b.String()
}

// shape returns the beginning of the text of an attribute, with each number of more than three
// digits as one digit. Reply codes stay.
func shape(a slog.Attr) string {
	const most = 96
	text := ""
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		text = v.String()
	default:
		text = fmt.Sprint(v.Any())
	}
	if len(text) > most {
		text = text[:most]
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		end := i
		for end < len(text) && isHex(text[end]) {
			end++
		}
		if end-i > 3 && strings.ContainsAny(text[i:end], "0123456789") {
			b.WriteByte('0')
			i = end
			continue
		}
		end = max(end, i+1)
		b.WriteString(text[i:end])
		i = end
	}
	return b.String()
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || c == '-' }
