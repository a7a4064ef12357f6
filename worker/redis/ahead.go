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
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/order"
)

// Most backlogs are long runs of readable messages in one list. The claimer reads the head
// of such a list, decodes it with the complete parser, and claims it by claimseen.lua. That
// script only checks that the messages are still the same. A script blocks all clients, and
// one that parses messages takes ten times as long.

const (
	// lookBytes bounds the messages that are read before they are claimed. They cross the
	// network twice.
	lookBytes = 2 << 20
	// lookUnpacked bounds their unpacked bodies.
	lookUnpacked = 8 << 20
	// entriesKept bounds the reused memory for entries, in bytes.
	entriesKept = 512 << 10
	// lookLife is how long other workers have probably not taken them.
	lookLife = 100 * time.Millisecond
)

// ahead caches the head of the list that filled the last claim.
type ahead struct {
	list  int // number of the list; -1: none
	size  int // bytes of a large message there, as far as known
	raws  [][]byte
	seen  []seen    // the decoded prefix of raws; nil: not decoded yet
	at    time.Time // when raws were read
	more  bool      // more messages may follow
	alone bool      // no other worker took messages of the last look
}

// seen is a decoded message. msg is nil when it is no task.
type seen struct {
	raw []byte
	msg *protocol.Message
}

// rivals counts looks at messages that other workers had taken before the claim.
type rivals struct {
	left, last int // claims to make without a look, and their number last time
}

// rivalsMost bounds these claims, because the other workers may have stopped.
const rivalsMost = 64

// beaten notes that all messages of a look were taken. The number of claims without a look
// doubles.
func (r *rivals) beaten() {
	r.last = min(max(2*r.last, 4), rivalsMost)
	r.left = r.last
}

// reset notes that no message of a look was taken.
func (r *rivals) reset() { *r = rivals{} }

// skip reports whether the next claim goes without a look.
func (r *rivals) skip() bool {
	if r.left == 0 {
		return false
	}
	r.left--
	return true
}

// claimAhead claims up to max messages of the list that filled the last claim. When it
// claims none, claim.lua must; verdicts are the messages that it need not judge.
func (cl *claimer) claimAhead(ctx context.Context, max int) (ds []broker.Delivery, verdicts []any, err error) {
	a := &cl.ahead
	if a.list < 0 {
		return nil, nil, nil
	}
	list := cl.lists[a.list]
	max = min(max, mostOf(a.size))
	raws, decoded := a.raws, a.seen
	a.raws, a.seen = nil, nil
	if len(raws) == 0 || len(raws) < max && a.more || time.Since(a.at) > cl.patience.look {
		err := cl.do(ctx, func(c redigo.Conn) (err error) {
			raws, err = redigo.ByteSlices(redigo.DoContext(c, ctx, "LRANGE", list.key, -max, -1))
			return err
		})
		if err != nil {
			a.list = -1
			return nil, nil, fmt.Errorf("look at messages: %w", err)
		}
		slices.Reverse(raws) // the last one is next
		decoded = nil
	}
	if decoded == nil {
		decoded = cl.decodePrefix(withinBytes(raws[:min(max, len(raws))], lookBytes))
	}
	decoded = decoded[:min(max, len(decoded))]
	if fresh := firstDeliveries(decoded); len(fresh) > 0 {
		if ds, err = cl.claimSeen(ctx, list, fresh, max); err != nil {
			a.list = -1
			return nil, nil, fmt.Errorf("claim messages: %w", err)
		}
	}
	if len(ds) > 0 {
		return ds, nil, nil
	}
	a.list = -1
	for _, s := range decoded {
		verdicts = append(verdicts, s.raw, "", "")
	}
	return nil, verdicts, nil
}

// mostOf returns how many messages of a size are read together, at least one.
func mostOf(size int) int { return max(1, lookBytes/max(size, 1)) }

