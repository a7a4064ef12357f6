package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// finishing is a delivery of which nothing is left but to store a result and to
// acknowledge it.
type finishing struct {
	claim, key string // key of the result; "" for none
	value      []byte
	kind       string // see finish.lua
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
func bare(s *worker.Settlement) bool {
	return len(s.Changes.Publish) == 0 && s.DeadLetter == "" && s.Requeue == worker.NoRequeue && s.Delivery.Claim != "" &&
		!deliveredBefore(s.Delivery.Raw, s.Delivery.Message)
}

// deliveredBefore reports whether a message may say that it was delivered before; m is
// nil when it was not read.
func deliveredBefore(raw []byte, m *protocol.Message) bool {
	if m != nil {
		return m.Redelivered
	}
	return bytes.Contains(raw, []byte("redelivered"))
}

// finishing returns what finish.lua has to know of a settlement that is bare.
func (b *Broker) finishing(s *worker.Settlement) (f finishing, err error) {
	f = finishing{claim: s.Delivery.Claim, kind: "0"}
	if s.Result == nil {
		return f, nil
	}
	if f.value, err = protocol.EncodeResult(s.Result); err != nil {
		return f, fmt.Errorf("encode state %s: %w", s.Result.Status, err)
	}
	f.key, f.follows = b.keys.result(s.Result.TaskID), s.Result.ParentID != ""
	if s.Result.Status == protocol.StateSuccess {
		f.kind = "1"
	}
	if s.Tracked {
		f.kind += "+"
	}
	return f, nil
}

// finish ends a delivery.
func (b *Broker) finish(ctx context.Context, s *worker.Settlement) error {
	f, err := b.finishing(s)
	if err != nil {
		return err
	}
	errs := make([]error, 1)
	b.finishAll(ctx, []finishing{f}, errs, false)
	return errs[0]
}

// SettleAll implements [worker.Broker].
func (b *Broker) SettleAll(ctx context.Context, ss []worker.Settlement) []error {
	errs := make([]error, len(ss))
	fs := make([]finishing, len(ss))
	begin, size := 0, 0
	for i := range ss {
		s := &ss[i]
		switch {
		case ctx.Err() != nil:
			errs[i] = ctx.Err()
		case !simple(s) || !bare(s):
			_, errs[i] = b.Settle(ctx, *s)
		default:
			fs[i], errs[i] = b.finishing(s)
		}
		if size += len(fs[i].value); size > togetherBytes || i-begin == togetherMost-1 || i == len(ss)-1 {
			b.finishAll(ctx, fs[begin:i+1], errs[begin:i+1], true)
			begin, size = i+1, 0
		}
	}
	return errs
}

// finishAll is one round trip, for those without an error so far. Where each of them
// makes room for a message it may take a claim along.
func (b *Broker) finishAll(ctx context.Context, fs []finishing, errs []error, room bool) {
	n := 0
	args := make([]any, 0, 4*len(fs)+3)
	args = append(args, b.keys.unacked, b.keys.index)
	for i := range fs {
		if errs[i] == nil && fs[i].claim != "" {
			args = append(args, b.orNone(fs[i].key))
			n++
		}
	}
	if n == 0 {
		return
	}
	keys := len(args)
	args = append(args, b.resultExpires())
	for i := range fs {
		if f := &fs[i]; errs[i] == nil && f.claim != "" {
			args = append(args, f.claim, f.value, f.kind)
		}
	}
	var r *ride
	if room {
		r = b.rides.take(n)
	}
	var ended any
	var err error
	if r != nil {
		ended, err = b.finishWith(ctx, r, keys, args)
	} else {
		ended, err = b.script(ctx, b.scripts.finish, keys, args...)
	}
	b.rides.prove(err == nil)
	answers, err := answersTo(n, ended, err)
	if err != nil {
		err = fmt.Errorf("settle a delivery: %w", err)
	}
	for i := range fs {
		if errs[i] != nil || fs[i].claim == "" {
			continue
		}
		if errs[i] = err; err == nil {
			errs[i] = b.finished(&fs[i], answers[0])
			answers = answers[1:]
		}
	}
}

// finished notes what finish.lua has answered.
func (b *Broker) finished(f *finishing, answer int) error {
	b.forget(f.claim)
	if answer == finishLost {
		return worker.ErrLost
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
		return worker.ErrLost
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
