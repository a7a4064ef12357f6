// Package letters keeps the dead letters of a Redis database: the open ones, where all versions
// of this worker look for them, and the closed ones, which were retried, replaced or dealt with.
package letters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/deadletter"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// Config describes Letters.
type Config struct {
	// Do calls a function with a connection.
	Do      func(context.Context, func(redigo.Conn) error) error
	Scripts *scripts.Scripts
	// Dead begins the keys of all letters.
	Dead string
	// List, Crashes and Result return the keys of a queue, of the count of crashes of a
	// message, and of a result.
	List    func(queue string, priority int) string
	Crashes func(protocol.Envelope) string
	Result  func(id string) string
	// QueueFault returns why a text is not the name of a queue, or "".
	QueueFault func(queue string) string

	MaxMessageSize int // of messages that a worker reads, in bytes

	Max    int // open letters, and as many closed ones
	Age    time.Duration
	Lives  deadletter.Lives
	Sealer broker.Sealer // nil: nothing is encrypted
	Logger *slog.Logger
}

// Letters are the dead letters of a Redis database. Make one with New.
type Letters struct {
	cfg          Config
	open, closed set
	expiries     string // ids by the time at which they expire
	dropped      string // hash of counts
	seen         atomic.Pointer[seen]
}

// seen are the numbers of the last count.
type seen struct {
	counts broker.LetterCounts
	at     time.Time
	doubt  bool // Redis has not answered since
}

// set holds the keys of the open or of the closed letters.
type set struct{ raws, metas, index string }

func setOf(key string) set { return set{raws: key, metas: key + ".meta", index: key + ".index"} }

func (s set) keys() []any { return []any{s.raws, s.metas, s.index} }

// New returns the dead letters.
func New(cfg Config) *Letters {
	return &Letters{
		cfg: cfg, open: setOf(cfg.Dead), closed: setOf(cfg.Dead + ".closed"),
		expiries: cfg.Dead + ".expires", dropped: cfg.Dead + ".dropped",
	}
}

// script runs a script once. After an error of the connection it may have been carried out.
func (d *Letters) script(ctx context.Context, script scripts.Script, keys, args []any) (reply []any, err error) {
	err = d.cfg.Do(ctx, func(c redigo.Conn) error {
		reply, err = redigo.Values(script().Do(c, slices.Concat([]any{len(keys)}, keys, args)...))
		return err
	})
	return reply, asLost(err)
}

// ask runs a script that may run twice: after an error of the connection it runs again. A server that
// was restarted has broken the connections that were idle.
func (d *Letters) ask(ctx context.Context, script scripts.Script, keys, args []any) (reply []any, err error) {
	err = repeat(ctx, func() (bool, error) {
		reply, err = d.script(ctx, script, keys, args)
		return err == nil, err
	})
	return reply, err
}

// again calls fn with a connection, and once more after an error of the connection.
func (d *Letters) again(ctx context.Context, fn func(redigo.Conn) error) error {
	return repeat(ctx, func() (bool, error) {
		err := asLost(d.cfg.Do(ctx, fn))
		return err == nil, err
	})
}

// asLost marks an error that is no answer of the server.
func asLost(err error) error {
	if _, answered := errors.AsType[redigo.Error](err); err != nil && !answered {
		return &lostError{err}
	}
	return err
}

// lostError is an error of the connection. The server may have carried out what was asked.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }

func (e *lostError) Unwrap() error { return e.err }

// Bounds of one read. Each letter may be as large as a message.
const (
	pageSize  = 50      // letters
	readBytes = 4 << 20 // after which a read ends
)

// stored is a dead letter as it is stored.
type stored struct {
	id     string
	closed bool
	text   []byte           // of the entry, as it is stored
	entry  deadletter.Entry // complete
	raw    []byte
}

