package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Most backlogs are long rows of good messages in one list. Such a row is read first,
// looked at here with a complete parser, and then claimed by a script that has nothing
// to do but to make sure that it is still the same: scripts hold up everybody, and one
// that reads messages takes ten times as long.

// aheadBytes bounds the messages that are looked at before they are claimed: they
// come over the network twice.
const aheadBytes = 512 << 10

// claimAhead claims up to max messages of the list that the last claim was filled
// from. When it claims none, claim.lua has to, and the verdicts are what it can be
// told of the messages.
func (b *Broker) claimAhead(ctx context.Context, max int) (ds []worker.Delivery, verdicts []any, err error) {
	if b.ahead < 0 {
		return nil, nil, nil
	}
	list := b.lists[b.ahead]
	max = min(max, aheadBytes/b.aheadSize+1)
	raws, err := b.lookAhead(ctx, list.key, max)
	if err != nil {
		b.ahead = -1
		return nil, nil, fmt.Errorf("look at messages: %w", err)
	}
	// Of what was delivered before, the script tells how often.
	if i := slices.IndexFunc(raws, func(raw []byte) bool { return bytes.Contains(raw, []byte("redelivered")) }); i != 0 && len(raws) > 0 {
		if i < 0 {
			i = len(raws)
		}
		if ds, err = b.claimSeen(ctx, list, raws[:i]); err != nil {
			return nil, nil, fmt.Errorf("claim messages: %w", err)
		}
	}
	if len(ds) < max {
		b.ahead = -1
	}
	if len(ds) > 0 {
		return ds, nil, nil
	}
	for _, raw := range raws {
		verdicts = append(verdicts, raw, "")
	}
	return nil, verdicts, nil
}

// lookAhead returns the messages that are next in a list, as far as they are good.
func (b *Broker) lookAhead(ctx context.Context, key string, max int) (raws [][]byte, err error) {
	err = b.do(ctx, func(c redigo.Conn) (err error) {
		raws, err = redigo.ByteSlices(redigo.DoContext(c, ctx, "LRANGE", key, -max, -1))
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(raws) // the last one is the next
	size := 0
	for i, raw := range raws {
		size += len(raw)
		if len(raw) > b.cfg.MaxMessageSize || size > aheadBytes {
			return raws[:i], nil
		}
		if err := protocol.Restorable(raw); err != nil {
			return raws[:i], nil
		}
	}
	return raws, nil
}

// claimSeen claims messages of a list as long as they are still next there.
func (b *Broker) claimSeen(ctx context.Context, l list, raws [][]byte) ([]worker.Delivery, error) {
	keys := append([]any{b.keys.unacked, b.keys.index, b.keys.owner(b.owner), l.key}, b.before(b.ahead)...)
	args := []any{b.epoch.Load(), b.claimPrefix(), b.number, entryEnd(l.queue)}
	for _, raw := range raws {
		args = append(args, raw)
	}
	first := b.number
	b.number += int64(len(raws)) // whatever comes back: a name is never given twice
	counts, err := redigo.Ints(b.script(ctx, b.scripts.claimSeen, len(keys), append(keys, args...)...))
	if err != nil {
		b.claimFailed(err)
		return nil, err
	}
	if len(counts) != 2 || counts[0] < 0 || counts[1] > 0 && counts[0]+counts[1] > len(raws) {
		b.suspect = true
		return nil, errors.Join(errNotUnderstood, fmt.Errorf("%v of %d messages", counts, len(raws)))
	}
	gone, n := counts[0], max(0, counts[1])
	if n == 0 {
		return nil, nil
	}
	ds, size := make([]worker.Delivery, n), 0
	for i := range ds {
		ds[i] = worker.Delivery{Claim: b.claimName(first + int64(i)), Queue: l.queue, Raw: raws[gone+i]}
		size += len(ds[i].Raw)
	}
	b.aheadSize = size / n
	b.choice.took(l.queue)
	b.holds(ds)
	return ds, nil
}

// before returns the keys of the lists that something may have to be taken from
// before or between the messages of list number i: those of earlier steps, and in the
// same one those of other queues, or of earlier queues where these have an order.
// Queues with weights take turns whatever their steps.
func (b *Broker) before(i int) (keys []any) {
	for j, l := range b.lists {
		step, own := j/len(b.choice.queues), i/len(b.choice.queues)
		other := l.queue != b.lists[i].queue
		if b.choice.way == "order" {
			other = other && j < i
		}
		if step < own || other && (step == own || b.choice.way == "weights") {
			keys = append(keys, l.key)
		}
	}
	return keys
}

// entryEnd is what an entry of unacked has behind its message. The exchange is always
// the anonymous one, so that it goes back to where it came from.
func entryEnd(queue string) []byte {
	return bytes.TrimPrefix(protocol.EncodeEntry(protocol.Entry{RoutingKey: queue}), []byte("["))
}

// expect remembers the list that a claim was filled from, as the next one will
// probably be.
func (b *Broker) expect(c claimed, max int) {
	b.ahead = -1
	size := 0
	for i, d := range c.deliveries {
		if size += len(d.Raw); size > aheadBytes || c.lists[i] != c.lists[0] {
			return
		}
	}
	if n := len(c.deliveries); n > 0 && n == max {
		b.ahead, b.aheadSize = c.lists[0]-1, size/n
	}
}
