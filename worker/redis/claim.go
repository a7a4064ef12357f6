package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// claimBytes bounds what one claim brings into memory; the message that
// reaches it still comes along.
const claimBytes = 8 << 20

// Claim implements [worker.Broker].
func (b *Broker) Claim(ctx context.Context, max int) ([]worker.Delivery, error) {
	if len(b.lists) == 0 {
		return nil, errNotConsuming
	}
	b.claiming.Lock()
	defer b.claiming.Unlock()
	if !b.registered || b.suspect {
		if err := b.register(ctx); err != nil {
			return nil, fmt.Errorf("register as owner of claims: %w", err)
		}
	}

	lists := b.rotated()
	keys := []any{b.keys.unacked, b.keys.index, b.keys.owner(b.owner), b.keys.dead, b.keys.deadMeta, b.keys.deadIndex}
	args := []any{b.epoch, b.claimPrefix(), b.number, max, b.cfg.MaxMessageSize, claimBytes,
		b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds())}
	for _, l := range lists {
		keys = append(keys, l.key)
		args = append(args, l.queue)
	}
	reply, err := redigo.Values(b.script(ctx, b.scripts.claim, len(keys), append(keys, args...)...))
	if err != nil {
		if hasCode(err, "STALECLAIM") {
			b.registered = false // Redis lost what it knew of us
		} else {
			b.suspect = true // it may have been carried out
		}
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	b.number += int64(max)
	if len(reply) != 2 {
		return nil, errors.New("claim messages: reply of the script is not understood")
	}
	ds, err := b.deliveries(lists, reply[0])
	if err != nil {
		b.suspect = true
		return nil, err
	}
	rescued, err := b.dead(ctx, lists, reply[1])
	return append(ds, rescued...), err
}

func (b *Broker) deliveries(lists []list, reply any) ([]worker.Delivery, error) {
	rows, err := redigo.Values(reply, nil)
	if err != nil {
		return nil, fmt.Errorf("read claimed messages: %w", err)
	}
	ds := make([]worker.Delivery, 0, len(rows))
	for _, row := range rows {
		var d worker.Delivery
		var n int
		cols, err := redigo.Values(row, nil)
		if err == nil {
			_, err = redigo.Scan(cols, &d.Claim, &n, &d.Raw)
		}
		if err != nil || n < 1 || n > len(lists) {
			return nil, fmt.Errorf("read claimed messages: reply of the script is not understood: %w", err)
		}
		d.Queue = lists[n-1].queue
		ds = append(ds, d)
	}
	b.outMu.Lock()
	for _, d := range ds {
		b.out[d.Claim] = true
	}
	b.outMu.Unlock()
	return ds, nil
}

// dead looks again at what the script set aside. The JSON parser of Redis is
// less complete than Python's: what a complete one accepts is a message.
func (b *Broker) dead(ctx context.Context, lists []list, reply any) (rescued []worker.Delivery, err error) {
	rows, err := redigo.Values(reply, nil)
	if err != nil {
		return nil, fmt.Errorf("read what was set aside: %w", err)
	}
	for _, row := range rows {
		var claim, reason string
		var n int
		var raw []byte
		cols, err := redigo.Values(row, nil)
		if err == nil {
			_, err = redigo.Scan(cols, &claim, &n, &reason, &raw)
		}
		if err != nil || n < 1 || n > len(lists) {
			return rescued, fmt.Errorf("read what was set aside: reply of the script is not understood: %w", err)
		}
		queue := lists[n-1].queue
		if len(raw) > 0 {
			better := ""
			_, err := protocol.Decode(raw, protocol.Limits{Size: b.cfg.MaxMessageSize})
			if de, ok := errors.AsType[*protocol.DecodeError](err); ok {
				better = string(de.Reason)
			}
			n, err := b.scriptInt(ctx, b.scripts.rescue, 5, b.keys.unacked, b.keys.index,
				b.keys.dead, b.keys.deadMeta, b.keys.deadIndex, claim, queue, better)
			if err == nil && n == 1 {
				b.outMu.Lock()
				b.out[claim] = true
				b.outMu.Unlock()
				rescued = append(rescued, worker.Delivery{Claim: claim, Queue: queue, Raw: raw})
				continue
			}
			if better != "" {
				reason = better
			}
		}
		if b.session.DeadLettered != nil {
			b.session.DeadLettered(queue, reason)
		}
	}
	return rescued, nil
}

// rotated returns the lists by priority, and within one priority with the
// queues in turn, so that a busy queue does not starve the others
// (queue_order_strategy round_robin).
func (b *Broker) rotated() []list {
	n := len(b.session.Queues)
	if n < 2 {
		return b.lists
	}
	b.turn = (b.turn + 1) % n
	rotated := make([]list, 0, len(b.lists))
	for i := 0; i < len(b.lists); i += n {
		step := b.lists[i : i+n]
		rotated = append(rotated, step[b.turn:]...)
		rotated = append(rotated, step[:b.turn]...)
	}
	return rotated
}

// claimPrefix begins the claims of this owner. What follows is a number of
// fixed width, so that their order is that of the text.
func (b *Broker) claimPrefix() string { return b.owner + ":" }

// ownerOf returns the owner of a claim; ok is false for one of Python's.
func ownerOf(claim string) (owner string, ok bool) {
	owner, number, ok := strings.Cut(claim, ":")
	return owner, ok && len(owner) == 36 && len(number) == 12
}

func newestFirst(ds []worker.Delivery) []worker.Delivery {
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b worker.Delivery) int { return cmp.Compare(b.Claim, a.Claim) })
	return ds
}

// register makes this broker known as the owner of claims, under a new epoch.
// A claim script of an older epoch that is still on its way, in a connection
// that hangs, refuses to run from here on; what such scripts have taken unseen
// goes back into its queue.
func (b *Broker) register(ctx context.Context) error {
	next := b.epoch + 1
	info, err := thisProcess().encode()
	if err != nil {
		return err
	}
	err = b.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("HSET", b.keys.owner(b.owner), "epoch", next, "identity", info, "node", b.session.Node); err != nil {
			return err
		}
		if _, err := c.Do("EXPIRE", b.keys.owner(b.owner), 86400); err != nil {
			return err
		}
		for _, q := range b.session.Queues {
			if _, err := c.Do("SADD", b.keys.binding(q), q+b.cfg.Separator+b.cfg.Separator+q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := b.beat(ctx); err != nil {
		return err
	}
	if b.suspect {
		orphans, err := b.claimsOf(ctx, b.owner)
		if err != nil {
			return err
		}
		b.outMu.Lock()
		orphans = slices.DeleteFunc(orphans, func(claim string) bool { return b.out[claim] })
		b.outMu.Unlock()
		for _, claim := range orphans {
			if err := b.restoreOwn(ctx, claim); err != nil {
				return err
			}
		}
		if len(orphans) > 0 {
			b.log.Warn("messages of a claim that got lost on its way went back to their queues", "messages", len(orphans))
		}
	}
	b.epoch, b.registered, b.suspect = next, true, false
	return nil
}
