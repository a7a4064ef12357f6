package redis

import (
	"context"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Wait implements [worker.Broker].
func (b *Broker) Wait(ctx context.Context) error {
	b.pollMu.Lock()
	polling := b.polling
	b.pollMu.Unlock()
	wait := blockTime
	if polling {
		wait = b.cfg.PollInterval
	} else {
		for _, p := range b.peekers {
			p.arm()
		}
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-b.ready:
	case <-t.C:
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
	b     *Broker
	key   string
	armed chan struct{}
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
		case err == nil && !found:
			// Whoever armed us is still waiting, or will arm us again: a
			// message may come any time.
			p.arm()
			continue
		case unknownCommand(err):
			p.b.fallBack()
		case err != nil:
			if c != nil {
				c.Close()
				c = nil
				// The other connections lead to the same server: a claim over
				// one of them would hang as this one did.
				p.b.replace(g)
			}
			// The claim that follows sees the fault too and backs off.
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
	_, err = redigo.DoWithTimeout(c, blockTime+blockMargin, "BLMOVE", p.key, p.key, "RIGHT", "RIGHT", blockTime.Seconds())
	if err == redigo.ErrNil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, nil
}

// fallBack turns to polling, on a server without BLMOVE (before Redis 6.2).
func (b *Broker) fallBack() {
	b.pollMu.Lock()
	defer b.pollMu.Unlock()
	if !b.polling {
		b.polling = true
		b.log.Info("the server has no BLMOVE (Redis 6.2 and newer have): queues are polled", "interval", b.cfg.PollInterval)
	}
}
