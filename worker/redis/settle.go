package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/batch"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/pubsub"
)

var errNotUnderstood = errors.New("reply of the script is not understood")

// settler starts and settles deliveries, and publishes messages.
type settler struct {
	*server
	held      *holdings
	results   *results
	announcer *pubsub.Announcer
	pipeline  *pipeline
	startOne  func(context.Context, starting) (int, error) // in a round trip with others
}

func newSettler(s *server, held *holdings, results *results, p *pipeline) *settler {
	se := &settler{server: s, held: held, results: results, pipeline: p, announcer: pubsub.NewAnnouncer(s.conns.Do, s.log)}
	se.startOne = batch.NewCaller(batch.CallConfig[starting, int]{
		Call: se.startAll,
		Size: func(s starting) int { return len(s.value) },
	}).Do
	return se
}

// way is the script that settles a delivery. The scripts do the same for what the cheaper
// ones can do; TestPairsOfScripts compares them.
type way int

const (
	byFinish way = iota // a result and the acknowledgement, for many deliveries
	bySettle            // and a publication, a requeue or a dead letter, for one
	byCarry             // everything
)

// wayOf returns the cheapest script that can carry out a settlement.
func (se *settler) wayOf(s *broker.Settlement) way {
	c := &s.Changes
	switch {
	// A message that was delivered before has a count of crashes to delete.
	case s.Plain() && !deliveredBefore(s.Delivery.Raw, s.Delivery.Message):
		return byFinish
	// Without a claim nothing keeps it from happening twice.
	case s.Delivery.Claim == "" && (len(c.Publish)+len(s.Entries) > 0 || s.DeadLetter != ""),
		s.Step != 0 || len(s.Bodies) != 0 || len(c.Sizes)+len(c.Groups)+len(c.Joins)+len(c.Results)+len(c.Members) != 0,
		len(c.Publish) > 1 || slices.ContainsFunc(c.Publish, func(p broker.Publication) bool {
			return p.Queue == "" || se.queueFault(p.Queue) != ""
		}):
		return byCarry
	}
	return bySettle
}

// settle ends a delivery in one atomic step.
func (se *settler) settle(ctx context.Context, s broker.Settlement) (broker.Settled, error) {
	switch se.wayOf(&s) {
	case byFinish:
		f, err := se.plain(&s)
		if err != nil {
			return broker.Settled{}, err
		}
		return broker.Settled{}, se.finish(ctx, []plain{f}, false)[0]
	case bySettle:
		return broker.Settled{}, se.settleOne(ctx, &s)
	}
	return se.settleByCarry(ctx, &s)
}

// disposal is where the message of a settlement goes, in the form of the scripts.
type disposal struct {
	crashes, requeueList string
	requeue              []byte
	deadRaw, deadMeta    []byte
	deadID               string
}

func (se *settler) disposal(s *broker.Settlement) disposal {
	var e disposal
	d := s.Delivery
	env, err := protocol.ParseEnvelope(d.Raw)
	if err == nil && (env.Redelivered || s.Requeue == broker.RequeueRedelivered) {
		e.crashes = se.keys.crashes(env)
	}
	if s.Requeue != broker.NoRequeue {
		e.requeueList, e.requeue = se.listKey(d.Queue, env.Priority), d.Raw
		if marked, err := protocol.MarkRedelivered(d.Raw); err == nil && s.Requeue == broker.RequeueRedelivered {
			e.requeue = marked
		}
	}
	if s.DeadLetter != "" {
		se.suspectKeys() // a letter whose keys have another type goes to the spare list
		e.deadID = cmp.Or(d.Claim, uuid.NewString())
		e.deadRaw, e.deadMeta = se.letters.SetAside(letterID(e.deadID), d.Queue, s.DeadLetter, d.Raw)
	}
	return e
}

// settleOne runs settle.lua.
func (se *settler) settleOne(ctx context.Context, s *broker.Settlement) error {
	f, err := se.plain(s)
	if err != nil {
		return err
	}
	keys, args := se.settleCall(s, f)
	n, err := se.scriptInt(ctx, se.scripts.Settle, len(keys), append(keys, args...)...)
	if err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	se.held.remove(f.claim)
	if n == 0 {
		return broker.ErrLost
	}
	return nil
}

