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

// ErrNoDeadLetter is returned for an id without a dead letter.
var ErrNoDeadLetter = errors.New("no such dead letter")

// Letters are the dead letters of a Redis database. [Broker.Letters] returns them.
type Letters struct {
	*server
}

// letterMeta is stored beside the bytes of a dead letter.
type letterMeta struct {
	Queue  string  `json:"queue"`
	Reason string  `json:"reason"`
	At     unixish `json:"at"`
}

// unixish is a time in seconds. The scripts write it as text.
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

// meta returns the letterMeta of a dead letter of now.
func meta(queue, reason string) []byte {
	b, err := json.Marshal(letterMeta{Queue: queue, Reason: reason, At: unixish(float64(time.Now().UnixMicro()) / 1e6)})
	if err != nil {
		return []byte(`{}`) // strings and a finite number: cannot happen
	}
	return b
}

// letterBatch is the number of dead letters in one read. Each may be as large as a message.
const letterBatch = 50

// List returns dead letters, the newest first, and their total number at that moment. Letters
// that were removed meanwhile are in neither.
func (d *Letters) List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error) {
	// In one step: a letter that comes in between would make count and list differ.
	reply, err := d.script(ctx, d.scripts.Letters, 1, d.keys.deadIndex, offset, offset+limit-1)
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
		found, err := d.readLetters(ctx, batch)
		if err != nil {
			return nil, 0, err
		}
		letters = append(letters, found...)
		total -= len(batch) - len(found)
	}
	return letters, total, nil
}

// Get returns one dead letter, or ErrNoDeadLetter.
func (d *Letters) Get(ctx context.Context, id string) (broker.DeadLetter, error) {
	found, err := d.readLetters(ctx, []string{id})
	if err != nil {
		return broker.DeadLetter{ID: id}, err
	}
	if len(found) == 0 {
		return broker.DeadLetter{ID: id}, fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return found[0], nil
}

// readLetters reads dead letters. It omits letters that are gone.
func (d *Letters) readLetters(ctx context.Context, ids []string) (found []broker.DeadLetter, err error) {
	args := redigo.Args{}.AddFlat(ids)
	var raws, metas [][]byte
	err = d.do(ctx, func(c redigo.Conn) (err error) {
		if raws, err = redigo.ByteSlices(c.Do("HMGET", redigo.Args{d.keys.dead}.Add(args...)...)); err != nil {
			return err
		}
		metas, err = redigo.ByteSlices(c.Do("HMGET", redigo.Args{d.keys.deadMeta}.Add(args...)...))
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

// readLetter puts a dead letter together.
func readLetter(id string, raw, meta []byte) (broker.DeadLetter, error) {
	var m letterMeta
	if err := json.Unmarshal(meta, &m); err != nil {
		return broker.DeadLetter{}, fmt.Errorf("read the entry of dead letter %s: %w", id, err)
	}
	l := broker.DeadLetter{ID: id, Raw: raw, Queue: m.Queue, Reason: m.Reason, At: m.At.time(), Size: len(raw)}
	if env, err := protocol.ParseEnvelope(raw); err == nil {
		l.TaskName, l.TaskID = env.Task, env.ID
	}
	return l, nil
}

// minPrefix is the shortest prefix of an id, in characters.
const minPrefix = 4

// Find completes the prefix of an id. The error is ErrNoDeadLetter when no id has it. A
// prefix of several ids is an error, too.
func (d *Letters) Find(ctx context.Context, prefix string) (string, error) {
	var whole bool
	var ids []string
	err := d.do(ctx, func(c redigo.Conn) (err error) {
		if whole, err = redigo.Bool(c.Do("HEXISTS", d.keys.dead, prefix)); err != nil || whole {
			return err
		}
		ids, err = redigo.Strings(c.Do("ZRANGE", d.keys.deadIndex, 0, -1))
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

// Retry puts a dead letter back into its queue, as a new message with unspent retries and
// [broker.SetAsideHeader]. The same step deletes the result of the failed run, so that the
// task is pending again. Concurrent calls put it back once. Retry refuses bytes that are no
// message: they would become a dead letter again, or crash a Python worker.
func (d *Letters) Retry(ctx context.Context, id string) error {
	l, err := d.Get(ctx, id)
	if err != nil {
		return err
	}
	// The limits of the worker may have been the reason, and may have changed since.
	decoder := protocol.Decoder{
		Limits: protocol.Limits{Size: max(len(l.Raw), d.cfg.MaxMessageSize) * 2},
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
	if fault := d.queueFault(queue); fault != "" {
		return fmt.Errorf("dead letter %s cannot go back: %w", id, &broker.RouteError{Queue: queue, Fault: fault})
	}
	none := 0
	raw, err := protocol.EncodeRetry(m, protocol.RetryOptions{
		DeliveryTag: uuid.NewString(), Origin: m.Origin, Queue: queue, Retries: &none, Headers: setAside(m, l.At),
	})
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", id, err)
	}
	n, err := d.scriptInt(ctx, d.scripts.Revive, 6, d.keys.dead, d.keys.deadMeta, d.keys.deadIndex,
		d.listKey(queue, m.Priority), d.keys.crashes(protocol.Envelope{ID: m.ID, DeliveryTag: m.DeliveryTag}), d.keys.result(m.ID), id, raw)
	if err != nil {
		return fmt.Errorf("put dead letter %s back into its queue: %w", id, err)
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return nil
}

// setAside returns the header with the time at which m became a dead letter, unless m has
// one from an earlier time.
func setAside(m *protocol.Message, at time.Time) []protocol.Header {
	if m.Header(broker.SetAsideHeader) != nil {
		return nil
	}
	return []protocol.Header{protocol.TimeHeader(broker.SetAsideHeader, at)}
}

// Delete removes a dead letter for good.
func (d *Letters) Delete(ctx context.Context, id string) error {
	var n int
	err := d.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("HDEL", d.keys.deadMeta, id); err != nil {
			return err
		}
		if _, err := c.Do("ZREM", d.keys.deadIndex, id); err != nil {
			return err
		}
		var err error
		n, err = redigo.Int(c.Do("HDEL", d.keys.dead, id))
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
