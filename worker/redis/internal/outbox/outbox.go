// Package outbox keeps what tasks record in Redis streams.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
)

// Config describes an Outbox.
type Config struct {
	// Do calls a function with a connection.
	Do func(context.Context, func(redigo.Conn) error) error
	// Stream and Losses return the keys of a stream: its entries, and a hash of what it
	// has lost.
	Stream, Losses func(name string) string
	Max            int // entries of a stream
}

// Outbox writes and reads streams. Scripts do the writing. Make one with New.
type Outbox struct {
	cfg Config

	mu      sync.Mutex
	written []string // streams that this process has written to
	busy    bool     // since the last look at the losses
	faults  []string // found by the last look
}

// New returns an Outbox.
func New(cfg Config) *Outbox { return &Outbox{cfg: cfg} }

// Append appends entries to the arguments of a script, as operations of record.lua.
func (o *Outbox) Append(args []any, entries []broker.Entry) []any {
	for i := range entries {
		e := &entries[i]
		o.note(e.Stream)
		args = append(args, "entry", o.cfg.Stream(e.Stream), o.cfg.Losses(e.Stream), o.cfg.Max, len(e.Fields))
		for _, f := range e.Fields {
			args = append(args, f)
		}
	}
	return args
}

// note notes a stream that this process writes to.
func (o *Outbox) note(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = true
	if !slices.Contains(o.written, name) {
		o.written = append(o.written, name)
	}
}

// Written returns the streams that this process has written to.
func (o *Outbox) Written() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.written)
}

// Oldest returns the oldest entries of a stream.
func (o *Outbox) Oldest(ctx context.Context, stream string, max int) ([]broker.Recorded, error) {
	return o.After(ctx, stream, "", max)
}

// After returns the oldest entries after the one with an id, "" for the beginning.
func (o *Outbox) After(ctx context.Context, stream, id string, max int) (entries []broker.Recorded, err error) {
	from := "-"
	if ms, number, ok := strings.Cut(id, "-"); ok {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the stream %s: %q is no id of an entry", stream, id)
		}
		from = fmt.Sprintf("%s-%d", ms, n+1) // "(" needs Redis 6.2
	}
	err = o.cfg.Do(ctx, func(c redigo.Conn) error {
		rows, err := redigo.Values(c.Do("XRANGE", o.cfg.Stream(stream), from, "+", "COUNT", max))
		if err != nil {
			return err
		}
		entries, err = read(rows)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the stream %s: %w", stream, err)
	}
	return entries, nil
}

var errNotUnderstood = errors.New("reply of redis is not understood")

// read reads entries as XRANGE returns them.
func read(rows []any) ([]broker.Recorded, error) {
	entries := make([]broker.Recorded, 0, len(rows))
	for _, row := range rows {
		var e broker.Recorded
		cols, err := redigo.Values(row, nil)
		if err == nil {
			_, err = redigo.Scan(cols, &e.ID, &e.Fields)
		}
		if err == nil {
			e.At, err = timeOf(e.ID)
		}
		if err != nil {
			return nil, errors.Join(errNotUnderstood, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// timeOf returns the time of an entry: an id begins with milliseconds.
func timeOf(id string) (time.Time, error) {
	text, _, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms), err
}

// removeMost bounds one XDEL, because it blocks all other clients.
const removeMost = 1000

// Remove removes entries.
func (o *Outbox) Remove(ctx context.Context, stream string, ids []string) error {
	for chunk := range slices.Chunk(ids, removeMost) {
		args := []any{o.cfg.Stream(stream)}
		for _, id := range chunk {
			args = append(args, id)
		}
		err := o.cfg.Do(ctx, func(c redigo.Conn) error {
			_, err := c.Do("XDEL", args...)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove entries of the stream %s: %w", stream, err)
		}
	}
	return nil
}

// Backlog describes a stream.
func (o *Outbox) Backlog(ctx context.Context, stream string) (b broker.Backlog, err error) {
	err = o.cfg.Do(ctx, func(c redigo.Conn) error {
		l, err := redigo.Int64s(c.Do("HMGET", o.cfg.Losses(stream), "refused", "full"))
		if err != nil {
			return err
		}
		b.Dropped = l[0] + l[1]
		if b.Length, err = redigo.Int(c.Do("XLEN", o.cfg.Stream(stream))); err != nil || b.Length == 0 {
			return err
		}
		rows, err := redigo.Values(c.Do("XRANGE", o.cfg.Stream(stream), "-", "+", "COUNT", 1))
		if err != nil {
			return err
		}
		oldest, err := read(rows)
		if len(oldest) > 0 {
			b.Oldest = oldest[0].At
		}
		return err
	})
	if err != nil {
		return b, fmt.Errorf("look at the stream %s: %w", stream, err)
	}
	return b, nil
}

// recent is how long a loss counts as a fault.
const recent = 10 * time.Minute

// Faults returns a sentence for each stream of this process that has lost entries lately.
// A stream whose key has another type is not among them; ofAnotherType reports it. While
// this process writes nothing and nothing is wrong, Faults does no I/O.
func (o *Outbox) Faults(ctx context.Context) (faults []string, ofAnotherType bool, err error) {
	o.mu.Lock()
	streams, calm := slices.Clone(o.written), !o.busy && len(o.faults) == 0
	o.busy = false
	o.mu.Unlock()
	if calm {
		return nil, false, nil
	}
	err = o.cfg.Do(ctx, func(c redigo.Conn) error {
		now, err := redigo.Int64s(c.Do("TIME"))
		if err != nil {
			return err
		}
		for _, name := range streams {
			row, err := redigo.Strings(c.Do("HMGET", o.cfg.Losses(name), "refused.at", "refused.error", "full.at"))
			if c.Err() != nil {
				return err
			}
			if err != nil {
				continue // a key of another type, which is a separate fault
			}
			isRecent := func(at string) bool {
				n, err := strconv.ParseInt(at, 10, 64)
				return err == nil && time.Duration(now[0]-n)*time.Second < recent
			}
			switch {
			case !isRecent(row[0]):
			case strings.Contains(row[1], "WRONGTYPE"):
				ofAnotherType = true
			default:
				faults = append(faults, refused(name, row[1]))
			}
			if isRecent(row[2]) {
				faults = append(faults, fmt.Sprintf("the stream %s is full, so that its oldest entries are dropped: "+
					"look why its reader is slow or away", name))
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("look at the streams: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = faults
	return faults, ofAnotherType, nil
}

// refused describes why a stream takes no entries, and what to do.
func refused(name, text string) string {
	what := "what tasks record in the stream " + name + " is dropped: "
	switch lower := strings.ToLower(text); {
	case strings.Contains(lower, "unknown"):
		return what + "this redis has no streams; use Redis 5 or newer"
	case strings.Contains(lower, "permission"), strings.Contains(lower, "can't run"), strings.Contains(lower, "can't access"),
		strings.Contains(lower, "acl"), strings.Contains(lower, "noperm"):
		return what + "the Redis user must not write it; grant +xadd, as in docs/operations.md"
	}
	return what + text
}
