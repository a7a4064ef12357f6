// Package lookups asks a database many questions in one query (group commit).
package lookups

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// mostKeys bounds one query.
	mostKeys = 64
	// joinWait is how long keys wait for the query in progress before another query begins
	// beside it. It bounds the delay that batches add.
	joinWait = 2 * time.Millisecond
)

// Config is the configuration of [Lookups]. All fields are required.
type Config[K, V any] struct {
	Most    int                                           // queries at a time
	Timeout time.Duration                                 // of a query
	Cause   error                                         // of a query that took longer
	Query   func(ctx context.Context, ls []*Lookup[K, V]) // fills in the answers
}

// Lookups looks things up many at a time: while a query is in progress, keys collect for the
// next one. A key that finds no query in progress is asked for at once. It is safe for
// concurrent use.
type Lookups[K, V any] struct {
	cfg Config[K, V]

	wg sync.WaitGroup // of queries

	mu      sync.Mutex
	waiting []*Lookup[K, V]
	running int
	late    *time.Timer   // begins a query beside those in progress; nil: none is needed
	ended   chan struct{} // closed at the end of the next query
}

// Lookup is the question for one key.
type Lookup[K, V any] struct {
	Key K

	done  chan struct{} // closed when the answer is there
	value V
	err   error
}

// Answer gives the answer. It must be called once.
func (l *Lookup[K, V]) Answer(value V, err error) {
	l.value, l.err = value, err
	close(l.done)
}

// New returns Lookups. The caller must call Close.
func New[K, V any](cfg Config[K, V]) *Lookups[K, V] {
	return &Lookups[K, V]{cfg: cfg, ended: make(chan struct{})}
}

// Ask looks up one key. When ctx ends before the answer, the query goes on for the others.
func (q *Lookups[K, V]) Ask(ctx context.Context, key K) (value V, err error) {
	l := &Lookup[K, V]{Key: key, done: make(chan struct{})}
	q.add(l)
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		return value, context.Cause(ctx)
	}
}

func (q *Lookups[K, V]) add(l *Lookup[K, V]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, l)
	switch {
	case q.running == 0:
		q.begin()
	case q.late == nil && q.running < q.cfg.Most:
		q.late = time.AfterFunc(joinWait, q.join)
	}
}

// join begins queries beside those in progress, because they take long.
func (q *Lookups[K, V]) join() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.late = nil
	for len(q.waiting) > 0 && q.running < q.cfg.Most {
		q.begin()
	}
}

// begin begins a query for keys that wait. q.mu must be held.
func (q *Lookups[K, V]) begin() {
	n := min(len(q.waiting), mostKeys)
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.running++
	q.wg.Add(1)
	go q.run(batch)
}

func (q *Lookups[K, V]) run(batch []*Lookup[K, V]) {
	defer q.wg.Done()
	ctx, cancel := context.WithTimeoutCause(context.Background(), q.cfg.Timeout, q.cfg.Cause)
	defer cancel()
	q.cfg.Query(ctx, batch)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	close(q.ended)
	q.ended = make(chan struct{})
	if len(q.waiting) > 0 {
		q.begin()
	}
}

// busy returns a channel that is closed at the end of the next query, nil when another
// query may begin now.
func (q *Lookups[K, V]) busy() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running < q.cfg.Most {
		return nil
	}
	return q.ended
}

// IsBusy reports whether no other query may begin now.
func (q *Lookups[K, V]) IsBusy() bool { return q.busy() != nil }

// Wait waits until another query may begin.
func (q *Lookups[K, V]) Wait(ctx context.Context) error {
	for {
		ended := q.busy()
		if ended == nil {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for a connection to the database: %w", context.Cause(ctx))
		}
	}
}

// Close waits for the queries in progress.
func (q *Lookups[K, V]) Close() { q.wg.Wait() }

// Waiting returns the number of keys that wait for a query.
func (q *Lookups[K, V]) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Running returns the number of queries in progress.
func (q *Lookups[K, V]) Running() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running
}
