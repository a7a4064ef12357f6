package redis

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// recoverPage bounds one page of a scan.
const recoverPage = 500

// expired is an entry of unacked_index that nobody has renewed.
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
	if err != nil || !locked {
		return err
	}
	defer func() {
		// Best effort: the lock expires by itself.
		_, _ = b.script(context.WithoutCancel(ctx), b.scripts.unlock, 1, b.keys.mutex, token)
	}()

	for {
		page, err := b.expiredPage(ctx)
		if err != nil {
			return err
		}
		moved := 0
		for _, e := range page { // newest first, so that the oldest ends in front
			n, err := b.restore(ctx, e.claim, e.score, "")
			if err != nil {
				return err
			}
			moved += n
		}
		if moved > 0 {
			b.log.Warn("messages were not acknowledged in time and are delivered again", "messages", moved)
		}
		if len(page) < recoverPage || moved == 0 {
			return nil
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

// recoverOwner gives back what a dead worker of our kind held.
func (b *Broker) recoverOwner(ctx context.Context, owner string) error {
	var locked bool
	err := b.do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.String(c.Do("SET", b.keys.recovery(owner), b.owner, "NX", "PX", 5000))
		locked = reply == "OK"
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	if err != nil || !locked {
		return err
	}
	claims, err := b.claimsOf(ctx, owner)
	if err != nil {
		return err
	}
	moved := 0
	for _, claim := range claims {
		n, err := b.restore(ctx, claim, "", owner)
		if err != nil {
			return err
		}
		moved += n
	}
	if len(claims) > 0 {
		b.log.Warn("a worker is gone, its messages are delivered again", "owner", owner, "messages", moved)
	}
	if moved < len(claims) {
		return nil // it came back to life, or is not done yet
	}
	return b.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("ZREM", b.keys.owners, owner); err != nil {
			return err
		}
		_, err := c.Do("DEL", b.keys.owner(owner))
		return err
	})
}

// claimsOf returns what owner holds, the newest first.
func (b *Broker) claimsOf(ctx context.Context, owner string) ([]string, error) {
	var claims []string
	err := b.do(ctx, func(c redigo.Conn) error {
		cursor := "0"
		for {
			reply, err := redigo.Values(c.Do("ZSCAN", b.keys.index, cursor, "MATCH", owner+":*", "COUNT", recoverPage))
			if err != nil {
				return err
			}
			var flat []string
			if _, err := redigo.Scan(reply, &cursor, &flat); err != nil {
				return err
			}
			for i := 0; i < len(flat); i += 2 {
				if o, ok := ownerOf(flat[i]); ok && o == owner {
					claims = append(claims, flat[i])
				}
			}
			if cursor == "0" {
				return nil
			}
		}
	})
	slices.Sort(claims) // a scan may name one twice
	claims = slices.Compact(claims)
	slices.Reverse(claims)
	return claims, err
}

// restore gives one message back to the front of its list, if the claim still
// has that score, or its owner is still dead. It reports how many it moved.
func (b *Broker) restore(ctx context.Context, claim, score, owner string) (int, error) {
	entry, ok, err := b.entry(ctx, claim)
	if err != nil {
		return 0, err
	}
	var raw, deadRaw, deadMeta []byte
	var lists []string
	if ok {
		raw, lists, err = b.destination(ctx, entry)
		if err != nil {
			return 0, err
		}
		if len(lists) == 0 {
			// Nobody could ever read it there, and it would crash the Python
			// workers that try.
			deadRaw, deadMeta = entry, meta("", "not restorable")
			if e, err := protocol.ParseEntry(entry); err == nil {
				deadRaw, deadMeta = e.Raw, meta(e.RoutingKey, "not restorable")
			}
			raw = nil
		}
	}
	keys := []any{b.keys.unacked, b.keys.index, b.keys.owners, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex}
	for _, l := range lists {
		keys = append(keys, l)
	}
	n, err := b.scriptInt(ctx, b.scripts.restore, len(keys), append(keys,
		claim, score, owner, b.cfg.OwnerTimeout.Seconds(), raw, deadRaw, deadMeta,
		b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()))...)
	if err != nil {
		return 0, fmt.Errorf("give back a message: %w", err)
	}
	if n == 2 && ok && b.session.DeadLettered != nil {
		b.session.DeadLettered("", "not restorable")
	}
	return min(n, 1), nil
}

// restoreOwn gives back a message that we took without knowing.
func (b *Broker) restoreOwn(ctx context.Context, claim string) error {
	entry, ok, err := b.entry(ctx, claim)
	if err != nil || !ok {
		return err
	}
	e, err := protocol.ParseEntry(entry)
	if err != nil {
		return fmt.Errorf("read own claim: %w", err)
	}
	env, _ := protocol.ParseEnvelope(e.Raw)
	_, err = b.scriptInt(ctx, b.scripts.giveBack, 4, b.keys.unacked, b.keys.index,
		b.listKey(e.RoutingKey, env.Priority), "", claim, e.Raw)
	return err
}

func (b *Broker) entry(ctx context.Context, claim string) (entry []byte, ok bool, err error) {
	err = b.do(ctx, func(c redigo.Conn) (err error) {
		entry, err = redigo.Bytes(c.Do("HGET", b.keys.unacked, claim))
		if errors.Is(err, redigo.ErrNil) {
			return nil
		}
		ok = err == nil
		return err
	})
	return entry, ok, err
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
		if q != "" {
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