// firstDeliveries returns the messages before the first one that was delivered before. Of
// such a message claim.lua returns how often.
func firstDeliveries(messages []seen) []seen {
	if i := slices.IndexFunc(messages, func(s seen) bool { return deliveredBefore(s.raw, s.msg) }); i >= 0 {
		return messages[:i]
	}
	return messages
}

// decodePrefix decodes messages up to the first one that cannot be restored.
func (cl *claimer) decodePrefix(raws [][]byte) []seen {
	decoded, size := make([]seen, 0, len(raws)), 0
	decoder := cl.consumer.decoder()
	for _, raw := range raws {
		if len(raw) > cl.cfg.MaxMessageSize || size > lookUnpacked {
			break
		}
		m, restorable := decoder.DecodeRestorable(raw)
		if !restorable {
			break
		}
		decoded = append(decoded, seen{raw, m})
		if m != nil {
			size += m.Size()
		}
	}
	return decoded
}

// claimSeen claims messages of a list while they are still the next ones. It also reads the
// max messages that follow, for the next claim.
func (cl *claimer) claimSeen(ctx context.Context, l list, messages []seen, max int) ([]broker.Delivery, error) {
	call := cl.seenCall(l, messages, max)
	var reply any
	var next [][]byte
	err := cl.do(ctx, func(c redigo.Conn) (err error) {
		script := cl.scripts.ClaimSeen()
		if err := errors.Join(call.send(c, script, call.entries), c.Flush()); err != nil {
			return err
		}
		if reply, next, err = call.receive(c); conn.HasCode(err, "NOSCRIPT") {
			next = nil
			reply, err = script.Do(c, call.first(call.entries)...)
		}
		return err
	})
	return cl.readSeen(l, messages, call.look, reply, next, err)
}

// seenCall is a call of claimseen.lua, and the look that follows it.
type seenCall struct {
	keys, args []any // args end with the entries
	entries    int
	list       string
	look       int // number of messages to read
}

// seenCall returns the call of claimseen.lua for messages. TestArguments compares the order
// of its arguments.
func (cl *claimer) seenCall(l list, messages []seen, look int) seenCall {
	c := seenCall{entries: len(messages), list: l.key, look: look}
	c.keys = append([]any{cl.keys.unacked, cl.keys.index, cl.keys.owner(cl.consumer.id), l.key}, cl.before(cl.ahead.list)...)
	c.args = cl.appendEntries([]any{cl.consumer.epoch.Load(), cl.consumer.claimPrefix(), cl.number}, l.queue, messages)
	if !cl.ahead.alone {
		c.look = 0
	}
	return c
}

// first returns the arguments of the script for the first n messages.
func (c *seenCall) first(n int) []any {
	return slices.Concat([]any{len(c.keys)}, c.keys, c.args[:len(c.args)-c.entries+n])
}

// send calls the script for the first n messages, and looks.
func (c *seenCall) send(rc redigo.Conn, s *redigo.Script, n int) error {
	err := s.SendHash(rc, c.first(n)...)
	if c.look > 0 {
		err = errors.Join(err, rc.Send("LRANGE", c.list, -c.look, -1))
	}
	return err
}

// receive receives the replies to send. A look that fails is no fault; next is then nil.
func (c *seenCall) receive(rc redigo.Conn) (reply any, next [][]byte, err error) {
	reply, err = rc.Receive()
	if c.look == 0 || rc.Err() != nil {
		return reply, nil, err
	}
	if seen, blind := redigo.ByteSlices(rc.Receive()); blind == nil {
		next = seen
		slices.Reverse(next) // the last one is next
	}
	return reply, next, err
}

