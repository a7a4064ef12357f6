// Package schedule holds items until they are due.
package schedule

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"
)

// Schedule holds items that wait for their time, the earliest first and equal ones in the
// order of their arrival. Make one with New.
type Schedule[R comparable] struct {
	wake chan struct{} // capacity 1: a new earliest entry

	mu   sync.Mutex
	heap entries[R]
	seq  uint64
}

// Entry is an item and the time at which it is due.
type Entry[R comparable] struct {
	Item R
	At   time.Time
	seq  uint64
}

// New returns an empty schedule.
func New[R comparable]() *Schedule[R] {
	return &Schedule[R]{wake: make(chan struct{}, 1)}
}

// Add lets r wait until at.
func (s *Schedule[R]) Add(r R, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	heap.Push(&s.heap, Entry[R]{Item: r, At: at, seq: s.seq})
	if s.heap[0].Item == r {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Due removes and returns the items that are due at now, and the time until the next one.
// next is 0 when none waits.
func (s *Schedule[R]) Due(now time.Time) (rs []R, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 {
		if wait := s.heap[0].At.Sub(now); wait > 0 {
			return rs, wait
		}
		rs = append(rs, heap.Pop(&s.heap).(Entry[R]).Item)
	}
	return rs, 0
}

// Wake receives a value when an item was added that is due before all others.
func (s *Schedule[R]) Wake() <-chan struct{} { return s.wake }

// Len returns the number of items.
func (s *Schedule[R]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heap)
}

// All returns the entries in no order.
func (s *Schedule[R]) All() []Entry[R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heap)
}

// First returns the entries that are due first, at most so many.
func (s *Schedule[R]) First(most int) []Entry[R] {
	all := s.All()
	slices.SortFunc(all, func(a, b Entry[R]) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.seq, b.seq))
	})
	return all[:min(most, len(all))]
}

// Drain removes and returns all items.
func (s *Schedule[R]) Drain() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	rs := make([]R, 0, len(s.heap))
	for _, e := range s.heap {
		rs = append(rs, e.Item)
	}
	s.heap = nil
	return rs
}

// entries implements [heap.Interface].
type entries[R comparable] []Entry[R]

func (h entries[R]) Len() int { return len(h) }

func (h entries[R]) Less(i, j int) bool {
	a, b := h[i].At, h[j].At
	if a.Equal(b) {
		return h[i].seq < h[j].seq
	}
	return a.Before(b)
}

func (h entries[R]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *entries[R]) Push(x any) { *h = append(*h, x.(Entry[R])) }

func (h *entries[R]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = Entry[R]{}
	*h = old[:len(old)-1]
	return e
}
