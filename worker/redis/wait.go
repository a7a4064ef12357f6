package redis

import (
	"context"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
)

// Wait implements [broker.Broker].
func (b *Broker) Wait(ctx context.Context) error {
	b.pollMu.Lock()
	polling := time.Now().Before(b.pollUntil)
	b.pollMu.Unlock()
	wait := waitTime
	if pause := time.Duration(b.pause.Load()); pause > 0 {
		wait = pause
	} else if polling {
		wait = b.cfg.PollInterval
	} else {
		b.peekers.arm()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-b.ready:
	case <-t.C:
	}
	// A server that is full answers a claim of nothing, and lets nobody wait.
	if err := b.waitFault.Swap(nil); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for messages: %w", *err)
	}
	return nil
}

func (b *Broker) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// peeker waits for messages in one list without taking them: BLMOVE from the
// tail of a list to its own tail blocks while the list is empty and changes
// nothing. Nothing is lost when its reply is.
type peeker struct {
	b      *Broker
	key    string
	armed  chan struct{}
	cancel context.CancelFunc // nil before it runs
}

func newPeeker(b *Broker, key string) *peeker {
	return &peeker{b: b, key: key, armed: make(chan struct{}, 1)}
}

// arm lets the peeker look again. One that waits already goes on.
func (p *peeker) arm() {
	select {
	case p.armed <- struct{}{}:
	default:
	}
}

func (p *peeker) run(ctx context.Context) {
	var c redigo.Conn
	var g *generation // that c belongs to
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	var pause backoff.Backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.armed:
		}
		var err error
		if c == nil {
			g = p.b.current()
			if c, err = p.b.dial(ctx); err != nil {
				c = nil
			}
		}
		found := false
		if err == nil {
			found, err = p.peek(ctx, c, g)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause.Reset()
			if !found {
				// Whoever armed us is still waiting, or will arm us again: a message
				// may come any time.
				p.arm()
				continue
			}
		case notToBeHad(err):
			p.b.fallBack()
		case wrongType(err):
			// The queue costs its own messages alone: claims pass it over.
			t := time.NewTimer(waitTime)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
			continue
		default:
			if c != nil && c.Err() != nil {
				c.Close()
				c = nil
				// The other connections lead to the same server: a claim over one of
				// them would hang as this one did.
				p.b.replace(g, true)
			}
			// The claim that follows may work all the same, and find nothing: a
			// server that is full answers to those who only ask. Without a pause
			// that would be a loop.
			if !pause.Wait(ctx) {
				return
			}
			p.b.waitFault.Store(&err)
		}
		p.b.signal()
	}
}

// peek blocks until the list has an element, or the block time is over.
func (p *peeker) peek(ctx context.Context, c redigo.Conn, g *generation) (found bool, err error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	leave := context.AfterFunc(g.over, func() { c.Close() })
	defer leave()
	reply, err := redigo.DoWithTimeout(c, blockTime+blockMargin, "BLMOVE", p.key, p.key, "RIGHT", "RIGHT", blockTime.Seconds())
	return reply != nil, err
}

// pollSpell is the number of looks by polling after which BLMOVE is tried again:
// what was missing may have been a right, or the server another one.
const pollSpell = 300

// fallBack turns to polling, on a server without BLMOVE (before Redis 6.2).
func (b *Broker) fallBack() {
	b.pollMu.Lock()
	defer b.pollMu.Unlock()
	first := b.pollUntil.IsZero()
	b.pollUntil = time.Now().Add(pollSpell * b.cfg.PollInterval)
	if first {
		b.log.Info("the server does not let us wait with BLMOVE (Redis 6.2 and newer do): queues are polled", "interval", b.cfg.PollInterval.Seconds())
	}
}
