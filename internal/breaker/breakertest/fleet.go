// Package breakertest has a share of breakers in memory.
package breakertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evently/workers/internal/breaker"
)

// ErrDown is the error of a [Fleet] that is unavailable.
var ErrDown = errors.New("share is unavailable")

// Fleet is the memory that all members of a fleet share.
type Fleet struct {
	mu      sync.Mutex
	down    bool
	notices map[string]entry
	leases  map[string]entry
}

type entry struct {
	value string
	until time.Time
}

// NewFleet returns an empty Fleet.
func NewFleet() *Fleet { return &Fleet{notices: map[string]entry{}, leases: map[string]entry{}} }

// SetDown makes the fleet unavailable, or available again.
func (f *Fleet) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Member returns the share of one process.
func (f *Fleet) Member(name string) breaker.Share { return member{f, name} }

type member struct {
	fleet *Fleet
	name  string
}

// Post implements [breaker.Share].
func (m member) Post(_ context.Context, name, notice string, ttl time.Duration) error {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.fleet.down {
		return ErrDown
	}
	m.fleet.notices[name] = entry{notice, time.Now().Add(ttl)}
	return nil
}

// Posted implements [breaker.Share].
func (m member) Posted(_ context.Context, name string) (string, error) {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.fleet.down {
		return "", ErrDown
	}
	if e := m.fleet.notices[name]; time.Now().Before(e.until) {
		return e.value, nil
	}
	return "", nil
}

// Lease implements [breaker.Share].
func (m member) Lease(_ context.Context, name string, ttl time.Duration) (bool, error) {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.fleet.down {
		return false, ErrDown
	}
	if e := m.fleet.leases[name]; time.Now().Before(e.until) && e.value != m.name {
		return false, nil
	}
	m.fleet.leases[name] = entry{m.name, time.Now().Add(ttl)}
	return true, nil
}
