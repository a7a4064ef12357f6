package redis

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

// Bounds of one round trip of a company: a script holds up everybody else.
const (
	togetherMost  = 64
	togetherBytes = 256 << 10
	// crowd is how many wait when a second round trip begins while one is under way:
	// so many that it is nearly as good as a full one.
	crowd = 16
)

// company carries out calls together that are made at the same time: while a round
// trip is under way, those that come wait for the next. Who comes to an idle company
// leads a round trip, and waits for nobody.
type company[T, R any] struct {
	carry func([]T) ([]R, error) // one round trip, an answer for each
	size  func(T) int            // bytes of one call

	mu       sync.Mutex
	waiting  []*member[T, R]
	promoted bool // the first of those that wait is about to lead
	away     int  // round trips that are under way
	last     int  // calls in the one that began last

	idle sync.Pool // members to be used again
}

// member is a call that waits for its turn, or for its answer.
type member[T, R any] struct {
	call T
	led  bool              // promoted; under company.mu
	done chan companion[R] // capacity 1; first that it is to lead, if so, and then its answer
}

type companion[R any] struct {
	lead   bool
	answer R
	err    error
}

// do carries out a call in company. The error is that of ctx, or that of the round
// trip. A call whose ctx has ended may be on its way all the same, as any may whose
// answer nobody waits for.
func (q *company[T, R]) do(ctx context.Context, call T) (answer R, err error) {
	m, ok := q.idle.Get().(*member[T, R])
	if !ok {
		m = &member[T, R]{done: make(chan companion[R], 1)}
	}
	m.call, m.led = call, false
	q.mu.Lock()
	q.waiting = append(q.waiting, m)
	q.promote()
	q.mu.Unlock()
	select {
	case c := <-m.done:
		if c.lead {
			q.lead()
			c = <-m.done // it was the first of those that it led
		}
		m.call = *new(T)
		q.idle.Put(m) // nobody else has it any more
		return c.answer, c.err
	case <-ctx.Done():
		q.leave(m)
		return answer, ctx.Err()
	}
}

// promote has the first in the line lead a round trip, when it is time for one; q.mu
// is held.
func (q *company[T, R]) promote() {
	if n := len(q.waiting); q.promoted || n == 0 || q.away > 1 || q.away == 1 && n < crowd {
		return
	}
	q.promoted, q.waiting[0].led = true, true
	q.waiting[0].done <- companion[R]{lead: true}
}

// leave takes m out of the line.
func (q *company[T, R]) leave(m *member[T, R]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, m); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		if m.led {
			q.promoted = false
			q.promote()
		}
	}
}

// errCarry is what the others hear of a round trip whose leader has panicked.
var errCarry = errors.New("the round trip did not come to its end")

// lead carries out one round trip. It does not end with the ctx of the one that leads:
// the others have their own.
func (q *company[T, R]) lead() {
	q.gather()
	batch := q.take()
	var answers []R
	err := errCarry
	defer func() {
		q.mu.Lock()
		q.away--
		q.promote()
		q.mu.Unlock()
		for i, m := range batch {
			if err != nil {
				m.done <- companion[R]{err: err}
			} else {
				m.done <- companion[R]{answer: answers[i]}
			}
		}
	}()
	calls := make([]T, len(batch))
	for i, m := range batch {
		calls[i] = m.call
	}
	answers, err = q.carry(calls)
}

// gather gives way once to what can run, where several came together last time.
func (q *company[T, R]) gather() {
	q.mu.Lock()
	several := q.last > 1 && len(q.waiting) < crowd/2
	q.mu.Unlock()
	if several {
		runtime.Gosched()
	}
}

// take returns those whose turn it is.
func (q *company[T, R]) take() []*member[T, R] {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < togetherMost && (n == 0 || size+q.size(q.waiting[n].call) <= togetherBytes) {
		size += q.size(q.waiting[n].call)
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.promoted = false
	q.away++
	q.last = n
	q.promote()
	return batch
}
