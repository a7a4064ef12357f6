package revoked

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// poll is the time between two questions to the broker. Other workers usually tell sooner.
const poll = 5 * time.Second

// Exchange keeps a Set up to date, and tells other workers. Make one with NewExchange.
type Exchange struct {
	revoker broker.Revoker
	remote  broker.Remote // nil: running workers learn by asking
	clock   *events.Clock
	log     *slog.Logger

	mu    sync.Mutex // held while the broker is asked
	since string     // of the last answer
}

// NewExchange returns an Exchange by the optional interfaces of a broker. It needs a
// Revoker.
func NewExchange(can broker.Capabilities, clock *events.Clock, log *slog.Logger) *Exchange {
	return &Exchange{revoker: can.Revoker, remote: can.Remote, clock: clock, log: log}
}

// Sync asks the broker once for what was revoked since the last time.
func (x *Exchange) Sync(ctx context.Context, s *Set) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, next, err := x.revoker.Revoked(ctx, x.since)
	if err != nil {
		return err // it says what was asked
	}
	s.Add(r)
	x.since = next
	return nil
}

// Run keeps s up to date until ctx ends.
func (x *Exchange) Run(ctx context.Context, s *Set, now func() time.Time) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// The consumer reports faults of the broker.
		if err := x.Sync(ctx, s); err != nil {
			x.log.Debug("revocations unavailable", "error", err)
		}
		s.Prune(now())
	}
}

// Store stores a revocation, for workers that start later.
func (x *Exchange) Store(ctx context.Context, r broker.Revocation) error {
	return x.revoker.Revoke(ctx, r)
}

// Publish stores a revocation and tells the workers that run.
func (x *Exchange) Publish(ctx context.Context, r broker.Revocation, terminate bool) error {
	if err := x.Store(ctx, r); err != nil || x.remote == nil {
		return err
	}
	requests, err := x.requests(r, terminate)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	for _, q := range requests {
		raw, err := protocol.EncodeControl(q, uuid.NewString(), time.Time{})
		if err == nil {
			err = x.remote.Broadcast(ctx, raw)
		}
		if err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	return nil
}

// requests returns the commands of remote control for a revocation.
func (x *Exchange) requests(r broker.Revocation, terminate bool) (requests []*protocol.ControlRequest, err error) {
	add := func(method string, arguments map[string]any) error {
		arguments["terminate"], arguments["signal"] = terminate, "SIGTERM"
		raw, err := protocol.Marshal(arguments)
		requests = append(requests, &protocol.ControlRequest{Method: method, Arguments: raw, Clock: x.clock.Forward()})
		return err
	}
	if len(r.IDs) > 0 {
		if err := add("revoke", map[string]any{"task_id": r.IDs}); err != nil {
			return nil, err
		}
	}
	if len(r.Stamps) > 0 {
		if err := add("revoke_by_stamped_headers", map[string]any{"headers": r.Stamps}); err != nil {
			return nil, err
		}
	}
	return requests, nil
}
