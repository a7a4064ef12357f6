package redis

import (
	"cmp"
	"context"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// starting is a delivery that begins to run for the first time, and its STARTED.
type starting struct {
	claim, key string
	value      []byte
}

// start records that a delivery begins to run.
func (se *settler) start(ctx context.Context, d broker.Delivery, st broker.Start) (broker.Started, error) {
	var value []byte
	if st.Result != nil {
		var err error
		if value, _, err = encode(st.Result); err != nil {
			return broker.Started{}, err
		}
		if !deliveredBefore(d.Raw, d.Message) {
			return broker.Started{}, se.startFirst(ctx, starting{claim: d.Claim, key: se.keys.result(st.Result.TaskID), value: value})
		}
	}
	return se.startAgain(ctx, d, st, value)
}

// startFirst stores the STARTED of a delivery, together with others.
func (se *settler) startFirst(ctx context.Context, s starting) error {
	held, err := se.startOne(ctx, s)
	if err != nil {
		return fmt.Errorf("start a task: %w", err)
	}
	if held == 0 {
		se.held.remove(s.claim)
		return broker.ErrLost
	}
	return nil
}

// startAll runs starts.lua.
func (se *settler) startAll(ss []starting) ([]int, error) {
	keys, args := se.startsCall(ss)
	reply, err := se.script(context.Background(), se.scripts.Starts, keys, args...) // which has its deadline
	return repliesTo(len(ss), reply, err)
}

// startsCall returns the arguments of starts.lua, of which the first keys are keys.
func (se *settler) startsCall(ss []starting) (keys int, args []any) {
	args = make([]any, 0, 3*len(ss)+2)
	args = append(args, se.keys.unacked)
	for _, s := range ss {
		args = append(args, s.key)
	}
	keys = len(args)
	args = append(args, se.resultExpires())
	for _, s := range ss {
		args = append(args, s.claim, s.value)
	}
	return keys, args
}

// startAgain runs start.lua, which looks for earlier runs.
func (se *settler) startAgain(ctx context.Context, d broker.Delivery, st broker.Start, value []byte) (started broker.Started, err error) {
	keys, args := se.startCall(d, st, value)
	reply, err := redigo.Values(se.script(ctx, se.scripts.Start, len(keys), append(keys, args...)...))
	var counted, success string
	if err == nil {
		_, err = redigo.Scan(reply, &started.Crashed, &counted, &success)
	}
	if err != nil {
		return started, fmt.Errorf("start a task: %w", err)
	}
	const notHeld = -1000
	if started.Crashed == notHeld {
		se.held.remove(d.Claim)
		return started, broker.ErrLost
	}
	started.Counted = counted == "1"
	if success != "" {
		if started.Success, err = protocol.DecodeResult([]byte(success)); err != nil {
			return started, fmt.Errorf("read the result of an earlier run: %w", err)
		}
	}
	return started, nil
}

// startCall returns the keys and arguments of start.lua. TestArguments compares their order.
func (se *settler) startCall(d broker.Delivery, st broker.Start, value []byte) (keys, args []any) {
	env, err := protocol.ParseEnvelope(d.Raw)
	again := err == nil && env.Redelivered
	crashes := se.keys.unacked
	var base, score, id, entryStart string
	if again {
		crashes = se.orNone(se.keys.crashes(env))
		if m := st.Member; m != nil {
			base, score, id, entryStart = se.keys.chordBase(m.GroupID), m.Score, m.TaskID, string(m.JSON)
		}
	}
	keys = []any{se.keys.unacked, se.keys.result(cmp.Or(st.ID, env.ID)), crashes}
	return keys, []any{d.Claim, value, se.resultExpires(), flag(again), flag(again && st.Stored), base, score, id, entryStart, st.Fingerprint}
}
