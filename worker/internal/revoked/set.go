// Package revoked knows which tasks must not run.
package revoked

import (
	"container/list"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/protocol"
)

const (
	// mostKept bounds the revocations that are kept, of ids and of the values of each
	// stamp. The oldest are forgotten first.
	mostKept = control.RevokesMax
	// mostStamps bounds the names of stamps.
	mostStamps = 100
	// life is how long a revocation is kept, as in Celery (CELERY_WORKER_REVOKE_EXPIRES).
	life = 3 * time.Hour
)

// Set holds revocations. Every task takes its lock, so nothing takes long under it.
type Set struct {
	mu     sync.Mutex
	ids    remembered
	stamps map[string]*remembered // values in JSON by name of the stamp
}

// NewSet returns a set of these revocations.
func NewSet(rs ...broker.Revocation) *Set {
	s := &Set{stamps: map[string]*remembered{}}
	for _, r := range rs {
		s.Add(r)
	}
	return s
}

// remembered holds texts in the order in which they were added last.
type remembered struct {
	order list.List // of revokedEntry
	at    map[string]*list.Element
}

type revokedEntry struct {
	text string
	at   time.Time
}

func (r *remembered) add(text string, now time.Time) {
	if e := r.at[text]; e != nil {
		e.Value = revokedEntry{text, now}
		r.order.MoveToBack(e)
		return
	}
	if r.at == nil {
		r.at = map[string]*list.Element{}
	}
	r.at[text] = r.order.PushBack(revokedEntry{text, now})
	if len(r.at) > mostKept {
		r.forget()
	}
}

// forget drops the oldest text.
func (r *remembered) forget() {
	oldest := r.order.Remove(r.order.Front()).(revokedEntry)
	delete(r.at, oldest.text)
}

func (r *remembered) has(text string) bool { return r != nil && r.at[text] != nil }

func (r *remembered) prune(now time.Time) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(revokedEntry).at) > life; e = r.order.Front() {
		r.forget()
	}
}

// Prune forgets revocations that are too old to matter.
func (s *Set) Prune(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids.prune(now)
	for name, values := range s.stamps {
		if values.prune(now); len(values.at) == 0 {
			delete(s.stamps, name)
		}
	}
}

// Add adds a revocation.
func (s *Set) Add(r broker.Revocation) {
	stamps := make(map[string][]string, len(r.Stamps))
	for name, values := range r.Stamps {
		for _, value := range values {
			stamps[name] = append(stamps[name], comparableText(value))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range r.IDs {
		s.ids.add(id, now)
	}
	for name, values := range stamps {
		if s.stamps[name] == nil {
			if len(s.stamps) >= mostStamps {
				continue
			}
			s.stamps[name] = &remembered{}
		}
		for _, value := range values {
			s.stamps[name].add(value, now)
		}
	}
}

// IDs returns the revoked ids, the oldest first.
func (s *Set) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.ids.at))
	for e := s.ids.order.Front(); e != nil; e = e.Next() {
		ids = append(ids, e.Value.(revokedEntry).text)
	}
	return ids
}

// Covers reports whether a message was revoked, by its id or by a stamp.
func (s *Set) Covers(m *protocol.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids.has(m.ID) {
		return true
	}
	return len(s.stamps) > 0 && stamped(m, func(name, value string) bool { return s.stamps[name].has(value) })
}

// comparableText returns one text for all values that Python calls equal.
func comparableText(r protocol.Raw) string {
	if b, err := protocol.AppendComparable(nil, r); err == nil {
		return string(b)
	}
	return string(r)
}

// stamped reports whether one of the stamps of m is as wanted. A stamp may have a list of
// values.
func stamped(m *protocol.Message, want func(name, value string) bool) bool {
	if len(m.StampedHeaders) == 0 || m.Stamps.IsNull() {
		return false
	}
	fields, err := m.Stamps.Fields()
	if err != nil {
		return false
	}
	names := make(map[string]bool, len(m.StampedHeaders))
	for _, n := range m.StampedHeaders {
		names[n] = true
	}
	for _, f := range fields {
		if !names[f.Name] || f.Value.IsNull() {
			continue
		}
		values, err := f.Value.Elements()
		if err != nil {
			values = []protocol.Raw{f.Value}
		}
		for _, value := range values {
			if want(f.Name, comparableText(value)) {
				return true
			}
		}
	}
	return false
}
