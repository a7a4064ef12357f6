package workertest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Publish implements [broker.Backend].
func (b *Broker) Publish(_ context.Context, c broker.Changes) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Claim != "" && b.claimed[c.Claim] == nil {
		return broker.ErrLost
	}
	if c.Once != "" {
		if b.once[c.Once] {
			return broker.ErrRepeated
		}
		b.once[c.Once] = true
	}
	c.Members = nil
	b.apply(c, false)
	b.wake()
	return nil
}

// Results implements [broker.Backend].
func (b *Broker) Results(_ context.Context, ids []string) ([]*protocol.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	results := make([]*protocol.Result, len(ids))
	for i, id := range ids {
		results[i] = b.results.byID[id]
	}
	return results, nil
}

// Await implements [broker.Backend].
func (b *Broker) Await(ctx context.Context, id string) (*protocol.Result, error) {
	for {
		changed := b.Changed()
		if r := b.Result(id); r != nil {
			switch r.Status {
			case protocol.StateSuccess, protocol.StateFailure, protocol.StateRevoked:
				return r, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
}

// Forget implements [broker.Backend].
func (b *Broker) Forget(_ context.Context, ids []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.results.byID, id)
		delete(b.groups, id)
	}
	return nil
}

// Group implements [broker.Backend].
func (b *Broker) Group(_ context.Context, id string) (protocol.Raw, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.groups[id], nil
}

// Revoke implements [broker.Revoker].
func (b *Broker) Revoke(_ context.Context, r broker.Revocation) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range r.IDs {
		if old := b.results.byID[id]; old == nil || old.Status == protocol.StateRetry {
			b.results.store(&protocol.Result{TaskID: id, Status: protocol.StateRevoked, DateDone: time.Now(),
				Exception: &protocol.Exception{Type: "TaskRevokedError", Module: "celery.exceptions", Args: []any{"revoked"}}})
		}
	}
	b.revoked.IDs = append(b.revoked.IDs, r.IDs...)
	for name, values := range r.Stamps {
		if b.revoked.Stamps == nil {
			b.revoked.Stamps = map[string][]protocol.Raw{}
		}
		b.revoked.Stamps[name] = append(b.revoked.Stamps[name], values...)
	}
	b.wake()
	return nil
}

// Revoked implements [broker.Revoker]. It returns all stamps every time.
func (b *Broker) Revoked(_ context.Context, since string) (r broker.Revocation, next string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := strconv.Atoi(since)
	if err != nil {
		n = 0
	}
	r = broker.Revocation{IDs: slices.Clone(b.revoked.IDs[n:]), Stamps: map[string][]protocol.Raw{}}
	for name, values := range b.revoked.Stamps {
		r.Stamps[name] = slices.Clone(values)
	}
	return r, strconv.Itoa(len(b.revoked.IDs)), nil
}
