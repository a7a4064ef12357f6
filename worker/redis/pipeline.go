package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// pipelineWait is how long a claim waits for a round trip that settles deliveries. A round
// trip of its own takes as long.
const pipelineWait = time.Millisecond

// patience bounds claims that build on earlier steps. Tests have more of it, for a busy machine is
// slower than any useful bound.
type patience struct {
	look     time.Duration // age of messages that were read before their claim
	pipeline time.Duration // wait for a round trip that settles deliveries
}

// pipeline passes claims from the claimer to the round trips of the settler.
type pipeline struct {
	mu      sync.Mutex
	waiting *pipelinedClaim
	proven  bool // the last round trip succeeded: Redis has finish.lua, and does not refuse it
}

// pipelinedClaim is a claim in the round trip that settles deliveries.
type pipelinedClaim struct {
	call      seenCall
	max, ends int

	n     int // messages that were asked for
	reply any
	next  [][]byte
	err   error
	done  chan struct{} // closed when the fields above are set
}

var errNoReply = errors.New("the round trip did not come to its end")

// prove notes whether a round trip succeeded.
func (p *pipeline) prove(succeeded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven = succeeded
}

// offer has the next round trip take the claim.
func (p *pipeline) offer(c *pipelinedClaim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = c
}

// take returns the waiting claim, if any, for a round trip that settles so many deliveries.
func (p *pipeline) take(settled int) *pipelinedClaim {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.waiting
	if c == nil || !p.proven {
		return nil
	}
	if c.n = min(c.max+min(settled, c.ends), c.call.entries); c.n <= 0 {
		return nil
	}
	p.waiting = nil
	return c
}

// withdraw reports whether c was still waiting.
func (p *pipeline) withdraw(c *pipelinedClaim) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := p.waiting == c
	if waits {
		p.waiting = nil
	}
	return waits
}

// claimAfter claims, in the next round trip of the settler, the messages that the claim
// before has read.
func (cl *claimer) claimAfter(ctx context.Context, max, ends int, ready func()) (ds []broker.Delivery, asked int, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	a := &cl.ahead
	if max+ends <= 0 || !cl.registered || cl.suspect || a.list < 0 || len(a.raws) == 0 || time.Since(a.at) > cl.patience.look {
		return nil, 0, nil
	}
	if a.seen == nil {
		a.seen = cl.decodePrefix(a.raws)
	}
	list, fresh := cl.lists[a.list], firstDeliveries(a.seen[:min(max+ends, len(a.seen))])
	if len(fresh) == 0 {
		return nil, 0, nil
	}
	c := &pipelinedClaim{call: cl.seenCall(list, fresh, min(max+ends, mostOf(a.size))), max: max, ends: ends, done: make(chan struct{})}
	cl.pipeline.offer(c)
	ready()
	if taken, err := cl.pipeline.await(ctx, c, cl.patience.pipeline); !taken {
		return nil, 0, err
	}
	a.raws, a.seen = nil, nil
	if ds, err = cl.readSeen(list, fresh[:c.n], c.call.look, c.reply, c.next, c.err); err != nil {
		err = fmt.Errorf("claim messages: %w", err)
	}
	if len(ds) == 0 {
		a.list = -1
	}
	return ds, c.n, err
}

// await waits for the reply to c. It reports false when no round trip took c in time.
func (p *pipeline) await(ctx context.Context, c *pipelinedClaim, most time.Duration) (taken bool, err error) {
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case <-c.done:
		return true, nil
	case <-patience.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if p.withdraw(c) {
		return false, err
	}
	<-c.done
	return true, nil
}

// finishWith runs finish.lua with args, and the claim after it.
func (se *settler) finishWith(ctx context.Context, claim *pipelinedClaim, keys int, args []any) (reply any, err error) {
	defer close(claim.done)
	finish := append([]any{keys}, args...)
	claim.err = errNoReply
	err = se.do(ctx, func(c redigo.Conn) error {
		if err := errors.Join(se.scripts.Finish().SendHash(c, finish...), claim.call.send(c, se.scripts.ClaimSeen(), claim.n), c.Flush()); err != nil {
			return err
		}
		reply, err = c.Receive()
		if c.Err() != nil {
			return err
		}
		claim.reply, claim.next, claim.err = claim.call.receive(c)
		if c.Err() != nil {
			return err // finish.lua has replied
		}
		if conn.HasCode(err, "NOSCRIPT") {
			reply, err = se.scripts.Finish().Do(c, finish...)
		}
		if conn.HasCode(claim.err, "NOSCRIPT") {
			claim.next = nil
			claim.reply, claim.err = se.scripts.ClaimSeen().Do(c, claim.call.first(claim.n)...)
		}
		return err
	})
	if err != nil && claim.err == errNoReply {
		claim.err = err
	}
	return reply, err
}
