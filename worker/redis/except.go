package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/sweep"
)

// Messages of held tasks stay in their lists. The claimer reads a list in parts, finds the
// other messages with the complete parser, and has pick.lua move exactly these. Redis searches
// a message from one end of its list, which takes longer the deeper it is. So deep messages
// are moved one at a time, with long pauses, and very deep ones stay.

const (
	// lookTime bounds the time of one ClaimExcept in lists that were not seen as a whole.
	lookTime = 150 * time.Millisecond
	// nearDepth is how deep messages are searched without long pauses, all of a script
	// together. 5,000 messages of 1.2 KB take Redis 1 ms, 20,000 take 3 ms.
	nearDepth = 10_000
	// mostDepth is how deep messages are searched at all: 18 ms.
	mostDepth = 100_000
	// reachFurther is how much deeper a message is searched than it was seen, because others
	// put messages to the same end meanwhile.
	reachFurther = 250
	// deepShare is the share of its time that Redis spends with searches beyond nearDepth.
	deepShare = 100
)

// selection is the progress of looking for the messages of tasks that are not held.
type selection struct {
	names     []string // held ones
	lists     map[string]*sweep.Sweep
	deepAfter time.Time // no search beyond nearDepth before
	restUntil time.Time // no search at all before
	left      bool      // the last look has left a message until deepAfter
}

// of returns the progress in a list.
func (s *selection) of(key string) *sweep.Sweep {
	if s.lists[key] == nil {
		s.lists[key] = &sweep.Sweep{}
	}
	return s.lists[key]
}

// wanted is a message to be claimed, and its place in the list.
type wanted struct {
	raw, completed []byte
	msg            *protocol.Message
	place          int
}

// claimExcept claims messages of tasks that are not among names.
func (cl *claimer) claimExcept(ctx context.Context, names []string, max int) ([]broker.Delivery, error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if err := cl.prepare(ctx); err != nil {
		return nil, err
	}
	if !slices.Equal(cl.selection.names, names) {
		cl.selection = selection{names: slices.Clone(names), lists: map[string]*sweep.Sweep{}, deepAfter: cl.selection.deepAfter}
	}
	if rest := time.Until(cl.selection.restUntil); rest > 0 {
		_ = backoff.Sleep(ctx, min(rest, lookTime)) // ctx bounds the claim that follows
	}
	cl.ahead = ahead{list: -1}
	lengths, err := cl.lengths(ctx, cl.lists)
	if err != nil {
		return nil, fmt.Errorf("look for queues with messages: %w", err)
	}
	until := time.Now().Add(lookTime)
	var ds []broker.Delivery
	for i, l := range cl.lists {
		if lengths[i] == 0 {
			delete(cl.selection.lists, l.key)
			continue
		}
		more, err := cl.claimAround(ctx, l, lengths[i], max-len(ds), until)
		ds = append(ds, more...)
		if err != nil && len(ds) == 0 {
			return nil, fmt.Errorf("claim messages: %w", err)
		}
		if err != nil || len(ds) >= max {
			break
		}
	}
	return ds, nil
}

// lengths returns the numbers of messages in lists. A key of another type has none.
func (cl *claimer) lengths(ctx context.Context, lists []list) (lengths []int, err error) {
	err = cl.do(ctx, func(c redigo.Conn) error {
		lengths = lengths[:0]
		for chunk := range slices.Chunk(lists, manyLists) {
			for _, l := range chunk {
				if err := c.Send("LLEN", l.key); err != nil {
					return err
				}
			}
			replies, err := redigo.Values(c.Do(""))
			if err != nil {
				return err
			}
			for _, r := range replies {
				n, err := redigo.Int(r, nil)
				if err != nil && !conn.IsWrongType(err) {
					return err // such as LOADING: the length is not known
				}
				lengths = append(lengths, n)
			}
		}
		return nil
	})
	return lengths, err
}

// claimAround claims up to max messages of one list with n messages: first at its ends, then
// between them, until a time or until the whole list was seen once.
func (cl *claimer) claimAround(ctx context.Context, l list, n, max int, until time.Time) (ds []broker.Delivery, err error) {
	s := cl.selection.of(l.key)
	for _, span := range s.Ends(n) {
		span.First = min(span.First, n-len(ds)-span.Count)
		more, err := cl.claimSpan(ctx, l, s, span, n-len(ds), max-len(ds))
		if ds = append(ds, more...); err != nil || len(ds) >= max {
			return ds, err
		}
	}
	n -= len(ds)
	for first := true; len(ds) == 0 && (first || !s.Whole && time.Now().Before(until)); first = false {
		span, ok := s.Next(n)
		if !ok {
			break
		}
		began := time.Now()
		cl.selection.left = false
		ds, err = cl.claimSpan(ctx, l, s, span, n, max)
		if err != nil {
			return ds, err
		}
		if s.Whole && cl.selection.left {
			return ds, nil // the next look is at the same place
		}
		s.Saw(span, n, len(ds))
		if !s.Whole {
			_ = backoff.Sleep(ctx, time.Since(began)) // half of the time is for others
		}
		if ctx.Err() != nil {
			return ds, nil
		}
	}
	return ds, nil
}

