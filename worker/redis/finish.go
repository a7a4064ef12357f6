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
}

// kind is what finish.lua has to know of a result.
func kind(success string, tracked bool) string {
	if tracked {
		return success + "+"
	}
	return success
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

// finish ends a delivery in company. Where it follows another task, nobody may have
// subscribed to its result yet.
func (b *Broker) finish(ctx context.Context, f finishing, follows bool) error {
	answer, err := b.finishes.do(ctx, f)
	if err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	b.forget(f.claim)
	if answer == finishLost {
		return worker.ErrLost
	}
	if answer == finishUnheard && follows {
		b.announcer.add(unheard{key: f.key, value: f.value, since: time.Now()})
	}
	return nil
}

// finishAll is the round trip of those that finish together.
func (b *Broker) finishAll(fs []finishing) ([]int, error) {
	args := make([]any, 0, 4*len(fs)+3)
	args = append(args, b.keys.unacked, b.keys.index)
	for _, f := range fs {
		args = append(args, b.orNone(f.key))
	}
	keys := len(args)
	args = append(args, b.resultExpires())
	for _, f := range fs {
		args = append(args, f.claim, f.value, f.kind)
	}
	return b.together(b.scripts.finish, len(fs), keys, args)
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
	return b.together(b.scripts.starts, len(ss), keys, args)
}

// together runs a script that has an answer for each of n.
func (b *Broker) together(s *redigo.Script, n, keys int, args []any) ([]int, error) {
	answers, err := redigo.Ints(b.script(context.Background(), s, keys, args...)) // which has its deadline
	if err == nil && len(answers) != n {
		err = errors.Join(errNotUnderstood, fmt.Errorf("%d answers to %d", len(answers), n))
	}
	return answers, err
}
