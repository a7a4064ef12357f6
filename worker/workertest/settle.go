package workertest

import (
	"cmp"
	"context"
	"slices"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Settle implements [broker.Broker].
func (b *Broker) Settle(_ context.Context, s broker.Settlement) (broker.Settled, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake()
	d := s.Delivery
	held := d.Claim == "" || b.claimed[d.Claim] != nil
	if s.Result != nil && (held && !b.steps.done(s) || s.Result.Status == protocol.StateSuccess) {
		b.results.store(s.Result)
	}
	if held && !b.steps.done(s) || !held && s.Succeeded && !b.settled[d.Claim] {
		b.record(s, held)
	}
	if !held {
		return broker.Settled{}, broker.ErrLost
	}
	env, _ := protocol.ParseEnvelope(d.Raw)
	if settled := b.carry(s); !settled.Done() {
		b.steps[d.Claim] = s.Step + 1
		return settled, nil
	}
	delete(b.steps, d.Claim)
	delete(b.crashes, env.ID)
	if s.Requeue != broker.NoRequeue {
		raw := d.Raw
		if marked, err := protocol.MarkRedelivered(raw); err == nil && s.Requeue == broker.RequeueRedelivered {
			raw = marked
		}
		b.crashes[env.ID] = -1
		b.requeued++
		if !b.hold {
			b.lists.push(d.Queue, env.Priority, raw, false)
		}
	}
	if s.DeadLetter != "" {
		b.bury(d, s.DeadLetter)
	}
	delete(b.claimed, d.Claim)
	return broker.Settled{}, nil
}

// Return implements [broker.Broker].
func (b *Broker) Return(_ context.Context, ds []broker.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(x, y broker.Delivery) int { return cmp.Compare(y.Claim, x.Claim) })
	for _, d := range ds {
		if b.claimed[d.Claim] == nil {
			continue
		}
		delete(b.claimed, d.Claim)
		b.streams.append(d.Entries)
		raw := d.Raw
		if marked, err := protocol.MarkRedelivered(raw); err == nil {
			raw = marked
		}
		env, _ := protocol.ParseEnvelope(raw)
		b.crashes[env.ID] = -1
		b.returned++
		if !b.hold {
			b.lists.push(d.Queue, env.Priority, raw, true)
		}
	}
	b.wake()
	return nil
}

// resultStore holds the current results and all earlier states.
type resultStore struct {
	byID    map[string]*protocol.Result
	history []protocol.Result
}

// store stores a result. A SUCCESS is never replaced.
func (rs *resultStore) store(r *protocol.Result) {
	if old := rs.byID[r.TaskID]; old != nil && old.Status == protocol.StateSuccess {
		return
	}
	rs.byID[r.TaskID] = r
	rs.history = append(rs.history, *r)
}

func (b *Broker) bury(d broker.Delivery, reason string) {
	b.letters.add(d, reason)
	b.wake()
}
