package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/identity"
)

// recoverPage bounds one page of a scan, and one script.
const recoverPage = 250

// recovery gives messages back to their queues: returned messages of this worker, messages of
// dead owners, and messages whose leases have expired.
type recovery struct {
	*server
	consumer *consumer
	held     *holdings
	leases   *leases
	indexer  *indexer

	siblings map[string]identity.Process // of other owners, as far as read; of recoverOwners alone
}

func newRecovery(s *server, c *consumer, held *holdings, l *leases, x *indexer) *recovery {
	return &recovery{server: s, consumer: c, held: held, leases: l, indexer: x, siblings: map[string]identity.Process{}}
}

// interval returns the pause between two calls of recoverExpired.
func (rec *recovery) interval() time.Duration {
	return min(max(rec.cfg.VisibilityTimeout/5, time.Second), 30*time.Second)
}

// expired is a claim to be given back. With a score, it is given back only if it still has
// that score.
type expired struct{ claim, score string }

// recoverExpired gives back messages whose leases have expired, ours and those of Python
// workers. It takes the same lock as Python workers.
func (rec *recovery) recoverExpired(ctx context.Context) error {
	token := uuid.NewString()
	var locked bool
	err := rec.do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.String(c.Do("SET", rec.keys.mutex, token, "NX", "PX", 30_000))
		locked = reply == "OK"
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	if err == nil && !locked && !rec.notALock(ctx, rec.keys.mutex) {
		return nil
	}
	// After an error the lock may still be ours, if only the reply got lost.
	defer rec.unlock(context.WithoutCancel(ctx), token)
	if err != nil {
		return err
	}
	for {
		page, err := rec.expiredPage(ctx) // newest first, so that the oldest ends in front
		if err != nil {
			return err
		}
		moved, err := rec.restore(ctx, "", page)
		if err != nil {
			return err
		}
		if moved > 0 {
			rec.log.Warn("messages not acknowledged in time are delivered again", "messages", moved)
		}
		if len(page) < recoverPage || moved == 0 {
			return nil
		}
	}
}

// notALock reports whether the key of a lock has another type. A lock only saves work,
// because the script that gives a message back checks its claim.
func (rec *recovery) notALock(ctx context.Context, key string) bool {
	return conn.IsWrongType(rec.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("GET", key)
		return err
	}))
}

// unlock ends the lock of a recovery. The lock expires, but until then no worker recovers
// messages. A stop closes all connections, perhaps during this command, so it tries twice.
func (rec *recovery) unlock(ctx context.Context, token string) {
	for range 2 {
		if _, err := rec.script(ctx, rec.scripts.Unlock, 1, rec.keys.mutex, token); err == nil {
			return
		}
	}
}

// expiredPage returns claims that are older than the visibility timeout, by the clock of the
// server.
func (rec *recovery) expiredPage(ctx context.Context) ([]expired, error) {
	var page []expired
	err := rec.do(ctx, func(c redigo.Conn) error {
		now, err := redigo.Int64s(c.Do("TIME"))
		if err != nil || len(now) != 2 {
			return fmt.Errorf("ask for the time: %w", err)
		}
		limit := float64(now[0]) + float64(now[1])/1e6 - rec.cfg.VisibilityTimeout.Seconds()
		flat, err := redigo.Strings(c.Do("ZREVRANGEBYSCORE", rec.keys.index, strconv.FormatFloat(limit, 'f', 6, 64), 0,
			"WITHSCORES", "LIMIT", 0, recoverPage))
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(flat); i += 2 {
			page = append(page, expired{claim: flat[i], score: flat[i+1]})
		}
		return nil
	})
	return page, err
}

// restore gives messages back to the fronts of their lists, in one step. It skips claims
// whose scores have changed, and does nothing when owner, unless "", is alive again.
// Messages that no worker can read go to the dead letters. It returns the number of
// messages that it moved.
func (rec *recovery) restore(ctx context.Context, owner string, es []expired) (int, error) {
	if len(es) == 0 {
		return 0, nil
	}
	claims := make([]string, len(es))
	for i, e := range es {
		claims[i] = e.claim
	}
	entries, err := rec.entries(ctx, claims)
	if err != nil {
		return 0, err
	}
	keys := []any{rec.keys.unacked, rec.keys.index, rec.keys.owners, rec.keys.dead, rec.keys.deadMeta, rec.keys.deadIndex}
	args := []any{owner, rec.cfg.OwnerTimeout.Seconds(), rec.cfg.DeadLettersMax, rec.deadLettersAge()}
	none := len(args)
	for i, e := range es {
		var raw []byte
		var lists []string
		if entries[i] != nil {
			if raw, lists, err = rec.destination(ctx, entries[i]); conn.IsWrongType(err) {
				continue // its exchange may be readable later
			}
			if err != nil {
				return 0, err
			}
		}
		deadRaw, queue, chord := entries[i], "", ""
		if entry, err := protocol.ParseEntry(entries[i]); err == nil {
			deadRaw, queue = entry.Raw, entry.RoutingKey
			if env, err := protocol.ParseEnvelope(entry.Raw); err == nil && env.GroupID != "" {
				chord = rec.keys.chordBase(env.GroupID) + ".c"
			}
		}
		args = append(args, e.claim, e.score, raw, deadRaw, meta(queue, "not restorable", len(deadRaw)), chord, len(lists))
		for _, l := range lists {
			args = append(args, l)
		}
	}
	if len(args) == none {
		return 0, nil
	}
	reply, err := redigo.Values(rec.script(ctx, rec.scripts.Restore, len(keys), append(keys, args...)...))
	var back, dead int
	var barrier string
	if err == nil {
		_, err = redigo.Scan(reply, &back, &dead, &barrier)
	}
	if err != nil {
		return 0, fmt.Errorf("give back messages: %w", err)
	}
	if barrier != "" {
		rec.log.Error("message cannot be given back: its queue cannot be written", "error", barrier)
	}
	if dead > 0 {
		rec.letters.Tidy()
	}
	for range dead {
		rec.consumer.deadLettered("", "not restorable")
	}
	return back + dead, nil
}