// readSeen reads the reply to a seenCall for messages.
func (cl *claimer) readSeen(l list, messages []seen, look int, reply any, next [][]byte, err error) ([]broker.Delivery, error) {
	if cap(cl.entries) > entriesKept {
		cl.entries = nil
	}
	first := cl.number
	cl.number += int64(len(messages)) // whatever the reply is: a claim is never used twice
	counts, err := redigo.Ints(reply, err)
	if err != nil {
		cl.noteFailure(err)
		return nil, err
	}
	if len(counts) != 2 || counts[0] < 0 || counts[1] > 0 && counts[0]+counts[1] > len(messages) {
		cl.suspect = true
		return nil, errors.Join(errNotUnderstood, fmt.Errorf("%v of %d messages", counts, len(messages)))
	}
	gone, n := counts[0], min(counts[1], len(messages))
	switch {
	case n == 0:
		cl.rivals.beaten()
	case n > 0 && gone == 0:
		cl.rivals.reset()
	}
	if n <= 0 {
		return nil, nil
	}
	ds := make([]broker.Delivery, n)
	for i := range ds {
		ds[i] = broker.Delivery{
			Claim: cl.consumer.claimName(first + int64(i)), Queue: l.queue, Raw: messages[gone+i].raw, Message: messages[gone+i].msg,
		}
	}
	cl.choice.Took(l.queue)
	cl.held.add(ds)
	cl.ahead.more = len(next) == look
	cl.ahead.size, cl.ahead.raws, cl.ahead.seen, cl.ahead.at, cl.ahead.alone = largest(ds), withinBytes(next, lookBytes), nil, time.Now(), gone == 0
	if next != nil && len(next) == 0 {
		cl.ahead.list = -1 // the backlog is over
	}
	return ds, nil
}

// largest returns the size of the largest message, in bytes.
func largest(ds []broker.Delivery) (size int) {
	for _, d := range ds {
		size = max(size, len(d.Raw))
	}
	return size
}

// withinBytes returns the first messages that have so many bytes together. It does not keep
// the memory of the others.
func withinBytes(raws [][]byte, bytes int) [][]byte {
	for i, raw := range raws {
		if bytes -= len(raw); bytes < 0 {
			return slices.Clone(raws[:i])
		}
	}
	return raws
}

// before returns the keys of the lists that may have a message to be taken before or
// between the messages of list number i. These are the lists of earlier steps. They are
// also the lists of other queues in the same step, or of earlier queues where queues have
// an order. With weights, queues take turns in every step.
func (cl *claimer) before(i int) (keys []any) {
	queues := len(cl.choice.Queues())
	for j, l := range cl.lists {
		step, own := j/queues, i/queues
		other := l.queue != cl.lists[i].queue
		if cl.choice.Way() == order.Fixed {
			other = other && j < i
		}
		if step < own || other && (step == own || cl.choice.Way() == order.Weights) {
			keys = append(keys, l.key)
		}
	}
	return keys
}

// appendEntries appends to args the number of bytes that an entry of unacked has beside its
// message, then the entries of messages, in reused memory. The exchange is always the
// anonymous one, so that messages go back to their queue.
func (cl *claimer) appendEntries(args []any, queue string, messages []seen) []any {
	cl.entries = protocol.AppendEntry(cl.entries[:0], protocol.Entry{RoutingKey: queue})
	beside := len(cl.entries)
	args = append(args, beside)
	cl.entries = cl.entries[:0]
	for _, m := range messages {
		n := len(cl.entries)
		cl.entries = protocol.AppendEntry(cl.entries, protocol.Entry{Raw: m.raw, RoutingKey: queue})
		args = append(args, cl.entries[n:])
	}
	return args
}

// expect remembers the list that filled a claim, because it will probably fill the next.
func (cl *claimer) expect(c claimed, max int) {
	cl.ahead = ahead{list: -1}
	bytes := 0
	for i, d := range c.deliveries {
		if bytes += len(d.Raw); c.lists[i] != c.lists[0] {
			return
		}
	}
	size := largest(c.deliveries)
	if n := len(c.deliveries); n > 0 && (n == max || bytes >= claimBytes) && size <= lookBytes && !cl.rivals.skip() {
		cl.ahead = ahead{list: c.lists[0] - 1, size: size, alone: true}
	}
}
