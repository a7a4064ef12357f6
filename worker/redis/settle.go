package redis

import (
	"context"
	"errors"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// ending is what a settlement does beside its changes, in the form that both
// scripts take.
type ending struct {
	crashes, requeueList string
	requeue              []byte
	deadRaw, deadMeta    []byte
	deadID               string
}

func (b *Broker) ending(s *broker.Settlement) ending {
	var e ending
	d := s.Delivery
	env, err := protocol.ParseEnvelope(d.Raw)
	if err == nil && (env.Redelivered || s.Requeue == broker.RequeueRedelivered) {
		e.crashes = b.keys.crashes(env.ID)
	}
	if s.Requeue != broker.NoRequeue {
		e.requeueList, e.requeue = b.listKey(d.Queue, env.Priority), d.Raw
		if marked, err := protocol.MarkRedelivered(d.Raw); err == nil && s.Requeue == broker.RequeueRedelivered {
			e.requeue = marked
		}
	}
	if s.DeadLetter != "" {
		e.deadRaw, e.deadMeta, e.deadID = d.Raw, meta(d.Queue, s.DeadLetter), d.Claim
		if e.deadID == "" {
			e.deadID = uuid.NewString()
		}
	}
	return e
}

// Settle implements [broker.Broker].
func (b *Broker) Settle(ctx context.Context, s broker.Settlement) (broker.Settled, error) {
	if b.simple(&s) {
		return broker.Settled{}, b.settleSimple(ctx, &s)
	}
	var o operations
	if s.Result != nil { // first, as the script looks for it there
		if err := b.own(&o, s.Result); err != nil {
			return broker.Settled{}, err
		}
	}
	if err := b.changes(ctx, &o, s.Changes, true); err != nil {
		return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
	}
	for _, body := range s.Bodies {
		failed := "0"
		if body.Failed {
			failed = "1"
		}
		o.add("body", b.keys.chordBase(body.GroupID), failed, doneMark)
		if err := b.changes(ctx, &o, body.Changes, true); err != nil {
			return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
		}
		o.add("end")
	}
	e, claim := b.ending(&s), s.Delivery.Claim
	env, _ := protocol.ParseEnvelope(s.Delivery.Raw)
	token := claim
	switch {
	case token != "":
	case s.Delivery.Refused != nil:
		token = s.Delivery.Refused.Letter
	default: // acknowledged before: named by the message
		token = env.DeliveryTag
	}
	redelivered := "0"
	if env.Redelivered {
		redelivered = "1"
	}
	args := []any{claim, token, s.Step, "1", b.orderedChords(), chordClaim,
		e.requeue, e.deadRaw, e.deadMeta, e.deadID, b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()), redelivered}
	held, rows, broken, err := b.carry(ctx, b.carryKeys(token, e.crashes, e.requeueList), append(args, o.args...))
	if err != nil {
		return broker.Settled{}, fmt.Errorf("settle a delivery: %w", err)
	}
	if !held {
		b.forget(claim)
		return broker.Settled{}, broker.ErrLost
	}
	for _, base := range broken {
		b.log.Error("a chord cannot be counted: its keys are of another type than expected", "key", base)
	}
	if len(rows) == 0 {
		b.forget(claim)
		return broker.Settled{}, nil
	}
	return b.settled(ctx, rows, o.parts)
}

// settleSimple ends a delivery that nothing follows but a retry, or nothing.
func (b *Broker) settleSimple(ctx context.Context, s *broker.Settlement) error {
	f, err := b.finishing(s)
	if err != nil {
		return err
	}
	if bare(s) {
		return b.finishAll(ctx, []finishing{f}, false)[0]
	}
	var publication []byte
	var publishList string
	for _, p := range s.Changes.Publish {
		publication, publishList = p.Raw, b.listKey(p.Queue, p.Priority)
	}
	e := b.ending(s)
	n, err := b.scriptInt(ctx, b.scripts.settle, 8,
		b.keys.unacked, b.keys.index, b.orNone(f.key), b.orNone(e.requeueList),
		b.keys.dead, b.keys.deadMeta, b.keys.deadIndex, b.orNone(e.crashes),
		f.claim, f.value, b.resultExpires(), f.success, publishList, publication, e.requeue,
		e.deadRaw, e.deadMeta, e.deadID, b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()))
	if err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	b.forget(f.claim)
	if n == 0 {
		return broker.ErrLost
	}
	return nil
}

// carry runs carry.lua and takes its answer apart.
func (b *Broker) carry(ctx context.Context, keys, args []any) (held bool, rows []chordRow, broken []string, err error) {
	reply, err := redigo.Values(b.script(ctx, b.scripts.carry, len(keys), append(keys, args...)...))
	if err != nil {
		return false, nil, nil, err
	}
	var code int
	if reply, err = redigo.Scan(reply, &code); err != nil {
		return false, nil, nil, err
	}
	if code == 0 {
		return false, nil, nil, nil
	}
	var chords []any
	if _, err := redigo.Scan(reply, &chords, &broken); err != nil {
		return false, nil, nil, errors.Join(errNotUnderstood, err)
	}
	for _, one := range chords {
		cols, err := redigo.Values(one, nil)
		if err != nil {
			return false, nil, nil, errors.Join(errNotUnderstood, err)
		}
		var row chordRow
		if cols, err = redigo.Scan(cols, &row.base, &row.member, &row.state, &row.saved); err != nil || len(cols) != 1 {
			return false, nil, nil, errors.Join(errNotUnderstood, err)
		}
		if row.entries, err = redigo.ByteSlices(cols[0], nil); err != nil {
			return false, nil, nil, errors.Join(errNotUnderstood, err)
		}
		rows = append(rows, row)
	}
	return true, rows, broken, nil
}

var errNotUnderstood = errors.New("reply of the script is not understood")
