package worker

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"
)

// schedule holds the requests that wait for their ETA, the earliest first and
// equal ones in the order of their arrival.
type schedule struct {
	mu   sync.Mutex
	heap etaHeap
	seq  uint64
	wake chan struct{} // capacity 1: a new earliest entry
}

func newSchedule() *schedule { return &schedule{wake: make(chan struct{}, 1)} }

func (s *schedule) add(r *request, eta time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	heap.Push(&s.heap, etaEntry{request: r, eta: eta, seq: s.seq})
	if s.heap[0].request == r {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// due removes and returns what may run at now, and the time until the next.
// next is 0 when nothing waits.
func (s *schedule) due(now time.Time) (rs []*request, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 {
		if wait := s.heap[0].eta.Sub(now); wait > 0 {
			return rs, wait
		}
		rs = append(rs, heap.Pop(&s.heap).(etaEntry).request)
	}
	return rs, 0
}

func (s *schedule) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heap)
}

// all returns the entries in no order.
func (s *schedule) all() []etaEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heap)
}

// first returns the entries that are due first, at most so many.
func (s *schedule) first(most int) []etaEntry {
	s.mu.Lock()
	entries := slices.Clone(s.heap)
	s.mu.Unlock()
	slices.SortFunc(entries, func(a, b etaEntry) int {
		return cmp.Or(a.eta.Compare(b.eta), cmp.Compare(a.seq, b.seq))
	})
	return entries[:min(most, len(entries))]
}

// drain removes and returns everything.
func (s *schedule) drain() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	rs := make([]*request, 0, len(s.heap))
	for _, e := range s.heap {
		rs = append(rs, e.request)
	}
	s.heap = nil
	return rs
}

type etaEntry struct {
	request *request
	eta     time.Time
	seq     uint64
}

type etaHeap []etaEntry

func (h etaHeap) Len() int { return len(h) }

func (h etaHeap) Less(i, j int) bool {
	a, b := h[i].eta, h[j].eta
	if a.Equal(b) {
		return h[i].seq < h[j].seq
	}
	return a.Before(b)
}

func (h etaHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *etaHeap) Push(x any) { *h = append(*h, x.(etaEntry)) }

func (h *etaHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = etaEntry{}
	*h = old[:len(old)-1]
	return e
}
