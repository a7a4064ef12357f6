package queues

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
)

const (
	// claimsStep is about the number of claims that one step of a search returns.
	claimsStep = 1000
	// heldStep is the number of held messages that are read together.
	heldStep = 20
)

// Claims returns claims of the unacked set, in no order: some of them, beginning at cursor,
// which is "" at first. next is where to go on, "" at the end. A claim that is there all the
// time is returned at least once.
func (q *Queues) Claims(ctx context.Context, cursor string) (claims []string, next string, err error) {
	if cursor == "" {
		cursor = "0"
	}
	var flat []string
	err = q.cfg.Do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.Values(redigo.DoContext(c, ctx, "ZSCAN", q.cfg.Index, cursor, "COUNT", claimsStep))
		if err == nil {
			_, err = redigo.Scan(reply, &next, &flat)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list the held messages: %w", err)
	}
	for i := 0; i < len(flat); i += 2 {
		claims = append(claims, flat[i])
	}
	if next == "0" {
		next = ""
	}
	return claims, next, nil
}

// Held reads held messages. It leaves out the ones that are held no more.
func (q *Queues) Held(ctx context.Context, claims []string) (found []broker.HeldMessage, err error) {
	nodes := map[string]string{}
	for chunk := range slices.Chunk(claims, heldStep) {
		var entries [][]byte
		err := q.cfg.Do(ctx, func(c redigo.Conn) (err error) {
			entries, err = redigo.ByteSlices(redigo.DoContext(c, ctx, "HMGET", redigo.Args{q.cfg.Unacked}.AddFlat(chunk)...))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read held messages: %w", err)
		}
		for i, b := range entries {
			if b == nil {
				continue
			}
			m := broker.HeldMessage{Claim: chunk[i]}
			if e, err := protocol.ParseEntry(b); err == nil {
				m.Queue, m.Raw, m.Size = e.RoutingKey, e.Raw, len(e.Raw)
			}
			owner, ours := q.cfg.OwnerOf(m.Claim)
			if m.Python = !ours; ours {
				if m.Node, err = q.node(ctx, owner, nodes); err != nil {
					return nil, err
				}
			}
			found = append(found, m)
		}
	}
	return found, nil
}

// node returns the name of an owner. known holds the ones that were asked for.
func (q *Queues) node(ctx context.Context, owner string, known map[string]string) (string, error) {
	name, ok := known[owner]
	if ok {
		return name, nil
	}
	err := q.cfg.Do(ctx, func(c redigo.Conn) (err error) {
		name, err = redigo.String(redigo.DoContext(c, ctx, "HGET", q.cfg.Owner(owner), "node"))
		return err
	})
	if err != nil && err != redigo.ErrNil && !conn.IsWrongType(err) {
		return "", fmt.Errorf("read the name of a worker: %w", err)
	}
	known[owner] = name
	return name, nil
}

// dueSoon is the time before its ETA in which a message is left to its worker.
const dueSoon = 3 * time.Second

// RunNow puts a message that waits for its time back to the front of its queue, without its
// ETA, so that the next free worker runs it. The worker that held it finds the claim lost. The
// error is broker.ErrNotHeld, broker.ErrHeldByPython or broker.ErrDue where that is impossible.
func (q *Queues) RunNow(ctx context.Context, claim string) error {
	held, err := q.Held(ctx, []string{claim})
	switch {
	case err != nil:
		return fmt.Errorf("run now: %w", err)
	case len(held) == 0:
		return broker.ErrNotHeld
	case held[0].Python:
		return broker.ErrHeldByPython
	case held[0].Raw == nil:
		return broker.ErrNotHeld
	}
	now, err := q.now(ctx)
	if err != nil {
		return fmt.Errorf("run now: %w", err)
	}
	raw := held[0].Raw
	decoder := protocol.Decoder{Limits: protocol.Limits{Size: 2 * max(len(raw), protocol.DefaultSize)}, Accept: protocol.Serializers()}
	m, err := decoder.Decode(raw)
	if err != nil {
		return fmt.Errorf("run now: %w", err)
	}
	if m.ETA.Before(now.Add(dueSoon)) {
		return broker.ErrDue
	}
	raw, err = protocol.WithoutETA(raw)
	if err == nil {
		raw, err = protocol.MarkRedelivered(raw)
	}
	if err != nil {
		return fmt.Errorf("run now: %w", err)
	}
	n, err := q.cfg.GiveBack(ctx, held[0], raw)
	if err != nil {
		return fmt.Errorf("run now: %w", err)
	}
	if n == 0 {
		return broker.ErrNotHeld
	}
	return nil
}

// now returns the time of the server.
func (q *Queues) now(ctx context.Context) (t time.Time, err error) {
	err = q.cfg.Do(ctx, func(c redigo.Conn) error {
		parts, err := redigo.Int64s(redigo.DoContext(c, ctx, "TIME"))
		if err == nil && len(parts) == 2 {
			t = time.Unix(parts[0], parts[1]*1000)
		}
		return err
	})
	return t, err
}

// mostOwners bounds the workers whose counts are read.
const mostOwners = 1000

// Taken returns how many messages each live worker of this kind has taken from its queues since
// its start, by its id. Workers tell it every few seconds.
func (q *Queues) Taken(ctx context.Context) (map[string]map[string]int64, error) {
	taken := map[string]map[string]int64{}
	err := q.cfg.Do(ctx, func(c redigo.Conn) error {
		owners, err := redigo.Strings(redigo.DoContext(c, ctx, "ZREVRANGE", q.cfg.Owners, 0, mostOwners-1))
		if err != nil || len(owners) == 0 {
			return err
		}
		for _, o := range owners {
			if err := c.Send("HGET", q.cfg.Owner(o), "taken"); err != nil {
				return err
			}
		}
		texts, err := redigo.Values(redigo.DoContext(c, ctx, ""))
		if err != nil {
			return err
		}
		for i, o := range owners {
			var counts map[string]int64
			if text, ok := texts[i].([]byte); ok && json.Unmarshal(text, &counts) == nil {
				taken[o] = counts
			}
		}
		return nil
	})
	if err != nil && !conn.IsWrongType(err) {
		return nil, fmt.Errorf("read the counts of workers: %w", err)
	}
	return taken, nil
}
