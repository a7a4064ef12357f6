package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
)

// rideWait is how long a claim waits for deliveries that end: a round trip takes as long.
const rideWait = time.Millisecond

// ride is a claim that goes along with the round trip in which deliveries end, and takes
// as many messages as these were.
type ride struct {
	call      seenCall
	max, ends int

	n     int // messages that were asked for
	reply any
	next  [][]byte
	err   error
	done  chan struct{} // closed when all of that is known
}

// rides holds the claim that waits for a round trip.
type rides struct {
	mu      sync.Mutex
	waiting *ride
	proven  bool // the last deliveries have ended: Redis has the script, and does not refuse it
}

// prove notes whether deliveries have ended.
func (q *rides) prove(ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.proven = ended
}

func (q *rides) offer(r *ride) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = r
}

// take returns the claim that waits, if there is one, for a round trip in which so many
// deliveries end.
func (q *rides) take(ends int) *ride {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.waiting
	if r == nil || !q.proven {
		return nil
	}
	if r.n = min(r.max+min(ends, r.ends), r.call.entries); r.n <= 0 {
		return nil
	}
	q.waiting = nil
	return r
}

// withdraw reports whether r was still waiting.
func (q *rides) withdraw(r *ride) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waits := q.waiting == r
	if waits {
		q.waiting = nil
	}
	return waits
}

// ClaimAfter implements [broker.Pipeliner]. It claims what came along with the claim before.
func (b *Broker) ClaimAfter(ctx context.Context, max, ends int, ready func()) (ds []broker.Delivery, asked int, err error) {
	b.claiming.Lock()
	defer b.claiming.Unlock()
	a := &b.ahead
	if max+ends <= 0 || !b.registered || b.suspect || a.list < 0 || len(a.raws) == 0 || time.Since(a.at) > aheadLife {
		return nil, 0, nil
	}
	if a.seen == nil {
		a.seen = b.good(a.raws)
	}
	list, fresh := b.lists[a.list], freshOnes(a.seen[:min(max+ends, len(a.seen))])
	if len(fresh) == 0 {
		return nil, 0, nil
	}
	r := &ride{call: b.seenCall(list, fresh, min(max+ends, mostOf(a.size))), max: max, ends: ends, done: make(chan struct{})}
	b.rides.offer(r)
	ready()
	patience := time.NewTimer(rideWait)
	defer patience.Stop()
	select {
	case <-r.done:
	case <-patience.C:
		if b.rides.withdraw(r) {
			return nil, 0, nil
		}
		<-r.done
	case <-ctx.Done():
		if b.rides.withdraw(r) {
			return nil, 0, ctx.Err()
		}
		<-r.done
	}
	a.raws, a.seen = nil, nil
	if ds, err = b.seenClaimed(list, fresh[:r.n], r.call.look, r.reply, r.next, r.err); err != nil {
		err = fmt.Errorf("claim messages: %w", err)
	}
	if len(ds) == 0 {
		a.list = -1
	}
	return ds, r.n, err
}

// finishWith runs finish.lua with args, and the claim behind it.
func (b *Broker) finishWith(ctx context.Context, r *ride, keys int, args []any) (ended any, err error) {
	defer close(r.done)
	finish := append([]any{keys}, args...)
	r.err = errCarry
	err = b.do(ctx, func(c redigo.Conn) error {
		if err := errors.Join(b.scripts.finish().SendHash(c, finish...), r.call.send(c, b.scripts.claimSeen(), r.n), c.Flush()); err != nil {
			return err
		}
		ended, err = c.Receive()
		if c.Err() != nil {
			return err
		}
		r.reply, r.next, r.err = r.call.receive(c)
		if c.Err() != nil {
			return err // of the ends there is an answer
		}
		if hasCode(err, "NOSCRIPT") {
			ended, err = b.scripts.finish().Do(c, finish...)
		}
		if hasCode(r.err, "NOSCRIPT") {
			r.next = nil
			r.reply, r.err = b.scripts.claimSeen().Do(c, r.call.first(r.n)...)
		}
		return err
	})
	if err != nil && r.err == errCarry {
		r.err = err
	}
	return ended, err
}
