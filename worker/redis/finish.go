package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/pubsub"
)

// Bounds of one round trip, because a script blocks all other clients.
const (
	batchMost  = 64
	batchBytes = 256 << 10
)

// plain is a settlement that consists of a result, if any, and the acknowledgement.
type plain struct {
	claim, key string // key of the result; "" for none
	value      []byte
	success    string // "1" for a SUCCESS, else "0"
	tracked    bool   // a result is probably stored
	follows    bool   // another task
	once       string // key that keeps a run that has succeeded from recording twice, else ""
	records    []any  // operations of record.lua; nil for most tasks
}

// Replies of finish.lua.
const (
	finishLost = iota
	finishHeld
	finishUnheard // held, and no client listened for the result
)

// deliveredBefore reports whether a message may be marked as redelivered. m is nil when it
// was not decoded.
func deliveredBefore(raw []byte, m *protocol.Message) bool {
	if m != nil {
		return m.Redelivered
	}
	return bytes.Contains(raw, []byte("redelivered"))
}

// plain returns the result and the acknowledgement of a settlement.
func (se *settler) plain(s *broker.Settlement) (f plain, err error) {
	f = plain{claim: s.Delivery.Claim, success: "0", tracked: s.Tracked}
	if r := s.Result; r != nil {
		f.key, f.follows = se.keys.result(r.TaskID), r.ParentID != ""
		f.value, f.success, err = encode(r)
	}
	if isRecorded(s) {
		f.once, f.records = se.once(s), se.records(s)
	}
	return f, err
}

// isRecorded reports whether the end of a run has operations of record.lua.
func isRecorded(s *broker.Settlement) bool {
	return s.Mark != nil || len(s.Names) > 0 || len(s.Entries) > 0
}

// once returns the key that shows that a run that has succeeded has recorded, where its
// result does not show it; "" for another run.
func (se *settler) once(s *broker.Settlement) string {
	if !s.Succeeded || s.Delivery.Claim == "" {
		return ""
	}
	return se.keys.recorded(s.Delivery.Claim)
}

// records returns the operations of record.lua for a settlement.
func (se *settler) records(s *broker.Settlement) (args []any) {
	if m := s.Mark; m != nil {
		args = append(args, "mark", se.keys.mark(m.Task), markText(m.Value))
	}
	for _, n := range s.Names {
		if n.Value == "" {
			args = append(args, "free", se.keys.mark(n.Task), n.Run)
		} else {
			args = append(args, "mark", se.keys.mark(n.Task), markText(n.Value))
		}
	}
	return se.outbox.Append(args, s.Entries)
}

// markText returns a mark as mark.lua writes it, without a run; "" for none.
func markText(value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf("0 %d %s", len(value), value)
}

// size returns the bytes of a settlement.
func (f *plain) size() (n int) {
	for _, r := range f.records {
		if text, ok := r.(string); ok {
			n += len(text)
		}
	}
	return n + len(f.value)
}

// settleAll settles deliveries in few round trips. It returns one error, or nil, for each.
func (se *settler) settleAll(ctx context.Context, ss []broker.Settlement) []error {
	errs := make([]error, len(ss))
	fs, places, size := make([]plain, 0, len(ss)), make([]int, 0, len(ss)), 0
	flush := func() {
		for i, err := range se.finish(ctx, fs, true) {
			errs[places[i]] = err
		}
		fs, places, size = fs[:0], places[:0], 0
	}
	for i := range ss {
		s := &ss[i]
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		if se.wayOf(s) != byFinish {
			_, errs[i] = se.settle(ctx, *s)
			continue
		}
		f, err := se.plain(s)
		if err != nil {
			errs[i] = err
			continue
		}
		fs, places, size = append(fs, f), append(places, i), size+f.size()
		if size > batchBytes || len(fs) == batchMost {
			flush()
		}
	}
	flush()
	return errs
}

// finish runs finish.lua, in one round trip. It returns one error, or nil, for each. With
// room, each settlement makes room for a message, so that a claim may go along.
func (se *settler) finish(ctx context.Context, fs []plain, room bool) []error {
	if len(fs) == 0 {
		return nil
	}
	keys, args := se.finishCall(fs)
	var claim *pipelinedClaim
	if room {
		claim = se.pipeline.take(len(fs))
	}
	var reply any
	var err error
	if claim != nil {
		reply, err = se.finishWith(ctx, claim, keys, args)
	} else {
		reply, err = se.script(ctx, se.scripts.Finish, keys, args...)
	}
	se.pipeline.prove(err == nil)
	replies, err := repliesTo(len(fs), reply, err)
	errs := make([]error, len(fs))
	for i := range fs {
		if err != nil {
			errs[i] = fmt.Errorf("settle a delivery: %w", err)
		} else {
			errs[i] = se.finished(&fs[i], replies[i])
		}
	}
	return errs
}

// finishCall returns the arguments of finish.lua, of which the first keys are keys.
func (se *settler) finishCall(fs []plain) (keys int, args []any) {
	args = make([]any, 0, 4*len(fs)+3)
	args = append(args, se.keys.unacked, se.keys.index)
	for i := range fs {
		args = append(args, se.orNone(fs[i].key))
	}
	keys = len(args)
	args = append(args, se.resultExpires())
	for i := range fs {
		f := &fs[i]
		kind := f.success
		if f.tracked {
			kind += "+"
		}
		args = append(args, f.claim, f.value, kind)
	}
	for i := range fs {
		if f := &fs[i]; f.records != nil {
			args = append(args, i+1, f.once, len(f.records))
			args = append(args, f.records...)
		}
	}
	return keys, args
}

// finished notes the reply of finish.lua to one settlement.
func (se *settler) finished(f *plain, reply int) error {
	se.held.remove(f.claim)
	if reply == finishLost {
		return broker.ErrLost
	}
	// A client that waits for a task that follows another one may not have subscribed yet.
	if reply == finishUnheard && f.follows {
		se.announcer.Add(pubsub.Unheard{Key: f.key, Value: f.value, Since: time.Now()})
	}
	return nil
}

// repliesTo reads the reply of a script that has one for each of n.
func repliesTo(n int, reply any, err error) ([]int, error) {
	replies, err := redigo.Ints(reply, err)
	if err == nil && len(replies) != n {
		err = errors.Join(errNotUnderstood, fmt.Errorf("%d answers to %d", len(replies), n))
	}
	return replies, err
}
