// Package ticket keeps what a person has asked for until the next page shows it: values after an
// audited click, a file that was checked. Tickets are in the memory of this process alone.
package ticket

import (
	"crypto/rand"
	"sync"
	"time"
)

// Box has tickets for values of one kind. Make one with New.
type Box[T any] struct {
	life time.Duration
	most int
	now  func() time.Time

	mu  sync.Mutex
	all map[string]held[T]
}

type held[T any] struct {
	value T
	owner string
	until time.Time
}

// New returns a box whose tickets are good for some time. It keeps most of them: the oldest go
// first.
func New[T any](life time.Duration, most int, now func() time.Time) *Box[T] {
	return &Box[T]{life: life, most: most, now: now, all: map[string]held[T]{}}
}

// Issue keeps a value for its owner and returns the ticket.
func (b *Box[T]) Issue(owner string, value T) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, oldest := b.now(), ""
	for id, h := range b.all {
		switch {
		case now.After(h.until):
			delete(b.all, id)
		case oldest == "" || h.until.Before(b.all[oldest].until):
			oldest = id
		}
	}
	if len(b.all) >= b.most {
		delete(b.all, oldest)
	}
	id := rand.Text()
	b.all[id] = held[T]{value, owner, now.Add(b.life)}
	return id
}

// Get returns the value of a ticket, if its owner shows it in time.
func (b *Box[T]) Get(id, owner string) (value T, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.all[id]
	if !ok || h.owner != owner || b.now().After(h.until) {
		return value, false
	}
	return h.value, true
}

// Drop ends a ticket.
func (b *Box[T]) Drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, id)
}