// read reads dead letters. It omits letters that are gone.
func (d *Letters) read(ctx context.Context, ids []string) (found []stored, err error) {
	for len(ids) > 0 {
		chunk := ids[:min(pageSize, len(ids))]
		args := redigo.Args{readBytes}.AddFlat(chunk)
		rows, err := d.ask(ctx, d.cfg.Scripts.LetterRead, []any{d.open.raws, d.open.metas, d.closed.raws, d.closed.metas}, args)
		if err != nil {
			return nil, fmt.Errorf("read dead letters: %w", err)
		}
		if len(rows) == 0 || len(rows) > len(chunk) {
			return nil, fmt.Errorf("read dead letters: %d replies for %d ids", len(rows), len(chunk))
		}
		for i, row := range rows {
			s := stored{id: chunk[i]}
			where := 0
			cols, err := redigo.Values(row, nil)
			if err == nil {
				_, err = redigo.Scan(cols, &where, &s.text, &s.raw)
			}
			if err != nil {
				return nil, fmt.Errorf("read dead letter %s: %w", s.id, err)
			}
			if where < 0 {
				continue
			}
			s.closed, s.entry = where == 1, deadletter.Parse(s.text)
			if s.entry.Version < deadletter.Complete {
				s.entry.Fill(s.raw, d.cfg.Lives)
			}
			found = append(found, s)
		}
		ids = ids[len(rows):]
	}
	return found, nil
}

// clear returns the bytes of a letter, decrypted.
func (d *Letters) clear(s *stored) ([]byte, error) {
	switch {
	case s.entry.Wiped:
		return deadletter.Unmark(s.raw), nil
	case s.entry.Key == "":
		return s.raw, nil
	case d.cfg.Sealer == nil:
		return nil, &broker.LockedError{ID: s.id, Err: errors.New("this program has no key: give it the key of the workers")}
	}
	clear, err := d.cfg.Sealer.Open(s.id, s.entry.Key, s.raw)
	if err != nil {
		return nil, &broker.LockedError{ID: s.id, Err: err}
	}
	return clear, nil
}

// letter puts a dead letter together.
func (d *Letters) letter(s *stored) broker.DeadLetter {
	clear, locked := d.clear(s)
	l := s.entry.Letter(s.id, clear, time.Now())
	if !l.Wiped {
		l.Locked = locked
	}
	return l
}

// letters reads dead letters. It omits letters that are gone.
func (d *Letters) letters(ctx context.Context, ids []string) ([]broker.DeadLetter, error) {
	all, err := d.read(ctx, ids)
	if err != nil {
		return nil, err
	}
	letters := make([]broker.DeadLetter, len(all))
	for i := range all {
		letters[i] = d.letter(&all[i])
	}
	return letters, nil
}

// List returns open dead letters, the newest first, and their total number at that moment. Letters
// that were removed or closed meanwhile are in neither.
func (d *Letters) List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error) {
	// In one step: a letter that comes in between would make count and list differ.
	rows, err := d.ask(ctx, d.cfg.Scripts.Letters, []any{d.open.index}, []any{offset, offset + limit - 1})
	var ids []string
	if err == nil {
		_, err = redigo.Scan(rows, &total, &ids)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list dead letters: %w", err)
	}
	found, err := d.letters(ctx, ids)
	if err != nil {
		return nil, 0, err
	}
	letters = slices.DeleteFunc(found, func(l broker.DeadLetter) bool { return l.State != broker.LetterOpen })
	return letters, total - len(ids) + len(letters), nil
}

