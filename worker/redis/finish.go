package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
)

// Bounds of one finish.lua: a script holds up everybody else.
const (
	finishMost  = 64
	finishBytes = 256 << 10
)

// finishing is a delivery whose end waits for its turn.
type finishing struct {
	claim, key string // key of the result; "" for none
	value      []byte
	success    bool
	followed   bool // another task, so that nobody may have subscribed yet

	led  bool          // asked to lead; under finisher.mu
	done chan finished // capacity 1; first that it is to lead, if so, and then how it went
}

type finished struct {
	lead          bool
	held, unheard bool
	err           error
}

// finisher ends deliveries together that end at the same time: while one round
// trip is under way, those that come wait for the next. Who comes to an idle
// finisher leads a round trip at once, so nobody waits for company.
type finisher struct {
	mu      sync.Mutex
	waiting []*finishing
	leading bool
}

// bare reports whether nothing follows a delivery but its result and its
// acknowledgement. A message that was delivered before has crashes to forget.
func bare(s worker.Settlement) bool {
	return len(s.Changes.Publish) == 0 && s.DeadLetter == "" && s.Requeue == worker.NoRequeue && s.Delivery.Claim != "" &&
		!bytes.Contains(s.Delivery.Raw, []byte("redelivered"))
}

// finish ends a delivery in company.
func (b *Broker) finish(ctx context.Context, f *finishing) error {
	f.done = make(chan finished, 1)
	q := &b.finisher
	q.mu.Lock()
	q.waiting = append(q.waiting, f)
	if !q.leading { // then nobody else waits
		q.pass()
	}
	q.mu.Unlock()
	select {
	case r := <-f.done:
		if !r.lead {
			return f.end(b, r)
		}
		b.leadFinish(ctx)
		return f.end(b, <-f.done) // it was the first of those that it led
	case <-ctx.Done():
		q.leave(f)
		return fmt.Errorf("settle a delivery: %w", ctx.Err())
	}
}

func (f *finishing) end(b *Broker, r finished) error {
	if r.err != nil {
		return fmt.Errorf("settle a delivery: %w", r.err)
	}
	b.forget(f.claim)
	if !r.held {
		return worker.ErrLost
	}
	if r.unheard && f.followed {
		b.announcer.add(unheard{key: f.key, value: f.value, since: time.Now()})
	}
	return nil
}

// leave takes f out of the line. It may be on its way all the same, as any call may
// whose answer nobody waits for.
func (q *finisher) leave(f *finishing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, f); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		if f.led {
			q.pass()
		}
	}
}

// pass hands the lead to the first in the line; q.mu is held.
func (q *finisher) pass() {
	q.leading = len(q.waiting) > 0
	if q.leading {
		q.waiting[0].led = true
		q.waiting[0].done <- finished{lead: true}
	}
}

// take returns those whose turn it is.
func (q *finisher) take() []*finishing {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < finishMost && (n == 0 || size+len(q.waiting[n].value) <= finishBytes) {
		size += len(q.waiting[n].value)
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch
}

// leadFinish carries out one round trip and passes the lead on. It does not end
// with ctx: the others have their own.
func (b *Broker) leadFinish(ctx context.Context) {
	batch := b.finisher.take()
	keys := make([]any, 0, len(batch)+2)
	args := make([]any, 0, 3*len(batch)+1)
	keys = append(keys, b.keys.unacked, b.keys.index)
	args = append(args, b.resultExpires())
	for _, f := range batch {
		success := "0"
		if f.success {
			success = "1"
		}
		keys = append(keys, b.orNone(f.key))
		args = append(args, f.claim, f.value, success)
	}
	held, err := redigo.Ints(b.script(context.WithoutCancel(ctx), b.scripts.finish, len(keys), append(keys, args...)...))
	if err == nil && len(held) != len(batch) {
		err = errors.Join(errNotUnderstood, fmt.Errorf("%d answers to %d", len(held), len(batch)))
	}
	b.finisher.mu.Lock()
	b.finisher.pass()
	b.finisher.mu.Unlock()
	for i, f := range batch {
		r := finished{err: err}
		if err == nil {
			r.held, r.unheard = held[i] > 0, held[i] == 2
		}
		f.done <- r
	}
}
