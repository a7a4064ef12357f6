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
)

// finishing is a delivery of which nothing is left but to store a result and to
// acknowledge it.
type finishing struct {
	claim, key string // key of the result; "" for none
	value      []byte
	success    string // "1" for a SUCCESS, else "0"
	tracked    bool   // a result is probably there
	follows    bool   // another task
}

// Answers of finish.lua.
const (
	finishLost = iota
	finishHeld
	finishUnheard // and nobody was there to hear of the result
)

// bare reports whether nothing follows a delivery but its result and its
// acknowledgement. A message that was delivered before has crashes to forget.
func bare(s *broker.Settlement) bool {
	return s.Plain() && !deliveredBefore(s.Delivery.Raw, s.Delivery.Message)
}

// deliveredBefore reports whether a message may say that it was delivered before; m is
// nil when it was not read.
func deliveredBefore(raw []byte, m *protocol.Message) bool {
	if m != nil {
		return m.Redelivered
	}
	return bytes.Contains(raw, []byte("redelivered"))
}

// finishing returns what there is to store and to acknowledge.
func (b *Broker) finishing(s *broker.Settlement) (f finishing, err error) {
	f = finishing{claim: s.Delivery.Claim, success: "0", tracked: s.Tracked}
	if r := s.Result; r != nil {
		f.key, f.follows = b.keys.result(r.TaskID), r.ParentID != ""
		f.value, f.success, err = encoded(r)
	}
	return f, err
}

// SettleAll implements [broker.Batcher].
func (b *Broker) SettleAll(ctx context.Context, ss []broker.Settlement) []error {
	errs := make([]error, len(ss))
	fs, places, size := make([]finishing, 0, len(ss)), make([]int, 0, len(ss)), 0
	finish := func() {
		for i, err := range b.finishAll(ctx, fs, true) {
			errs[places[i]] = err
		}
		fs, places, size = fs[:0], places[:0], 0
	}
	for i := range ss {
		s := &ss[i]
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		if !bare(s) {
			_, errs[i] = b.Settle(ctx, *s)
			continue
		}
		f, err := b.finishing(s)
		if err != nil {
			errs[i] = err
			continue
		}
		fs, places, size = append(fs, f), append(places, i), size+len(f.value)
		if size > togetherBytes || len(fs) == togetherMost {
			finish()
		}
	}
	finish()
	return errs
}

// finishAll is one round trip; there is an error, or nil, for each. Where each of them
// makes room for a message it may take a claim along.
func (b *Broker) finishAll(ctx context.Context, fs []finishing, room bool) []error {
	if len(fs) == 0 {
		return nil
	}
	args := make([]any, 0, 4*len(fs)+3)
	args = append(args, b.keys.unacked, b.keys.index)
	for i := range fs {
		args = append(args, b.orNone(fs[i].key))
	}
	keys := len(args)
	args = append(args, b.resultExpires())
	for i := range fs {
		f := &fs[i]
		kind := f.success
		if f.tracked {
			kind += "+"
		}
		args = append(args, f.claim, f.value, kind)
	}
	var r *ride
	if room {
		r = b.rides.take(len(fs))
	}
	var ended any
	var err error
	if r != nil {
		ended, err = b.finishWith(ctx, r, keys, args)
	} else {
		ended, err = b.script(ctx, b.scripts.finish, keys, args...)
	}
	b.rides.prove(err == nil)
	answers, err := answersTo(len(fs), ended, err)
	errs := make([]error, len(fs))
	for i := range fs {
		if err != nil {
			errs[i] = fmt.Errorf("settle a delivery: %w", err)
		} else {
			errs[i] = b.finished(&fs[i], answers[i])
		}
	}
	return errs
}

// finished notes what finish.lua has answered.
func (b *Broker) finished(f *finishing, answer int) error {
	b.forget(f.claim)
	if answer == finishLost {
		return broker.ErrLost
	}
	// Where it follows another task, nobody may have subscribed to its result yet.
	if answer == finishUnheard && f.follows {
		b.announcer.add(unheard{key: f.key, value: f.value, since: time.Now()})
	}
	return nil
}

// starting is a delivery that begins to run for the first time, and its STARTED.
type starting struct {
	claim, key string
	value      []byte
}

// begin stores a STARTED in company.
func (b *Broker) begin(ctx context.Context, s starting) error {
	held, err := b.starts.do(ctx, s)
	if err != nil {
		return fmt.Errorf("start a task: %w", err)
	}
	if held == 0 {
		b.forget(s.claim)
		return broker.ErrLost
	}
	return nil
}

// beginAll is the round trip of those that begin together.
func (b *Broker) beginAll(ss []starting) ([]int, error) {
	args := make([]any, 0, 3*len(ss)+2)
	args = append(args, b.keys.unacked)
	for _, s := range ss {
		args = append(args, s.key)
	}
	keys := len(args)
	args = append(args, b.resultExpires())
	for _, s := range ss {
		args = append(args, s.claim, s.value)
	}
	held, err := b.script(context.Background(), b.scripts.starts, keys, args...) // which has its deadline
	return answersTo(len(ss), held, err)
}

// answersTo reads the reply of a script that has an answer for each of n.
func answersTo(n int, reply any, err error) ([]int, error) {
	answers, err := redigo.Ints(reply, err)
	if err == nil && len(answers) != n {
		err = errors.Join(errNotUnderstood, fmt.Errorf("%d answers to %d", len(answers), n))
	}
	return answers, err
}
