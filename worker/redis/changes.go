package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

const (
	// chordClaim is the life, in seconds, of a claim on a chord that is complete. It
	// covers the step to its body, which is refused when the claim is gone. It must
	// be over when a member of a worker that died is delivered again by the
	// visibility timeout: a Python worker would leave the body to the dead one.
	chordClaim = 3
	// doneMark is the life of the mark that the body was published, as long as
	// Celery 5.7 keeps it.
	doneMark = 300
)

// operations are the variable part of the arguments of carry.lua.
type operations struct {
	args  []any
	parts []canvas.ChordPart // members, in the order of their operations
}

func (o *operations) add(args ...any) { o.args = append(o.args, args...) }

// chordBase begins the keys of a chord.
func (k keys) chordBase(group string) string { return k.results + "celery-taskset-meta-" + group }

// encoded is a result as scripts take it; success is "1" for a SUCCESS, else "0".
func encoded(r *protocol.Result) (value []byte, success string, err error) {
	if value, err = protocol.EncodeResult(r); err != nil {
		return nil, "", fmt.Errorf("encode state %s: %w", r.Status, err)
	}
	if r.Status == protocol.StateSuccess {
		return value, "1", nil
	}
	return value, "0", nil
}

// own adds the result of the delivery itself.
func (b *Broker) own(o *operations, r *protocol.Result) error {
	value, success, err := encoded(r)
	if err != nil {
		return err
	}
	o.add("own", b.keys.result(r.TaskID), value, b.resultExpires(), success)
	return nil
}

// changes adds everything in the order in which it has to happen. What is on its
// way to nowhere is an error, or with bury set a dead letter: a task that has
// ended does not end again because of it.
func (b *Broker) changes(ctx context.Context, o *operations, c broker.Changes, bury bool) error {
	expires := b.resultExpires()
	for _, s := range c.Sizes {
		o.add("size", b.keys.chordBase(s.GroupID), s.Size, expires)
	}
	for _, g := range c.Groups {
		o.add("set", b.keys.chordBase(g.GroupID), []byte(g.Value), expires)
	}
	for _, j := range c.Joins {
		o.add("join", b.keys.chordBase(j.GroupID), j.Members, expires)
	}
	for _, r := range c.Results {
		value, err := protocol.EncodeResult(r)
		if err != nil {
			return fmt.Errorf("encode state %s: %w", r.Status, err)
		}
		o.add("store", b.keys.result(r.TaskID), value, expires)
	}
	for _, p := range c.Members {
		unless := ""
		if p.UnlessFailed {
			unless = b.keys.result(p.Entry.TaskID)
		}
		if p.Entry.Size > 0 {
			o.add("sized", b.keys.chordBase(p.Entry.GroupID), p.Entry.Size, expires)
		}
		o.add("member", b.keys.chordBase(p.Entry.GroupID), p.Entry.Score, []byte(p.Entry.JSON), p.Entry.TaskID, expires, unless)
		o.parts = append(o.parts, p)
	}
	for _, p := range c.Publish {
		lists, err := b.destinations(ctx, p)
		if nowhere, ok := errors.AsType[*broker.RouteError](err); ok && bury {
			b.log.Error("message has nowhere to go and is set aside in the dead letters", "error", nowhere)
			o.add("bury", p.Raw, meta(p.RoutingKey, nowhere.Error()))
			continue
		}
		if err != nil {
			return err
		}
		for _, l := range lists {
			o.add("push", l, p.Raw)
		}
	}
	return nil
}

// destinations returns the lists that a publication goes to.
func (b *Broker) destinations(ctx context.Context, p broker.Publication) ([]string, error) {
	queues := []string{p.Queue}
	if p.Queue == "" {
		var err error
		if queues, err = b.bound(ctx, p.Exchange, p.RoutingKey); err != nil && !wrongType(err) {
			return nil, err
		}
		if len(queues) == 0 {
			// Celery would drop it without a word.
			return nil, &broker.RouteError{Exchange: p.Exchange, RoutingKey: p.RoutingKey}
		}
	}
	lists := make([]string, len(queues))
	for i, q := range queues {
		if fault := b.QueueFault(q); fault != "" {
			return nil, &broker.RouteError{Queue: q, Fault: fault}
		}
		lists[i] = b.listKey(q, p.Priority)
	}
	return lists, nil
}

// carryKeys are the keys of carry.lua; step names what must not happen twice.
func (b *Broker) carryKeys(step, crashes, requeueList string) []any {
	return []any{
		b.keys.unacked, b.keys.index, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex,
		b.keys.step(step), b.orNone(crashes), b.orNone(requeueList),
	}
}

func (b *Broker) orderedChords() string {
	if b.cfg.ChordUnordered {
		return "0"
	}
	return "1"
}

// chordRow is what carry.lua says of a chord that is in the way.
type chordRow struct {
	base    string
	member  int // number of the part, from 1
	state   string
	saved   []byte
	entries [][]byte
}

// settled reads the answer of carry.lua.
func (b *Broker) settled(ctx context.Context, rows []chordRow, parts []canvas.ChordPart) (broker.Settled, error) {
	var s broker.Settled
	for _, row := range rows {
		if row.member < 1 || row.member > len(parts) {
			return s, fmt.Errorf("settle a delivery: the script names member %d of %d", row.member, len(parts))
		}
		part := parts[row.member-1]
		if row.state == "busy" {
			s.Busy = append(s.Busy, part)
			continue
		}
		c := broker.CompleteChord{Part: part}
		for _, e := range row.entries {
			c.Joined.Members = append(c.Joined.Members, protocol.Raw(e))
		}
		if len(row.saved) > 0 {
			c.Joined.Saved = protocol.Raw(row.saved)
			// What cannot be read is reported when the chord is joined.
			if ids, err := canvas.SavedIDs(c.Joined.Saved); err == nil {
				results, err := b.Results(ctx, ids)
				if err != nil {
					return s, err
				}
				c.Joined.Results = make(map[string]*protocol.Result, len(ids))
				for i, id := range ids {
					c.Joined.Results[id] = results[i]
				}
			}
		}
		s.Complete = append(s.Complete, c)
	}
	return s, nil
}

// simple reports whether settle.lua can do it, which most tasks need no more
// than.
func (b *Broker) simple(s *broker.Settlement) bool {
	c := &s.Changes
	if s.Delivery.Claim == "" && (len(c.Publish) > 0 || s.DeadLetter != "") {
		return false // no claim keeps it from happening twice
	}
	return s.Step == 0 && len(s.Bodies) == 0 && len(c.Sizes)+len(c.Groups)+len(c.Joins)+len(c.Results)+len(c.Members) == 0 &&
		len(c.Publish) <= 1 && !slices.ContainsFunc(c.Publish, func(p broker.Publication) bool {
		return p.Queue == "" || b.QueueFault(p.Queue) != ""
	})
}
