// Package journal keeps streams whose writers agree on an order: each append names the head
// that it follows.
package journal

import (
	"cmp"
	"context"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/outbox"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// Max is the number of entries that a journal keeps by default. The oldest ones beyond it are dropped
// and counted.
const Max = 100_000

// NotesMax is the number of notes that a journal keeps, those with the highest numbers.
const NotesMax = 1000

// Config describes a Journal.
type Config struct {
	Name string
	// Do calls a function with a connection.
	Do     func(context.Context, func(redigo.Conn) error) error
	Append scripts.Script
	Outbox *outbox.Outbox // reads and removes entries
	// Head, Stream, Losses and Notes are the keys.
	Head, Stream, Losses, Notes string
	// Max is the number of entries that are kept. Default: Max.
	Max int
}

// Journal is a stream with a head, which its writers choose, and a set of notes. Make one
// with New.
type Journal struct{ cfg Config }

// New returns a Journal.
func New(cfg Config) *Journal {
	cfg.Max = cmp.Or(cfg.Max, Max)
	return &Journal{cfg}
}

// Capped returns the same journal with another number of entries that it keeps after an
// append.
func (j *Journal) Capped(max int) *Journal {
	cfg := j.cfg
	cfg.Max = max
	return New(cfg)
}

// Head returns the head of the last append, "" before the first.
func (j *Journal) Head(ctx context.Context) (head string, err error) {
	err = j.cfg.Do(ctx, func(c redigo.Conn) error {
		head, err = redigo.String(c.Do("GET", j.cfg.Head))
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the head of the journal %s: %w", j.cfg.Name, err)
	}
	return head, nil
}

// Append appends entries and sets the head to next, if it is still the one given. It
// returns the head that the journal has then: next, or that of a writer that was faster.
func (j *Journal) Append(ctx context.Context, head, next string, entries ...[]string) (now string, err error) {
	args := []any{3, j.cfg.Head, j.cfg.Stream, j.cfg.Losses, head, next, j.cfg.Max}
	for _, fields := range entries {
		args = append(args, len(fields))
		for _, f := range fields {
			args = append(args, f)
		}
	}
	err = j.cfg.Do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.Values(j.cfg.Append().Do(c, args...))
		if err != nil {
			return err
		}
		var appended bool
		_, err = redigo.Scan(reply, &appended, &now)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("append to the journal %s: %w", j.cfg.Name, err)
	}
	return now, nil
}

// After returns the oldest entries after the one with an id, at most max. The id "" is
// before all.
func (j *Journal) After(ctx context.Context, id string, max int) ([]broker.Recorded, error) {
	return j.cfg.Outbox.After(ctx, j.cfg.Name, id, max)
}

// Remove removes entries by their ids.
func (j *Journal) Remove(ctx context.Context, ids []string) error {
	return j.cfg.Outbox.Remove(ctx, j.cfg.Name, ids)
}

// Backlog describes the stream.
func (j *Journal) Backlog(ctx context.Context) (broker.Backlog, error) {
	return j.cfg.Outbox.Backlog(ctx, j.cfg.Name)
}

// Note keeps a text under a number, beside others of the same number.
func (j *Journal) Note(ctx context.Context, number int64, text string) error {
	err := j.cfg.Do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("ZADD", j.cfg.Notes, number, text); err != nil {
			return err
		}
		_, err := c.Do("ZREMRANGEBYRANK", j.cfg.Notes, 0, -NotesMax-1)
		return err
	})
	if err != nil {
		return fmt.Errorf("note in the journal %s: %w", j.cfg.Name, err)
	}
	return nil
}

// Notes returns the notes that are kept, by their numbers.
func (j *Journal) Notes(ctx context.Context) (notes []string, err error) {
	err = j.cfg.Do(ctx, func(c redigo.Conn) error {
		notes, err = redigo.Strings(c.Do("ZRANGE", j.cfg.Notes, 0, -1))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the notes of the journal %s: %w", j.cfg.Name, err)
	}
	return notes, nil
}
