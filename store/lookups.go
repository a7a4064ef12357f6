package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// mostIDs bounds one query.
	mostIDs = 64
	// joinWait is how long ids wait for the query in progress before another query begins
	// beside it. It bounds the delay that batches add.
	joinWait = 2 * time.Millisecond
)

// lookups looks users up many at a time (group commit): while a query is in progress, ids
// collect for the next one. An id that finds no query in progress is asked for at once.
type lookups struct {
	query   func(ctx context.Context, ls []*lookup) // fills in the answers
	timeout time.Duration                           // of a query
	most    int                                     // queries at a time

	wg sync.WaitGroup // of queries

	mu      sync.Mutex
	waiting []*lookup
	running int
	late    *time.Timer   // begins a query beside those in progress; nil: none is needed
	ended   chan struct{} // closed at the end of the next query
}

// lookup is the question for one user.
type lookup struct {
	id   int64
	done chan struct{} // closed when the answer is there

	email string
	err   error // sql.ErrNoRows, an [AccessError], or what else came in the way
}

func (l *lookup) answer(email string, err error) {
	l.email, l.err = email, err
	close(l.done)
}

func newLookups(most int, timeout time.Duration, query func(context.Context, []*lookup)) *lookups {
	return &lookups{query: query, timeout: timeout, most: most, ended: make(chan struct{})}
}

// ask looks up one user. When ctx ends before the answer, the query goes on for the others.
func (q *lookups) ask(ctx context.Context, id int64) (string, error) {
	l := &lookup{id: id, done: make(chan struct{})}
	q.add(l)
	select {
	case <-l.done:
		return l.email, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (q *lookups) add(l *lookup) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, l)
	switch {
	case q.running == 0:
		q.begin()
	case q.late == nil && q.running < q.most:
		q.late = time.AfterFunc(joinWait, q.join)
	}
}

// join begins queries beside those in progress, because they take long.
func (q *lookups) join() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.late = nil
	for len(q.waiting) > 0 && q.running < q.most {
		q.begin()
	}
}

// begin begins a query for ids that wait. q.mu must be held.
func (q *lookups) begin() {
	n := min(len(q.waiting), mostIDs)
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.running++
	q.wg.Add(1)
	go q.run(batch)
}

func (q *lookups) run(batch []*lookup) {
	defer q.wg.Done()
	ctx, cancel := context.WithTimeoutCause(context.Background(), q.timeout, &timeoutError{after: q.timeout})
	defer cancel()
	q.query(ctx, batch)
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
func (q *lookups) busy() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running < q.most {
		return nil
	}
	return q.ended
}

// wait waits until another query may begin.
func (q *lookups) wait(ctx context.Context) error {
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

// close waits for the queries in progress.
func (q *lookups) close() { q.wg.Wait() }
