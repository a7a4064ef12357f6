// Package fallback replaces optional interfaces that a broker lacks.
package fallback

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Capabilities returns the optional interfaces of b, with a substitute for each that b
// lacks and that callers do not check.
func Capabilities(b any) broker.Capabilities {
	c := broker.CapabilitiesOf(b)
	if c.Backend == nil {
		c.Backend = absent{}
	}
	if c.Revoker == nil {
		c.Revoker = absent{}
	}
	if c.Emitter == nil {
		c.Emitter = absent{}
	}
	if c.QueueSet == nil {
		c.QueueSet = absent{}
	}
	if c.Secrets == nil {
		c.Secrets = absent{}
	}
	if c.Depther == nil {
		c.Depther = absent{}
	}
	if c.Describer == nil {
		c.Describer = absent{}
	}
	if core, ok := b.(broker.Broker); ok && c.Batcher == nil {
		c.Batcher = settleEach{core}
	}
	return c
}

// errAbsent is returned for an operation that the broker does not support.
var errAbsent = fmt.Errorf("not possible with this broker: %w", errors.ErrUnsupported)

// absent replaces optional interfaces. Operations that a caller asks for fail. Operations
// of the worker itself have no effect.
type absent struct{}

func (absent) Publish(_ context.Context, c broker.Changes) error {
	return fmt.Errorf("publish: %w", errAbsent)
}

func (absent) Results(context.Context, []string) ([]*protocol.Result, error) {
	return nil, fmt.Errorf("read results: %w", errAbsent)
}

func (absent) Await(context.Context, string) (*protocol.Result, error) {
	return nil, fmt.Errorf("await a result: %w", errAbsent)
}

func (absent) Forget(context.Context, []string) error {
	return fmt.Errorf("forget results: %w", errAbsent)
}

func (absent) Group(context.Context, string) (protocol.Raw, error) {
	return nil, fmt.Errorf("read a group: %w", errAbsent)
}

func (absent) AddQueue(context.Context, string) (bool, error) {
	return false, fmt.Errorf("add a queue: %w", errAbsent)
}

func (absent) CancelQueue(context.Context, string) (bool, error) {
	return false, fmt.Errorf("cancel a queue: %w", errAbsent)
}

func (absent) Revoke(context.Context, broker.Revocation) error { return nil }

func (absent) Revoked(context.Context, string) (broker.Revocation, string, error) {
	return broker.Revocation{}, "", nil
}

func (absent) Emit(context.Context, ...broker.Emission) error { return nil }

func (absent) Secret(context.Context) ([]byte, error) { return []byte(rand.Text()), nil }

func (absent) Depth(context.Context) (int, error) { return 0, nil }

func (absent) Info() broker.Info { return broker.Info{} }

// settleEach settles deliveries one by one.
type settleEach struct{ core broker.Broker }

func (s settleEach) SettleAll(ctx context.Context, ss []broker.Settlement) []error {
	errs := make([]error, len(ss))
	for i := range ss {
		_, errs[i] = s.core.Settle(ctx, ss[i])
	}
	return errs
}
