// Package hold knows the tasks that stay in their queues.
package hold

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/evently/workers/internal/sorting"
)

// Set is a set of names of tasks. Make one with New.
type Set struct {
	held atomic.Pointer[held] // read for each message

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

// held does not change.
type held struct {
	names  map[string]bool
	sorted []string
}

// New returns an empty Set.
func New() *Set {
	s := &Set{changed: make(chan struct{})}
	s.held.Store(&held{})
	return s
}

// Replace replaces the names. It reports whether that was a change.
func (s *Set) Replace(names []string) bool {
	next := &held{names: map[string]bool{}}
	for _, n := range names {
		next.names[n] = true
	}
	next.sorted = sorting.Keys(next.names)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(next.sorted, s.held.Load().sorted) {
		return false
	}
	s.held.Store(next)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

// Has reports whether the set has a name.
func (s *Set) Has(name string) bool { return s.held.Load().names[name] }

// Names returns the names, sorted. The caller must not change them.
func (s *Set) Names() []string { return s.held.Load().sorted }

// Any reports whether the set has a name at all.
func (s *Set) Any() bool { return len(s.Names()) > 0 }

// Changed is closed at the next change.
func (s *Set) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}
