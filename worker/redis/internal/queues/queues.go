// Package queues shows what waits in the queues of a Redis database, and in the unacked set,
// without consuming it.
package queues

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/examine"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// Config describes a database. All fields are required.
type Config struct {
	Do      func(context.Context, func(redigo.Conn) error) error
	Scripts *scripts.Scripts
	List    func(queue string, priority int) string // key of a list
	Steps   []int                                   // priorities that have lists of their own
	// QueueFault returns why a name is not that of a queue, or "".
	QueueFault func(queue string) string
	Separator  string // of kombu's bindings
	Bindings   string // beginning of the keys of kombu's bindings
	Unacked    string // hash of the messages that workers hold
	Index      string // and its index
	// OwnerOf returns the owner of a claim; false for one of a Python worker. Owner returns
	// the hash about an owner.
	OwnerOf func(claim string) (string, bool)
	Owner   func(owner string) string
	Owners  string // sorted set of all owners
	Probe   string // key that is never set: a look tries whether writes are taken
	// GiveBack puts a held message back to the front of its queue, as raw. It returns 0 when
	// the message is held no more.
	GiveBack func(ctx context.Context, m broker.HeldMessage, raw []byte) (int, error)
}

// Queues shows queues. Make one with New. Many goroutines may use it.
type Queues struct {
	cfg      Config
	readOnly atomic.Int64 // Unix seconds until which no write is tried: the user has no right to
}

// New returns a Queues.
func New(cfg Config) *Queues { return &Queues{cfg: cfg} }

const (
	// MostLists is the greatest number of lists in one look.
	MostLists = 1000
	// searchMost bounds the messages that a look compares, per list: 10,000 take Redis 0.2 ms.
	searchMost = 10_000
	// newestBytes bounds the message that a look returns.
	newestBytes = 64 << 10
)

// Lists returns the lists of queues, in the order of the queues, the most urgent list first.
func (q *Queues) Lists(queues ...string) []broker.QueueList {
	lists := make([]broker.QueueList, 0, len(queues)*len(q.cfg.Steps))
	for _, queue := range queues {
		for _, step := range q.cfg.Steps {
			lists = append(lists, broker.QueueList{Queue: queue, Priority: step})
		}
	}
	return lists
}

// QueueFault returns why a name is not that of a queue, or "".
func (q *Queues) QueueFault(queue string) string { return q.cfg.QueueFault(queue) }

// script runs a script with keys and arguments.
func (q *Queues) script(ctx context.Context, script scripts.Script, keys, args []any) (reply any, err error) {
	err = q.cfg.Do(ctx, func(c redigo.Conn) error {
		call := append(append([]any{len(keys)}, keys...), args...)
		reply, err = script().DoContext(ctx, c, call...)
		return err
	})
	return reply, err
}

// Look looks at lists, at most MostLists, at one moment and in one round trip.
func (q *Queues) Look(ctx context.Context, looks []broker.ListLook) (l broker.QueueLook, err error) {
	if len(looks) > MostLists {
		return l, fmt.Errorf("look at %d lists, want at most %d", len(looks), MostLists)
	}
	probe := q.cfg.Probe
	if time.Now().Unix() < q.readOnly.Load() {
		probe = ""
	}
	keys, args := []any{q.cfg.Unacked, q.cfg.Index}, []any{searchMost, newestBytes, probe}
	for _, one := range looks {
		keys, args = append(keys, q.cfg.List(one.Queue, one.Priority)), append(args, one.Since)
	}
	reply, err := redigo.Values(q.script(ctx, q.cfg.Scripts.Look, keys, args))
	var at float64
	var hash, index int
	var rows []any
	var refusal string
	if err == nil {
		_, err = redigo.Scan(reply, &at, &hash, &index, &rows, &refusal)
	}
	if err == nil && len(rows) != len(looks) {
		err = fmt.Errorf("%d replies for %d lists", len(rows), len(looks))
	}
	if err != nil {
		return l, fmt.Errorf("look at the queues: %w", err)
	}
	l.Refusal, l.Remedy = q.refusalOf(refusal)
	l.At, l.Unacked, l.Lists = timeOf(at), max(hash, index), make([]broker.ListState, len(looks))
	for i, row := range rows {
		s := &l.Lists[i]
		cols, err := redigo.Values(row, nil)
		if err == nil {
			_, err = redigo.Scan(cols, &s.Messages, &s.Arrived, &s.Newest, &s.Oldest)
		}
		if err != nil {
			return l, fmt.Errorf("look at the queue %s: %w", looks[i].Queue, err)
		}
	}
	return l, nil
}

// askAgain is the time after which a write is tried again by a user without the right to.
const askAgain = 10 * time.Minute

// Remedy tells in a clause why a server that answers with an error cannot be used, and what to
// do. It is "" for other errors.
func (q *Queues) Remedy(err error) string { return examine.Fault(err) }

