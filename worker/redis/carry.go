package redis

import (
	"context"
	"errors"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

const (
	// chordClaim is the life, in seconds, of a claim on a complete chord. It covers the
	// time until the step with the body, which is refused when the claim is gone. It must
	// end before the visibility timeout delivers a member of a crashed worker again: a
	// Python worker would leave the body to the crashed one.
	chordClaim = 3
	// doneMark is the life, in seconds, of the mark that the body was published. Celery
	// 5.7 has the same.
	doneMark = 300
)

// operations are the variable part of the arguments of carry.lua.
type operations struct {
	args  []any
	parts []canvas.ChordPart // members, in the order of their operations
	dead  int                // messages that become dead letters
}

func (o *operations) add(args ...any) { o.args = append(o.args, args...) }

// carryCall is a call of carry.lua.
type carryCall struct {
	claim       string // "" for none
	token       string // for claims on chords
	stepName    string // names the step that must not happen twice; "" for token
	step        int
	settles     bool // the delivery, with its disposal
	disposal    disposal
	redelivered bool
	operations  operations
}

// keysAndArgs returns the keys and arguments of carry.lua. TestArguments compares their order.
func (se *settler) keysAndArgs(c *carryCall) (keys, args []any) {
	stepName := c.stepName
	if stepName == "" {
		stepName = c.token
	}
	d := &c.disposal
	keys = []any{
		se.keys.unacked, se.keys.index, se.keys.dead, se.keys.deadMeta, se.keys.deadIndex,
		se.keys.step(stepName), se.orNone(d.crashes), se.orNone(d.requeueList),
	}
	args = []any{
		c.claim, c.token, c.step, flag(c.settles), flag(!se.cfg.ChordUnordered), chordClaim,
		d.requeue, d.deadRaw, d.deadMeta, d.deadID, se.cfg.DeadLettersMax, se.deadLettersAge(), flag(c.redelivered),
	}
	return keys, append(args, c.operations.args...)
}

// carryReply is the reply of carry.lua.
type carryReply struct {
	held   bool
	again  bool       // the step was carried out before
	chords []chordRow // for which the delivery is not settled yet
	broken []string   // bases of chords that cannot be counted
}

// chordRow is a chord in the reply of carry.lua.
type chordRow struct {
	base    string
	member  int // number of the part, from 1
	state   string
	saved   []byte
	entries [][]byte
}

// carry runs carry.lua.
func (se *settler) carry(ctx context.Context, call carryCall) (r carryReply, err error) {
	keys, args := se.keysAndArgs(&call)
	reply, err := redigo.Values(se.script(ctx, se.scripts.Carry, len(keys), append(keys, args...)...))
	if err != nil {
		return r, err
	}
	var code int
	if reply, err = redigo.Scan(reply, &code); err != nil {
		return r, err
	}
	if code == 0 {
		return r, nil
	}
	var chords []any
	if _, err := redigo.Scan(reply, &chords, &r.broken, &r.again); err != nil {
		return r, errors.Join(errNotUnderstood, err)
	}
	for _, one := range chords {
		cols, err := redigo.Values(one, nil)
		if err != nil {
			return r, errors.Join(errNotUnderstood, err)
		}
		var row chordRow
		if cols, err = redigo.Scan(cols, &row.base, &row.member, &row.state, &row.saved); err != nil || len(cols) != 1 {
			return r, errors.Join(errNotUnderstood, err)
		}
		if row.entries, err = redigo.ByteSlices(cols[0], nil); err != nil {
			return r, errors.Join(errNotUnderstood, err)
		}
		r.chords = append(r.chords, row)
	}
	r.held = true
	return r, nil
}

// encode returns a result as scripts take it. success is "1" for a SUCCESS, else "0".
func encode(r *protocol.Result) (value []byte, success string, err error) {
	if value, err = protocol.EncodeResult(r); err != nil {
		return nil, "", fmt.Errorf("encode state %s: %w", r.Status, err)
	}
	return value, flag(r.Status == protocol.StateSuccess), nil
}

// addOwn adds the result of the delivery itself.
func (se *settler) addOwn(o *operations, r *protocol.Result) error {
	value, success, err := encode(r)
	if err != nil {
		return err
	}
	o.add("own", se.keys.result(r.TaskID), value, se.resultExpires(), success)
	return nil
}

// addChanges adds changes in the order in which they must happen. A publication without a
// destination is an error, or with bury a dead letter, because a task that was settled
// must not be settled again.
func (se *settler) addChanges(ctx context.Context, o *operations, c broker.Changes, bury bool) error {
	expires := se.resultExpires()
	for _, s := range c.Sizes {
		o.add("size", se.keys.chordBase(s.GroupID), s.Size, expires)
	}
	for _, g := range c.Groups {
		o.add("set", se.keys.chordBase(g.GroupID), []byte(g.Value), expires)
	}
	for _, j := range c.Joins {
		o.add("join", se.keys.chordBase(j.GroupID), j.Members, expires)
	}
	for _, r := range c.Results {
		value, _, err := encode(r)
		if err != nil {
			return err
		}
		o.add("store", se.keys.result(r.TaskID), value, expires)
	}
	for _, p := range c.Members {
		unless := ""
		if p.UnlessFailed {
			unless = se.keys.result(p.Entry.TaskID)
		}
		if p.Entry.Size > 0 {
			o.add("sized", se.keys.chordBase(p.Entry.GroupID), p.Entry.Size, expires)
		}
		o.add("member", se.keys.chordBase(p.Entry.GroupID), p.Entry.Score, []byte(p.Entry.JSON), p.Entry.TaskID, expires, unless)
		o.parts = append(o.parts, p)
	}
	for _, p := range c.Publish {
		lists, err := se.destinations(ctx, p)
		if nowhere, ok := errors.AsType[*broker.RouteError](err); ok && bury {
			se.log.Error("message has no destination, moved to the dead letters", "error", nowhere)
			o.dead++
			o.add("bury", p.Raw, meta(p.RoutingKey, nowhere.Error(), len(p.Raw)))
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

// joined returns the members of a complete chord.
func (se *settler) joined(ctx context.Context, row chordRow) (joined canvas.Joined, err error) {
	for _, e := range row.entries {
		joined.Members = append(joined.Members, protocol.Raw(e))
	}
	if len(row.saved) == 0 {
		return joined, nil
	}
	joined.Saved = protocol.Raw(row.saved)
	ids, err := canvas.SavedIDs(joined.Saved)
	if err != nil {
		return joined, nil // an unreadable structure is reported when the chord is joined
	}
	results, err := se.results.read(ctx, ids)
	if err != nil {
		return joined, err
	}
	joined.Results = make(map[string]*protocol.Result, len(ids))
	for i, id := range ids {
		joined.Results[id] = results[i]
	}
	return joined, nil
}
