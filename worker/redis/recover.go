package redis

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// recoverPage bounds one page of a scan, and one script.
const recoverPage = 250

// expired is a claim that is to be given back. With a score, only if it still
// has that score.
type expired struct{ claim, score string }

// recoverExpired gives back what was not acknowledged within the visibility
// timeout, ours and that of Python workers, under the lock that they take too.
func (b *Broker) recoverExpired(ctx context.Context) error {
	token := uuid.NewString()
	var locked bool
	err := b.do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.String(c.Do("SET", b.keys.mutex, token, "NX", "PX", 30_000))
		locked = reply == "OK"
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	if err == nil && !locked && !b.notALock(ctx, b.keys.mutex) {
		return nil
	}
	// With an error the lock may be ours all the same, when it was the answer that
	// got lost.
	defer b.unlock(context.WithoutCancel(ctx), token)
	if err != nil {
		return err
	}
	for {
		page, err := b.expiredPage(ctx) // newest first, so that the oldest ends in front
		if err != nil {
			return err
		}
		moved, err := b.restore(ctx, "", page)
		if err != nil {
			return err
		}
		if moved > 0 {
			b.log.Warn("messages were not acknowledged in time and are delivered again", "messages", moved)
		}
		if len(page) < recoverPage || moved == 0 {
			return nil
		}
	}
}

// notALock reports whether the key of a lock holds something else. The step that gives a
// message back looks at its claim: a lock only saves work.
func (b *Broker) notALock(ctx context.Context, key string) bool {
	return wrongType(b.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("GET", key)
		return err
	}))
}

// unlock ends the lock of a recovery. It expires by itself, but until then nobody
// gives back anything. At a stop all connections are cut, perhaps under this very
// command: hence a second try, with a connection of after the cut.
func (b *Broker) unlock(ctx context.Context, token string) {
	for range 2 {
		if _, err := b.script(ctx, b.scripts.unlock, 1, b.keys.mutex, token); err == nil {
			return
		}
	}
}

// expiredPage reads what is older than the visibility timeout by the clock of
// the server.
func (b *Broker) expiredPage(ctx context.Context) ([]expired, error) {
	var page []expired
	err := b.do(ctx, func(c redigo.Conn) error {
		now, err := redigo.Int64s(c.Do("TIME"))
		if err != nil || len(now) != 2 {
			return fmt.Errorf("ask for the time: %w", err)
		}
		limit := float64(now[0]) + float64(now[1])/1e6 - b.cfg.VisibilityTimeout.Seconds()
		flat, err := redigo.Strings(c.Do("ZREVRANGEBYSCORE", b.keys.index, strconv.FormatFloat(limit, 'f', 6, 64), 0,
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

// restore gives messages back to the fronts of their lists, in one step, if their
// claims still have those scores and owner, unless that is "", is still dead. What
// nobody could ever read there goes to the dead letters. It returns the number of
// those that it moved.
func (b *Broker) restore(ctx context.Context, owner string, es []expired) (int, error) {
	if len(es) == 0 {
		return 0, nil
	}
	claims := make([]string, len(es))
	for i, e := range es {
		claims[i] = e.claim
	}
	entries, err := b.entries(ctx, claims)
	if err != nil {
		return 0, err
	}
	keys := []any{b.keys.unacked, b.keys.index, b.keys.owners, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex}
	args := []any{owner, b.cfg.OwnerTimeout.Seconds(), b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds())}
	none := len(args)
	for i, e := range es {
		var raw []byte
		var lists []string
		if entries[i] != nil {
			if raw, lists, err = b.destination(ctx, entries[i]); wrongType(err) {
				continue // until its exchange can be read
			}
			if err != nil {
				return 0, err
			}
		}
		deadRaw, queue, chord := entries[i], "", ""
		if entry, err := protocol.ParseEntry(entries[i]); err == nil {
			deadRaw, queue = entry.Raw, entry.RoutingKey
			if env, err := protocol.ParseEnvelope(entry.Raw); err == nil && env.GroupID != "" {
				chord = b.keys.chordBase(env.GroupID) + ".c"
			}
		}
		args = append(args, e.claim, e.score, raw, deadRaw, meta(queue, "not restorable"), chord, len(lists))
		for _, l := range lists {
			args = append(args, l)
		}
	}
	if len(args) == none {
		return 0, nil
	}
	reply, err := redigo.Values(b.script(ctx, b.scripts.restore, len(keys), append(keys, args...)...))
	var back, dead int
	var barrier string
	if err == nil {
		_, err = redigo.Scan(reply, &back, &dead, &barrier)
	}
	if err != nil {
		return 0, fmt.Errorf("give back messages: %w", err)
	}
	if barrier != "" {
		b.log.Error("a message cannot be given back: its queue cannot be written", "error", barrier)
	}
	for range dead {
		if b.session.DeadLettered != nil {
			b.session.DeadLettered("", "not restorable")
		}
	}
	return back + dead, nil
}

// entries returns what is in the books of the unacknowledged, nil for nothing.
func (b *Broker) entries(ctx context.Context, claims []string) ([][]byte, error) {
	args := []any{b.keys.unacked}
	for _, c := range claims {
		args = append(args, c)
	}
	var entries [][]byte
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		entries, err = redigo.ByteSlices(c.Do("HMGET", args...))
		return err
	})
	if err != nil || len(entries) != len(claims) {
		return nil, fmt.Errorf("read unacknowledged messages: %w", err)
	}
	return entries, nil
}

// destination works out what goes back where: the message marked as
// redelivered, into the list of its priority in every queue that its exchange
// and routing key lead to. No lists means that there is no way back.
func (b *Broker) destination(ctx context.Context, entry []byte) (raw []byte, lists []string, err error) {
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
		if queues, err = b.bound(ctx, e.Exchange, e.RoutingKey); err != nil {
			return nil, nil, err
		}
	}
	for _, q := range queues {
		if q != "" && b.QueueFault(q) == "" {
			lists = append(lists, b.listKey(q, env.Priority))
		}
	}
	return raw, lists, nil
}

// bound returns the queues that an exchange routes a key to, by the bindings
// that Python workers keep.
func (b *Broker) bound(ctx context.Context, exchange, key string) ([]string, error) {
	var members []string
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		members, err = redigo.Strings(c.Do("SMEMBERS", b.keys.binding(exchange)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read bindings: %w", err)
	}
	slices.Sort(members)
	var queues []string
	for _, m := range members {
		parts := strings.Split(m, b.cfg.Separator)
		if len(parts) != 3 {
			continue
		}
		match := parts[0] == key
		if !match && parts[1] != "" {
			re, err := regexp.Compile(parts[1])
			match = err == nil && re.MatchString(key)
		}
		if match && !slices.Contains(queues, parts[2]) {
			queues = append(queues, parts[2])
		}
	}
	return queues, nil
}