// claimSpan claims messages of a part of a list with n messages.
func (cl *claimer) claimSpan(ctx context.Context, l list, s *sweep.Sweep, span sweep.Span, n, max int) ([]broker.Delivery, error) {
	var raws [][]byte
	err := cl.do(ctx, func(c redigo.Conn) (err error) {
		raws, err = redigo.ByteSlices(redigo.DoContext(c, ctx, "LRANGE", l.key, -span.End(), -span.First-1))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at messages: %w", err)
	}
	slices.Reverse(raws) // the last one is next
	bytes := 0
	var found []wanted
	for i, raw := range raws {
		bytes += len(raw)
		if w, ok := cl.wants(l, raw); ok {
			w.place = span.First + i
			found = append(found, w)
		}
	}
	s.Sized(len(raws), bytes)
	return cl.pick(ctx, l, found, n, max)
}

// wants reports whether a message is readable and its task is not held.
func (cl *claimer) wants(l list, raw []byte) (w wanted, ok bool) {
	if len(raw) > cl.cfg.MaxMessageSize {
		return w, false
	}
	held := func(task string) bool { return slices.Contains(cl.selection.names, task) }
	env, err := protocol.ParseEnvelope(raw)
	if err != nil || env.Task != "" && held(env.Task) {
		return w, false
	}
	w.raw = raw
	decoder := cl.consumer.decoder()
	var restorable bool
	if w.msg, restorable = decoder.DecodeRestorable(raw); !restorable {
		decoder.Limits.Size = cl.cfg.MaxMessageSize
		if w.completed = cl.completedIn(&decoder, raw, l.queue); w.completed == nil {
			return w, false
		}
		w.msg, _ = decoder.Decode(w.completed)
	}
	return w, w.msg == nil || !held(w.msg.Task)
}

// pick claims up to most messages of a list with n messages, as far as they may be searched
// for now.
func (cl *claimer) pick(ctx context.Context, l list, found []wanted, n, most int) (ds []broker.Delivery, err error) {
	sel := &cl.selection
	for len(found) > 0 && len(ds) < most {
		count, depth := together(found[:min(len(found), most-len(ds))], n)
		deep := depth > nearDepth
		if depth > mostDepth || deep && time.Now().Before(sel.deepAfter) {
			sel.left = sel.left || depth <= mostDepth
			found = found[count:]
			continue
		}
		began := time.Now()
		more, err := cl.pickNow(ctx, l, found[:count], n)
		took := time.Since(began)
		if deep {
			sel.deepAfter = time.Now().Add(deepShare * took)
		} else if depth > nearDepth/10 {
			sel.restUntil = time.Now().Add(2 * took)
		}
		if ds = append(ds, more...); err != nil {
			return ds, err
		}
		found, n = found[count:], n-len(more)
		for i := range found {
			found[i].place = max(0, found[i].place-len(more))
		}
	}
	return ds, nil
}

// together returns how many of the messages one script may search for, at least one, and how
// deep they are in all. They are searched from the same end of their list, which has n
// messages.
func together(found []wanted, n int) (count, depth int) {
	fromOldest := found[0].place <= n/2
	for _, w := range found {
		d := min(w.place, n-1-w.place)
		if (w.place <= n/2) != fromOldest || count > 0 && depth+d > nearDepth {
			break
		}
		depth += d
		count++
	}
	return count, depth
}

// pickNow runs pick.lua for messages of a list with n messages.
func (cl *claimer) pickNow(ctx context.Context, l list, found []wanted, n int) ([]broker.Delivery, error) {
	keys, args := cl.pickCall(l, found, n)
	first := cl.number
	cl.number += int64(len(found)) // also without a reply: a claim is never used twice
	earlier, err := redigo.Ints(cl.script(ctx, cl.scripts.Pick, len(keys), append(keys, args...)...))
	if err == nil && len(earlier) != len(found) {
		err = errors.Join(errNotUnderstood, fmt.Errorf("%v of %d messages", earlier, len(found)))
	}
	if err != nil {
		cl.noteFailure(err)
		return nil, err
	}
	var ds []broker.Delivery
	for i, w := range found {
		if earlier[i] < 0 {
			continue // taken by another worker
		}
		d := broker.Delivery{Claim: cl.consumer.claimName(first + int64(i)), Queue: l.queue, Raw: w.raw, Message: w.msg, Crashes: earlier[i]}
		if w.completed != nil {
			d.Raw = w.completed
		}
		ds = append(ds, d)
	}
	if len(ds) > 0 {
		cl.choice.Took(l.queue)
		cl.held.add(ds)
	}
	return ds, nil
}

// pickCall returns the keys and arguments of pick.lua. TestArguments compares their order.
func (cl *claimer) pickCall(l list, found []wanted, n int) (keys, args []any) {
	from, reach := 1, 0
	if found[0].place <= n/2 {
		from = -1
	}
	for _, w := range found {
		reach = max(reach, min(w.place, n-1-w.place)+reachFurther)
	}
	tail := protocol.EncodeEntry(protocol.Entry{RoutingKey: l.queue})[1:]
	args = []any{cl.consumer.epoch.Load(), cl.consumer.claimPrefix(), cl.number, from, reach, tail}
	for _, w := range found {
		crashes := ""
		if deliveredBefore(w.raw, w.msg) {
			if env, err := protocol.ParseEnvelope(w.raw); err == nil && env.Redelivered {
				crashes = cl.keys.crashes(env)
			}
		}
		args = append(args, w.raw, w.completed, crashes)
	}
	return []any{cl.keys.unacked, cl.keys.index, cl.keys.owner(cl.consumer.id), l.key}, args
}
