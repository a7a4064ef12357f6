package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Most backlogs are long rows of good messages in one list. Such a row is read first,
// looked at here with a complete parser, and then claimed by a script that has nothing
// to do but to make sure that it is still the same: scripts hold up everybody, and one
// that reads messages takes ten times as long.

const (
	// aheadBytes bounds the messages that are looked at before they are claimed: they
	// come over the network twice.
	aheadBytes = 2 << 20
	// aheadUnpacked bounds their bodies, unpacked.
	aheadUnpacked = 8 << 20
	// entriesKept bounds the memory for entries that is used again, in bytes.
	entriesKept = 512 << 10
	// aheadLife is how long it is likely that nobody else has taken them.
	aheadLife = 100 * time.Millisecond
)

// ahead is where the next claim will probably find its messages, and these as far as
// they came along with the last claim.
type ahead struct {
	list  int // number of the list; -1: none
	size  int // bytes of a large message there, as far as known
	raws  [][]byte
	seen  []seen    // raws as far as they are good; nil: not looked at yet
	at    time.Time // when they were read
	more  bool      // there may be more behind them
	alone bool      // nobody has taken messages of the last look before us
}

// rivals are other workers that were quicker: what one looks at they have taken by the
// time that it is claimed.
type rivals struct {
	left, last int // claims to be made without a look, and how many these were
}

// rivalsMost bounds them, since the rivals may be gone.
const rivalsMost = 64

// met notes that all that was looked at is gone: now twice as many claims go without.
func (r *rivals) met() {
	r.last = min(max(2*r.last, 4), rivalsMost)
	r.left = r.last
}

// none notes that nothing was gone.
func (r *rivals) none() { *r = rivals{} }

// near reports whether the next claim goes without a look.
func (r *rivals) near() bool {
	if r.left == 0 {
		return false
	}
	r.left--
	return true
}

// claimAhead claims up to max messages of the list that the last claim was filled
// from. When it claims none, claim.lua has to, and the verdicts are what it can be
// told of the messages.
func (b *Broker) claimAhead(ctx context.Context, max int) (ds []broker.Delivery, verdicts []any, err error) {
	a := &b.ahead
	if a.list < 0 {
		return nil, nil, nil
	}
	list := b.lists[a.list]
	max = min(max, mostOf(a.size))
	raws, good := a.raws, a.seen
	a.raws, a.seen = nil, nil
	if len(raws) == 0 || len(raws) < max && a.more || time.Since(a.at) > aheadLife {
		err := b.do(ctx, func(c redigo.Conn) (err error) {
			raws, err = redigo.ByteSlices(redigo.DoContext(c, ctx, "LRANGE", list.key, -max, -1))
			return err
		})
		if err != nil {
			a.list = -1
			return nil, nil, fmt.Errorf("look at messages: %w", err)
		}
		slices.Reverse(raws) // the last one is the next
		good = nil
	}
	if good == nil {
		good = b.good(within(raws[:min(max, len(raws))], aheadBytes))
	}
	good = good[:min(max, len(good))]
	if fresh := freshOnes(good); len(fresh) > 0 {
		if ds, err = b.claimSeen(ctx, list, fresh, max); err != nil {
			a.list = -1
			return nil, nil, fmt.Errorf("claim messages: %w", err)
		}
	}
	if len(ds) > 0 {
		return ds, nil, nil
	}
	a.list = -1
	for _, s := range good {
		verdicts = append(verdicts, s.raw, "", "")
	}
	return nil, verdicts, nil
}

// seen is a message that was looked at; msg is nil when it is no task.
type seen struct {
	raw []byte
	msg *protocol.Message
}

// mostOf is how many messages of a size are looked at together, one at least.
func mostOf(size int) int { return max(1, aheadBytes/max(size, 1)) }

// freshOnes returns the first messages as far as they were not delivered before. Of
// others claim.lua tells how often.
func freshOnes(messages []seen) []seen {
	if i := slices.IndexFunc(messages, func(s seen) bool { return deliveredBefore(s.raw, s.msg) }); i >= 0 {
		return messages[:i]
	}
	return messages
}

// good returns the first messages as far as they are good.
func (b *Broker) good(raws [][]byte) []seen {
	good, size := make([]seen, 0, len(raws)), 0
	for _, raw := range raws {
		if len(raw) > b.cfg.MaxMessageSize || size > aheadUnpacked {
			break
		}
		m, restorable := b.session.Decoder.DecodeRestorable(raw)
		if !restorable {
			break
		}
		good = append(good, seen{raw, m})
		if m != nil {
			size += m.Size()
		}
	}
	return good
}

// claimSeen claims messages of a list as long as they are still next there, and looks
// at the max that follow, for the next claim.
func (b *Broker) claimSeen(ctx context.Context, l list, messages []seen, max int) ([]broker.Delivery, error) {
	c := b.seenCall(l, messages, max)
	reply, next, err := b.scriptAndLook(ctx, b.scripts.claimSeen(), c)
	return b.seenClaimed(l, messages, c.look, reply, next, err)
}

// seenCall is a call of claimseen.lua, and the look that follows it.
type seenCall struct {
	keys, args []any // the last of args are entries
	entries    int
	list       string
	look       int // how many of those that are next then
}