// Each calls fn for the dead letters of the given states, without any for all, the newest first.
// It ends at the first error of fn and returns that. It reads pages of bounded size. Letters that
// come after its start, and letters that go before their turn, are left out; the others have their
// turn once, while others add, close and remove letters.
func (d *Letters) Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error {
	var keys []any
	if len(states) == 0 || slices.Contains(states, broker.LetterOpen) {
		keys = append(keys, d.open.index)
	}
	if len(states) == 0 || slices.ContainsFunc(states, func(s broker.LetterState) bool { return s != broker.LetterOpen }) {
		keys = append(keys, d.closed.index)
	}
	score, last := "+inf", ""
	for {
		page, err := redigo.Strings(d.ask(ctx, d.cfg.Scripts.LetterPage, keys, []any{score, last, pageSize}))
		if err != nil {
			return fmt.Errorf("list dead letters: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		ids := make([]string, 0, len(page)/2)
		for i := 0; i+1 < len(page); i += 2 {
			last, score = page[i], page[i+1]
			ids = append(ids, last)
		}
		if err := d.eachOf(ctx, ids, fn, states); err != nil {
			return err
		}
	}
}

// eachOf calls fn for letters of a page, and holds few of them at once.
func (d *Letters) eachOf(ctx context.Context, ids []string, fn func(broker.DeadLetter) error, states []broker.LetterState) error {
	all, err := d.read(ctx, ids)
	if err != nil {
		return err
	}
	for i := range all {
		l := d.letter(&all[i])
		all[i].raw = nil
		if len(states) > 0 && !slices.Contains(states, l.State) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

// Get returns one dead letter, open or closed, or [broker.ErrNoDeadLetter].
func (d *Letters) Get(ctx context.Context, id string) (broker.DeadLetter, error) {
	s, err := d.get(ctx, id)
	if err != nil {
		return broker.DeadLetter{ID: id}, err
	}
	return d.letter(&s), nil
}

func (d *Letters) get(ctx context.Context, id string) (stored, error) {
	all, err := d.read(ctx, []string{id})
	if err != nil {
		return stored{}, err
	}
	if len(all) == 0 {
		return stored{}, fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, id)
	}
	return all[0], nil
}

// minPrefix is the shortest prefix of an id, in characters.
const minPrefix = 4

// Find completes the prefix of an id. The error is [broker.ErrNoDeadLetter] when no id has it. A
// prefix of several ids is an error, too.
func (d *Letters) Find(ctx context.Context, prefix string) (string, error) {
	var whole bool
	var ids []string
	err := d.again(ctx, func(c redigo.Conn) error {
		ids = nil
		for _, s := range []set{d.open, d.closed} {
			is, err := redigo.Bool(c.Do("HEXISTS", s.raws, prefix))
			if err != nil || is {
				whole = is
				return err
			}
		}
		for _, s := range []set{d.open, d.closed} {
			more, err := redigo.Strings(c.Do("ZRANGE", s.index, 0, -1))
			if err != nil {
				return err
			}
			ids = append(ids, more...)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look for dead letter %s: %w", prefix, err)
	}
	if whole {
		return prefix, nil
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, prefix) })
	switch {
	case len(ids) == 1 && len(prefix) >= minPrefix:
		return ids[0], nil
	case len(ids) > 1 && len(prefix) >= minPrefix:
		return "", fmt.Errorf("%s is the beginning of %d dead letters, write more of it", prefix, len(ids))
	}
	return "", fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, prefix)
}

// Delete removes a dead letter for good, open or closed.
func (d *Letters) Delete(ctx context.Context, id string) error {
	calls, deleted := 0, false
	err := repeat(ctx, func() (bool, error) {
		calls++
		flags, err := redigo.Ints(d.script(ctx, d.cfg.Scripts.LetterDrop, d.keys(), []any{id}))
		// The reply to the first call may have been lost.
		deleted = len(flags) == 1 && flags[0] == 1 || calls > 1
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("delete dead letter %s: %w", id, err)
	}
	if !deleted {
		return fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, id)
	}
	return nil
}

// keys returns the keys of the open and of the closed letters, and of their expiries.
func (d *Letters) keys() []any {
	return slices.Concat(d.open.keys(), d.closed.keys(), []any{d.expiries})
}

func (d *Letters) ages() int { return int(d.cfg.Age.Seconds()) }

// Counts removes letters that are too many or too old, and returns the numbers of the others and of
// the lost ones. The latter are kept in Redis and survive restarts.
func (d *Letters) Counts(ctx context.Context) (broker.LetterCounts, error) {
	c, _, err := d.count(ctx)
	return c, err
}

// count does the same, and returns the time at which the next letter expires, zero for none.
func (d *Letters) count(ctx context.Context) (c broker.LetterCounts, next time.Time, err error) {
	for {
		rows, err := d.ask(ctx, d.cfg.Scripts.LetterCount, slices.Concat(d.open.keys(), d.closed.keys(), []any{d.dropped, d.expiries}),
			[]any{d.cfg.Max, d.cfg.Max, d.ages()})
		var last, expires string
		var more int
		if err == nil {
			_, err = redigo.Scan(rows, &c.Open, &c.Closed, &c.Dropped, &c.Aged, &last, &more, &expires)
		}
		if err != nil {
			return c, next, fmt.Errorf("count dead letters: %w", err)
		}
		c.LastDropped = timeOf(last)
		d.seen.Store(&seen{counts: c, at: time.Now()})
		if more == 0 {
			return c, timeOf(expires), nil
		}
	}
}