// settleCall returns the keys and arguments of settle.lua. TestArguments compares their order.
func (se *settler) settleCall(s *broker.Settlement, f plain) (keys, args []any) {
	var publication []byte
	var publishList string
	for _, p := range s.Changes.Publish {
		publication, publishList = p.Raw, se.listKey(p.Queue, p.Priority)
	}
	e := se.disposal(s)
	keys = []any{
		se.keys.unacked, se.keys.index, se.orNone(f.key), se.orNone(e.requeueList),
		se.keys.dead, se.keys.deadMeta, se.keys.deadIndex, se.orNone(e.crashes),
	}
	args = []any{
		f.claim, f.value, se.resultExpires(), f.success, publishList, publication, e.requeue,
		e.deadRaw, e.deadMeta, e.deadID, se.cfg.DeadLettersMax, se.deadLettersAge(),
	}
	if f.records != nil {
		args = append(args, f.once)
		args = append(args, f.records...)
	}
	return keys, args
}

// settleByCarry runs carry.lua.
func (se *settler) settleByCarry(ctx context.Context, s *broker.Settlement) (broker.Settled, error) {
	var o operations
	if s.Result != nil { // first, because the script looks for it there
		if err := se.addOwn(&o, s.Result); err != nil {
			return broker.Settled{}, err
		}
	}
	if err := se.addChanges(ctx, &o, s.Changes, true); err != nil {
		return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
	}
	if isRecorded(s) {
		records := se.records(s)
		o.add("record", se.once(s), len(records))
		o.add(records...)
	}
	for _, body := range s.Bodies {
		o.add("body", se.keys.chordBase(body.GroupID), flag(body.Failed), doneMark)
		if err := se.addChanges(ctx, &o, body.Changes, true); err != nil {
			return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
		}
		o.add("end")
	}
	env, _ := protocol.ParseEnvelope(s.Delivery.Raw)
	call := carryCall{
		claim: s.Delivery.Claim, token: s.Delivery.Claim, step: s.Step, settles: true, disposal: se.disposal(s),
		redelivered: env.Redelivered, operations: o,
	}
	switch {
	case call.token != "":
	case s.Delivery.Refused != nil:
		call.token = s.Delivery.Refused.Letter
	default: // acknowledged before: named by the message
		call.token = env.DeliveryTag
	}
	reply, err := se.carry(ctx, call)
	if err != nil {
		return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
	}
	if o.dead > 0 {
		se.letters.Tidy()
	}
	if !reply.held {
		se.held.remove(call.claim)
		return broker.Settled{}, broker.ErrLost
	}
	for _, base := range reply.broken {
		se.log.Error("chord cannot be counted: its keys have the wrong type", "key", base)
	}
	if len(reply.chords) == 0 {
		se.held.remove(call.claim)
		return broker.Settled{}, nil
	}
	return se.settled(ctx, reply.chords, o.parts)
}

// publishChunk and publishBytes bound one script of publish, because it blocks Redis.
const (
	publishChunk = 1000
	publishBytes = 4 << 20
)

// publish carries out changes that belong together. Changes that are too many for one
// script go in several, the messages last.
func (se *settler) publish(ctx context.Context, c broker.Changes) error {
	for _, p := range c.Publish {
		if fault := se.queueFault(p.Queue); fault != "" {
			return fmt.Errorf("publish: %w", &broker.RouteError{Queue: p.Queue, Fault: fault})
		}
	}
	messages := c.Publish
	for first := true; first || len(messages) > 0; first = false {
		n, size := 0, 0
		for n < len(messages) && n < publishChunk && size < publishBytes {
			size += len(messages[n].Raw)
			n++
		}
		part := broker.Changes{Claim: c.Claim, Publish: messages[:n]}
		if first {
			part = c
			part.Members, part.Publish = nil, messages[:n]
		}
		if err := se.publishPart(ctx, part); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func (se *settler) publishPart(ctx context.Context, c broker.Changes) error {
	var o operations
	if err := se.addChanges(ctx, &o, c, false); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if len(o.args) == 0 {
		return nil
	}
	call := carryCall{claim: c.Claim, stepName: uuid.NewString(), operations: o}
	if c.Once != "" {
		// As the settlement of a delivery without a claim, which leaves a mark of its step.
		call.token, call.stepName, call.settles = c.Once, "once."+c.Once, true
	}
	reply, err := se.carry(ctx, call)
	switch {
	case err != nil:
		return fmt.Errorf("publish: %w", err)
	case !reply.held:
		return broker.ErrLost
	case reply.again:
		return broker.ErrRepeated
	}
	return nil
}

// settled reads what carry.lua has returned of chords.
func (se *settler) settled(ctx context.Context, rows []chordRow, parts []canvas.ChordPart) (broker.Settled, error) {
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
		var err error
		if c.Joined, err = se.joined(ctx, row); err != nil {
			return s, err
		}
		s.Complete = append(s.Complete, c)
	}
	return s, nil
}