func (b *Broker) seenCall(l list, messages []seen, look int) seenCall {
	c := seenCall{entries: len(messages), list: l.key, look: look}
	c.keys = append([]any{b.keys.unacked, b.keys.index, b.keys.owner(b.owner), l.key}, b.before(b.ahead.list)...)
	c.args = b.asEntries([]any{b.epoch.Load(), b.claimPrefix(), b.number}, l.queue, messages)
	if !b.ahead.alone {
		c.look = 0
	}
	return c
}

// first is what the script takes of the call for the first n messages.
func (c *seenCall) first(n int) []any {
	return slices.Concat([]any{len(c.keys)}, c.keys, c.args[:len(c.args)-c.entries+n])
}

// seenClaimed takes the answer to a seenCall for messages in.
func (b *Broker) seenClaimed(l list, messages []seen, look int, reply any, next [][]byte, err error) ([]broker.Delivery, error) {
	if cap(b.entered) > entriesKept {
		b.entered = nil
	}
	first := b.number
	b.number += int64(len(messages)) // whatever comes back: a name is never given twice
	counts, err := redigo.Ints(reply, err)
	if err != nil {
		b.claimFailed(err)
		return nil, err
	}
	if len(counts) != 2 || counts[0] < 0 || counts[1] > 0 && counts[0]+counts[1] > len(messages) {
		b.suspect = true
		return nil, errors.Join(errNotUnderstood, fmt.Errorf("%v of %d messages", counts, len(messages)))
	}
	gone, n := counts[0], min(counts[1], len(messages))
	switch {
	case n == 0:
		b.rivals.met()
	case n > 0 && gone == 0:
		b.rivals.none()
	}
	if n <= 0 {
		return nil, nil
	}
	ds := make([]broker.Delivery, n)
	for i := range ds {
		ds[i] = broker.Delivery{Claim: b.claimName(first + int64(i)), Queue: l.queue, Raw: messages[gone+i].raw, Message: messages[gone+i].msg}
	}
	b.choice.took(l.queue)
	b.holds(ds)
	b.ahead.more = len(next) == look
	b.ahead.size, b.ahead.raws, b.ahead.seen, b.ahead.at, b.ahead.alone = largest(ds), within(next, aheadBytes), nil, time.Now(), gone == 0
	if next != nil && len(next) == 0 {
		b.ahead.list = -1 // the backlog is over
	}
	return ds, nil
}

// largest is the size of the largest message, in bytes.
func largest(ds []broker.Delivery) (size int) {
	for _, d := range ds {
		size = max(size, len(d.Raw))
	}
	return size
}

// within returns the first messages that have so many bytes together, without the
// memory of the others.
func within(raws [][]byte, bytes int) [][]byte {
	for i, raw := range raws {
		if bytes -= len(raw); bytes < 0 {
			return slices.Clone(raws[:i])
		}
	}
	return raws
}

// scriptAndLook makes a call and looks at the messages that are next then, in one round
// trip.
func (b *Broker) scriptAndLook(ctx context.Context, s *redigo.Script, call seenCall) (reply any, next [][]byte, err error) {
	err = b.do(ctx, func(c redigo.Conn) (err error) {
		if err := errors.Join(call.send(c, s, call.entries), c.Flush()); err != nil {
			return err
		}
		if reply, next, err = call.receive(c); hasCode(err, "NOSCRIPT") {
			next = nil
			reply, err = s.Do(c, call.first(call.entries)...)
		}
		return err
	})
	return reply, next, err
}

// send calls the script for the first n messages, and looks.
func (c *seenCall) send(conn redigo.Conn, s *redigo.Script, n int) error {
	err := s.SendHash(conn, c.first(n)...)
	if c.look > 0 {
		err = errors.Join(err, conn.Send("LRANGE", c.list, -c.look, -1))
	}
	return err
}

// receive takes the answers to send. What cannot be seen is no fault; next is nil then.
func (c *seenCall) receive(conn redigo.Conn) (reply any, next [][]byte, err error) {
	reply, err = conn.Receive()
	if c.look == 0 || conn.Err() != nil {
		return reply, nil, err
	}
	if seen, blind := redigo.ByteSlices(conn.Receive()); blind == nil {
		next = seen
		slices.Reverse(next) // the last one is the next
	}
	return reply, next, err
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

// asEntries appends to args how many bytes an entry of unacked has beside its message, and
// then the entries of messages, in memory that the next claim uses again. The exchange is
// always the anonymous one, so that they go back to where they came from.
func (b *Broker) asEntries(args []any, queue string, messages []seen) []any {
	b.entered = protocol.AppendEntry(b.entered[:0], protocol.Entry{RoutingKey: queue})
	beside := len(b.entered)
	args = append(args, beside)
	b.entered = b.entered[:0]
	for _, m := range messages {
		n := len(b.entered)
		b.entered = protocol.AppendEntry(b.entered, protocol.Entry{Raw: m.raw, RoutingKey: queue})
		args = append(args, b.entered[n:])
	}
	return args
}

// expect remembers the list that a claim was filled from, as the next one will
// probably be.
func (b *Broker) expect(c claimed, max int) {
	b.ahead = ahead{list: -1}
	bytes := 0
	for i, d := range c.deliveries {
		if bytes += len(d.Raw); c.lists[i] != c.lists[0] {
			return
		}
	}
	size := largest(c.deliveries)
	if n := len(c.deliveries); n > 0 && (n == max || bytes >= claimBytes) && size <= aheadBytes && !b.rivals.near() {
		b.ahead = ahead{list: c.lists[0] - 1, size: size, alone: true}
	}
}