// entries returns the entries of claims in the unacked set, nil where there is none.
func (rec *recovery) entries(ctx context.Context, claims []string) ([][]byte, error) {
	args := []any{rec.keys.unacked}
	for _, c := range claims {
		args = append(args, c)
	}
	var entries [][]byte
	err := rec.do(ctx, func(c redigo.Conn) (err error) {
		entries, err = redigo.ByteSlices(c.Do("HMGET", args...))
		return err
	})
	if err != nil || len(entries) != len(claims) {
		return nil, fmt.Errorf("read unacknowledged messages: %w", err)
	}
	return entries, nil
}

// destination returns the message of an entry, marked as redelivered, and the lists that it
// goes back to: the list of its priority in every queue of its exchange and routing key.
// Without lists it cannot go back.
func (rec *recovery) destination(ctx context.Context, entry []byte) (raw []byte, lists []string, err error) {
	e, err := protocol.ParseEntry(entry)
	if err != nil {
		return nil, nil, nil
	}
	env, err := protocol.ParseEnvelope(e.Raw)
	if err != nil {
		return nil, nil, nil
	}
	if raw, err = protocol.MarkRedelivered(e.Raw); err != nil {
		return nil, nil, nil
	}
	queues := []string{e.RoutingKey}
	if e.Exchange != "" {
		if queues, err = rec.bound(ctx, e.Exchange, e.RoutingKey); err != nil {
			return nil, nil, err
		}
	}
	for _, q := range queues {
		if q != "" && rec.queueFault(q) == "" {
			lists = append(lists, rec.listKey(q, env.Priority))
		}
	}
	return raw, lists, nil
}

// returnChunk bounds one script of giveBackAll.
const returnChunk = 250

// giveBackAll puts messages back to the front of their queues, in the order of their claims.
func (rec *recovery) giveBackAll(ctx context.Context, ds []broker.Delivery) error {
	ds = newestFirst(ds)
	for len(ds) > 0 {
		chunk := ds[:min(returnChunk, len(ds))]
		ds = ds[len(chunk):]
		rs := make([]returned, len(chunk))
		for i, d := range chunk {
			r := returned{claim: d.Claim, raw: d.Raw, queue: d.Queue, entries: d.Entries}
			if env, err := protocol.ParseEnvelope(d.Raw); err == nil {
				r.priority, r.crashes, r.first = env.Priority, rec.keys.crashes(env), !env.Redelivered
				if raw, err := protocol.MarkRedelivered(d.Raw); err == nil {
					r.raw = raw
				}
			}
			rs[i] = r
		}
		if _, err := rec.giveBack(ctx, rs); err != nil {
			return err
		}
		for _, d := range chunk {
			rec.held.remove(d.Claim)
		}
	}
	return nil
}

// returned is one message on its way back to the front of its list.
type returned struct {
	claim, queue string
	priority     int
	raw          []byte
	crashes      string // key of the count of its crashes; "" for none
	first        bool   // it was not delivered before
	entries      []broker.Entry
}

// giveBack puts messages back to the front of their queues and returns their number.
func (rec *recovery) giveBack(ctx context.Context, rs []returned) (int, error) {
	keys := []any{rec.keys.unacked, rec.keys.index, rec.keys.dead, rec.keys.deadMeta, rec.keys.deadIndex}
	args := []any{rec.cfg.DeadLettersMax, rec.deadLettersAge()}
	for _, r := range rs {
		keys = append(keys, rec.listKey(r.queue, r.priority), rec.orNone(r.crashes))
		args = append(args, r.claim, r.raw, meta(r.queue, "queue cannot be written", len(r.raw)), flag(r.first))
	}
	for i, r := range rs {
		if len(r.entries) > 0 {
			records := rec.outbox.Append(nil, r.entries)
			args = append(append(args, i+1, len(records)), records...)
		}
	}
	n, err := rec.scriptInt(ctx, rec.scripts.GiveBack, len(keys), append(keys, args...)...)
	if err != nil {
		return 0, fmt.Errorf("give back messages: %w", err)
	}
	return n, nil
}

// newestFirst returns deliveries sorted by their claims, the last claim first.
func newestFirst(ds []broker.Delivery) []broker.Delivery {
	ds = slices.Clone(ds)
	sorting.By(ds, func(a, b broker.Delivery) int { return cmp.Compare(b.Claim, a.Claim) })
	return ds
}