// refusalOf returns the reply to a write that a server has refused, and the remedy. A user
// without the right to write learns nothing about the server.
func (q *Queues) refusalOf(reply string) (refusal, remedy string) {
	if reply = strings.TrimPrefix(reply, "-"); reply == "" { // Redis 6 has a - before it
		return "", ""
	}
	err := redigo.Error(reply)
	if conn.IsForbidden(err) {
		q.readOnly.Store(time.Now().Add(askAgain).Unix())
		return "", ""
	}
	return conn.Refusal(err), examine.Fault(err)
}

// timeOf returns the time of Unix seconds.
func timeOf(seconds float64) time.Time {
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

// MostPeeked is the greatest number of messages in one Peek.
const MostPeeked = 100

// peekBytes bounds the bytes of one Peek.
const peekBytes = 1 << 20

// Peek returns up to n messages of a list, without taking them: the ones that are taken next
// and first, or with newest the ones that were published last, the last one first.
func (q *Queues) Peek(ctx context.Context, list broker.QueueList, newest bool, n int) ([]broker.QueuedMessage, error) {
	if fault := q.cfg.QueueFault(list.Queue); fault != "" {
		return nil, &broker.RouteError{Queue: list.Queue, Fault: fault}
	}
	end := -1
	if newest {
		end = 0
	}
	rows, err := redigo.Values(q.script(ctx, q.cfg.Scripts.Peek, []any{q.cfg.List(list.Queue, list.Priority)}, []any{end, min(n, MostPeeked), peekBytes}))
	if err != nil {
		return nil, fmt.Errorf("peek into the queue %s: %w", list.Queue, err)
	}
	found := make([]broker.QueuedMessage, len(rows))
	for i, row := range rows {
		cols, err := redigo.Values(row, nil)
		if err == nil {
			_, err = redigo.Scan(cols, &found[i].Size, &found[i].Raw)
		}
		if err != nil {
			return nil, fmt.Errorf("peek into the queue %s: %w", list.Queue, err)
		}
		if len(found[i].Raw) == 0 {
			found[i].Raw = nil
		}
	}
	return found, nil
}

// purgeSlice is the number of messages that one step of a purge removes.
const purgeSlice = 1000

// Purge removes the messages that a queue has now, the oldest first, and returns their number.
// Messages that are published meanwhile stay. It works in short steps, so that it blocks no
// other client for long, and reports each to progress, which may be nil. After an error some
// messages are removed.
func (q *Queues) Purge(ctx context.Context, queue string, progress func(removed int)) (removed int, err error) {
	if fault := q.cfg.QueueFault(queue); fault != "" {
		return 0, &broker.RouteError{Queue: queue, Fault: fault}
	}
	lists := q.Lists(queue)
	looks := make([]broker.ListLook, len(lists))
	for i, l := range lists {
		looks[i].QueueList = l
	}
	look, err := q.Look(ctx, looks)
	if err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	for i, l := range lists {
		for left := look.Lists[i].Messages; left > 0; {
			n, err := redigo.Int(q.script(ctx, q.cfg.Scripts.Purge, []any{q.cfg.List(l.Queue, l.Priority)}, []any{min(left, purgeSlice)}))
			if err != nil {
				return removed, fmt.Errorf("purge the queue %s: %w", queue, err)
			}
			if n == 0 {
				break // others have taken the rest
			}
			removed, left = removed+n, left-n
			if progress != nil {
				progress(removed)
			}
		}
	}
	return removed, nil
}

// bindingsStep is the number of keys that one step of a search looks at.
const bindingsStep = 1000

// Bound looks for queues in kombu's bindings: it looks at some keys of the database, beginning
// at cursor, which is "" at first. It returns the queues of the bindings among them, and where
// to go on, "" after the last key. A database has many other keys, so a search takes many
// calls.
func (q *Queues) Bound(ctx context.Context, cursor string) (names []string, next string, err error) {
	if cursor == "" {
		cursor = "0"
	}
	var keys []string
	err = q.cfg.Do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.Values(redigo.DoContext(c, ctx, "SCAN", cursor, "MATCH", literal.Replace(q.cfg.Bindings)+"*", "COUNT", bindingsStep))
		if err == nil {
			_, err = redigo.Scan(reply, &next, &keys)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("look for the bindings of queues: %w", err)
	}
	if next == "0" {
		next = ""
	}
	for _, key := range keys {
		exchange := strings.TrimPrefix(key, q.cfg.Bindings)
		if strings.HasSuffix(exchange, ".pidbox") || exchange == "celeryev" {
			continue // of remote control and of events
		}
		var members []string
		err = q.cfg.Do(ctx, func(c redigo.Conn) (err error) {
			members, err = redigo.Strings(redigo.DoContext(c, ctx, "SMEMBERS", key))
			return err
		})
		if err != nil && !conn.IsWrongType(err) {
			return nil, "", fmt.Errorf("read the bindings of queues: %w", err)
		}
		for _, m := range members {
			parts := strings.Split(m, q.cfg.Separator)
			if len(parts) == 3 && q.cfg.QueueFault(parts[2]) == "" {
				names = append(names, parts[2])
			}
		}
	}
	sort.Strings(names)
	return slices.Compact(names), next, nil
}

// literal escapes the characters that have a meaning in patterns.
var literal = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`)
