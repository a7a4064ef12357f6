package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// publishChunk and publishBytes bound one script of Publish: it holds Redis for
// as long as it takes.
const (
	publishChunk = 1000
	publishBytes = 4 << 20
)

// Publish implements [broker.Backend]. What is more than one script should do
// is done in several, the messages last.
func (b *Broker) Publish(ctx context.Context, c broker.Changes) error {
	for _, p := range c.Publish {
		if fault := b.QueueFault(p.Queue); fault != "" {
			return fmt.Errorf("publish: %w", &broker.RouteError{Queue: p.Queue, Fault: fault})
		}
	}
	messages := c.Publish
	for first := true; first || len(messages) > 0; first = false {
		n, size := 0, 0
		for n < len(messages) && n < publishChunk && size < publishBytes {
			size += len(messages[n].Raw)
			n++
		}
		part := broker.Changes{Claim: c.Claim, Publish: messages[:n]}
		if first {
			part = c
			part.Members, part.Publish = nil, messages[:n]
		}
		if err := b.publish(ctx, part); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func (b *Broker) publish(ctx context.Context, c broker.Changes) error {
	var o operations
	if err := b.changes(ctx, &o, c, false); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if len(o.args) == 0 {
		return nil
	}
	args := []any{c.Claim, "", 0, "0", b.orderedChords(), chordClaim, "", "", "", "", b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()), "0"}
	held, _, _, err := b.carry(ctx, b.carryKeys(uuid.NewString(), "", ""), append(args, o.args...))
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if !held {
		return broker.ErrLost
	}
	return nil
}

// Results implements [broker.Backend].
func (b *Broker) Results(ctx context.Context, ids []string) ([]*protocol.Result, error) {
	results := make([]*protocol.Result, 0, len(ids))
	for len(ids) > 0 {
		chunk := ids[:min(publishChunk, len(ids))]
		ids = ids[len(chunk):]
		keys := make([]any, len(chunk))
		for i, id := range chunk {
			keys[i] = b.keys.result(id)
		}
		var values [][]byte
		err := b.do(ctx, func(c redigo.Conn) (err error) {
			values, err = redigo.ByteSlices(c.Do("MGET", keys...))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		for i, value := range values {
			var r *protocol.Result
			if value != nil {
				if r, err = protocol.DecodeResult(value); err != nil {
					return nil, fmt.Errorf("read the result of %s: %w", chunk[i], err)
				}
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// Forget implements [broker.Backend].
func (b *Broker) Forget(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := make([]any, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, b.keys.result(id), b.keys.chordBase(id))
	}
	err := b.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("DEL", keys...)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget results: %w", err)
	}
	return nil
}

// Group implements [broker.Backend].
func (b *Broker) Group(ctx context.Context, id string) (protocol.Raw, error) {
	var value []byte
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		value, err = redigo.Bytes(c.Do("GET", b.keys.chordBase(id)))
		return err
	})
	if errors.Is(err, redigo.ErrNil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the group %s: %w", id, err)
	}
	return protocol.Raw(value), nil
}

// Take implements [broker.Limiter].
func (b *Broker) Take(ctx context.Context, limit string, every time.Duration) (time.Duration, error) {
	n, err := b.scriptInt(ctx, b.scripts.take, 1, b.keys.limit(limit), every.Microseconds())
	if err != nil {
		return 0, fmt.Errorf("take from the rate limit of %s: %w", limit, err)
	}
	return time.Duration(n) * time.Microsecond, nil
}
