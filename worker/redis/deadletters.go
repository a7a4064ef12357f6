package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// ErrNoDeadLetter: there is no dead letter with that id, or not any more.
var ErrNoDeadLetter = errors.New("no such dead letter")

// letterMeta is what is kept beside the bytes of a dead letter.
type letterMeta struct {
	Queue  string  `json:"queue"`
	Reason string  `json:"reason"`
	At     unixish `json:"at"`
}

// unixish is a time in seconds; the scripts write it as text.
type unixish float64

func (u *unixish) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	f, err := strconv.ParseFloat(string(b), 64)
	*u = unixish(f)
	return err
}

func (u unixish) time() time.Time { return time.UnixMicro(int64(float64(u) * 1e6)).UTC() }

func meta(queue, reason string) []byte {
	b, err := json.Marshal(letterMeta{Queue: queue, Reason: reason, At: unixish(float64(time.Now().UnixMicro()) / 1e6)})
	if err != nil {
		return []byte(`{}`) // strings and a finite number: cannot happen
	}
	return b
}

// letterBatch is how many dead letters are asked for at once: each may be as
// large as a message.
const letterBatch = 50

// DeadLetters lists dead letters, the newest first, and tells how many there
// were in all at that moment, less those of the list that went meanwhile.
func (b *Broker) DeadLetters(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error) {
	// Count and list as one: else a letter that comes in between makes them differ.
	reply, err := b.script(ctx, b.scripts.letters, 1, b.keys.deadIndex, offset, offset+limit-1)
	if err != nil {
		return nil, 0, fmt.Errorf("list dead letters: %w", err)
	}
	var ids []string
	if rows, err := redigo.Values(reply, nil); err != nil {
		return nil, 0, fmt.Errorf("list dead letters: %w", err)
	} else if _, err := redigo.Scan(rows, &total, &ids); err != nil {
		return nil, 0, fmt.Errorf("list dead letters: %w", err)
	}
	for batch := range slices.Chunk(ids, letterBatch) {
		found, err := b.readLetters(ctx, batch)
		if err != nil {
			return nil, 0, err
		}
		letters = append(letters, found...)
		total -= len(batch) - len(found)
	}
	return letters, total, nil
}

// DeadLetter returns one dead letter, or ErrNoDeadLetter.
func (b *Broker) DeadLetter(ctx context.Context, id string) (broker.DeadLetter, error) {
	found, err := b.readLetters(ctx, []string{id})
	if err != nil {
		return broker.DeadLetter{ID: id}, err
	}
	if len(found) == 0 {
		return broker.DeadLetter{ID: id}, fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return found[0], nil
}

// readLetters reads dead letters; those that are gone are left out.
func (b *Broker) readLetters(ctx context.Context, ids []string) (found []broker.DeadLetter, err error) {
	args := redigo.Args{}.AddFlat(ids)
	var raws, metas [][]byte
	err = b.do(ctx, func(c redigo.Conn) (err error) {
		if raws, err = redigo.ByteSlices(c.Do("HMGET", redigo.Args{b.keys.dead}.Add(args...)...)); err != nil {
			return err
		}
		metas, err = redigo.ByteSlices(c.Do("HMGET", redigo.Args{b.keys.deadMeta}.Add(args...)...))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	for i, id := range ids {
		if raws[i] == nil || metas[i] == nil {
			continue
		}
		l, err := readLetter(id, raws[i], metas[i])
		if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

func readLetter(id string, raw, meta []byte) (broker.DeadLetter, error) {
	var m letterMeta
	if err := json.Unmarshal(meta, &m); err != nil {
		return broker.DeadLetter{}, fmt.Errorf("read what is kept of dead letter %s: %w", id, err)
	}
	l := broker.DeadLetter{ID: id, Raw: raw, Queue: m.Queue, Reason: m.Reason, At: m.At.time(), Size: len(raw)}
	if env, err := protocol.ParseEnvelope(raw); err == nil {
		l.TaskName, l.TaskID = env.Task, env.ID
	}
	return l, nil
}

// minPrefix is how much of an id must be given at least.
const minPrefix = 4

// DeadLetterID completes the beginning of an id, as far as it is that of one dead
// letter only. The error is ErrNoDeadLetter when it is that of none.
func (b *Broker) DeadLetterID(ctx context.Context, prefix string) (string, error) {
	var whole bool
	var ids []string
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		if whole, err = redigo.Bool(c.Do("HEXISTS", b.keys.dead, prefix)); err != nil || whole {
			return err
		}
		ids, err = redigo.Strings(c.Do("ZRANGE", b.keys.deadIndex, 0, -1))
		return err
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
	return "", fmt.Errorf("%w: %s", ErrNoDeadLetter, prefix)
}

// RetryDeadLetter puts a dead letter back into its queue, as a new message with
// its retries unspent and [broker.SetAsideHeader]. The result of the run that
// failed is forgotten in the same step: until the new run ends the task is
// pending. However many ask at the same time, it goes back once. It refuses what
// is no message, as that would only come back, or crash a Python worker that
// takes it.
func (b *Broker) RetryDeadLetter(ctx context.Context, id string) error {
	l, err := b.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	// The limits of the worker may have been the reason, and may have changed.
	decoder := protocol.Decoder{
		Limits: protocol.Limits{Size: max(len(l.Raw), b.cfg.MaxMessageSize) * 2},
		Accept: protocol.Serializers(),
	}
	m, err := decoder.Decode(l.Raw)
	if err != nil {
		return fmt.Errorf("dead letter %s cannot go back into its queue, no worker could read it: %w", id, err)
	}
	queue := l.Queue
	if queue == "" {
		queue = m.RoutingKey
	}
	if fault := b.QueueFault(queue); fault != "" {
		return fmt.Errorf("dead letter %s cannot go back: %w", id, &broker.RouteError{Queue: queue, Fault: fault})
	}
	none := 0
	raw, err := protocol.EncodeRetry(m, protocol.RetryOptions{
		DeliveryTag: uuid.NewString(), Origin: m.Origin, Queue: queue, Retries: &none, Headers: setAside(m, l.At),
	})
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", id, err)
	}
	n, err := b.scriptInt(ctx, b.scripts.revive, 6, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex,
		b.listKey(queue, m.Priority), b.keys.crashes(m.ID), b.keys.result(m.ID), id, raw)
	if err != nil {
		return fmt.Errorf("put dead letter %s back into its queue: %w", id, err)
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return nil
}

// setAside returns the header that tells when m was set aside, unless it has one
// from an earlier time.
func setAside(m *protocol.Message, at time.Time) []protocol.Header {
	if m.Header(broker.SetAsideHeader) != nil {
		return nil
	}
	return []protocol.Header{protocol.TimeHeader(broker.SetAsideHeader, at)}
}

// DeleteDeadLetter removes a dead letter for good.
func (b *Broker) DeleteDeadLetter(ctx context.Context, id string) error {
	var n int
	err := b.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("HDEL", b.keys.deadMeta, id); err != nil {
			return err
		}
		if _, err := c.Do("ZREM", b.keys.deadIndex, id); err != nil {
			return err
		}
		var err error
		n, err = redigo.Int(c.Do("HDEL", b.keys.dead, id))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete dead letter %s: %w", id, err)
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return nil
}
