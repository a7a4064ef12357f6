package workertest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
)

var (
	_ broker.Leaser = (*Broker)(nil)
	_ broker.Board  = (*Broker)(nil)
)

// fleet holds the leases, notices and rate limits of a Broker in memory.
type fleet struct {
	mu      sync.Mutex
	leases  map[string]passing // the value is the owner
	notices map[string]passing
	limits  map[string]time.Time // of broker.Limiter: the next token is free then
	taken   map[string]time.Time // of broker.Admitter: until then the tokens are taken
	slowed  map[string]slowedLimit
}

// passing is a value until a time.
type passing struct {
	value []byte
	until time.Time
}

// now returns the value of a name, nil when there is none any more.
func now(values map[string]passing, name string) []byte {
	if v, ok := values[name]; ok && time.Now().Before(v.until) {
		return v.value
	}
	return nil
}

// Lease implements [broker.Leaser].
func (f *fleet) Lease(_ context.Context, name, owner string, d time.Duration) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if holder := now(f.leases, name); holder != nil && string(holder) != owner {
		return false, nil
	}
	if f.leases == nil {
		f.leases = map[string]passing{}
	}
	f.leases[name] = passing{[]byte(owner), time.Now().Add(d)}
	return true, nil
}

// Release implements [broker.Leaser].
func (f *fleet) Release(_ context.Context, name, owner string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(f.leases[name].value) == owner {
		delete(f.leases, name)
	}
	return nil
}

// Post implements [broker.Board].
func (f *fleet) Post(_ context.Context, name string, value []byte, d time.Duration) error {
	if len(value) > broker.MaxNotice {
		return fmt.Errorf("post the notice %s: it has %d bytes, want at most %d", name, len(value), broker.MaxNotice)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.notices == nil {
		f.notices = map[string]passing{}
	}
	f.notices[name] = passing{append([]byte{}, value...), time.Now().Add(d)}
	return nil
}

// Posted implements [broker.Board].
func (f *fleet) Posted(_ context.Context, names ...string) ([][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	values := make([][]byte, len(names))
	for i, name := range names {
		values[i] = bytes.Clone(now(f.notices, name))
	}
	return values, nil
}

// Unpost implements [broker.Board].
func (f *fleet) Unpost(_ context.Context, names ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		delete(f.notices, name)
	}
	return nil
}

// Take implements [broker.Limiter].
func (f *fleet) Take(_ context.Context, limit string, every time.Duration) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if wait := f.limits[limit].Sub(now); wait > 0 {
		return wait, nil
	}
	if f.limits == nil {
		f.limits = map[string]time.Time{}
	}
	f.limits[limit] = now.Add(every)
	return 0, nil
}

// Secret implements [broker.SecretKeeper]: the same in all tests, as fingerprints
// may stand in what they compare.
func (f *fleet) Secret(context.Context) ([]byte, error) {
	return []byte("the secret of workertest"), nil
}
