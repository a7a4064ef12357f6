package redis

import (
	"context"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Run implements [worker.Broker].
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, p := range b.peekers {
		loops.Go(func() { p.run(ctx) })
	}
	if len(b.addr.sentinels) > 0 {
		loops.Go(func() { b.every(ctx, followInterval, "ask the Sentinels", b.follow) })
	}
	loops.Go(func() { b.once(ctx, "look at the server", b.advise) })
	loops.Go(func() { b.every(ctx, b.renewInterval(), "renew leases", b.renew) })
	loops.Go(func() { b.every(ctx, b.cfg.OwnerTimeout/5, "keep up the heartbeat", b.heartbeat) })
	loops.Go(func() { b.every(ctx, b.recoverInterval(), "recover expired messages", b.recoverExpired) })
	loops.Wait()
	b.unfollow()
	b.leave()
	return b.Close()
}

// every calls step at once and then in intervals, until ctx ends. Faults are
// logged, the first of a row and then one in ten seconds, and tried again soon.
func (b *Broker) every(ctx context.Context, interval time.Duration, what string, step func(context.Context) error) {
	var reported time.Time
	for {
		wait := interval
		if err := step(ctx); err != nil && ctx.Err() == nil {
			if time.Since(reported) > 10*time.Second {
				b.log.Error("redis refused, will try again", "doing", what, "error", err)
				reported = time.Now()
			}
			wait = min(interval, time.Second/2)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// once calls step until it succeeds or ctx ends. That it does not work yet is
// what the other loops report.
func (b *Broker) once(ctx context.Context, what string, step func(context.Context) error) {
	for ctx.Err() == nil {
		err := step(ctx)
		if err == nil {
			return
		}
		b.log.Debug("redis refused, will try again", "doing", what, "error", err)
		t := time.NewTimer(5 * time.Second)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// renewInterval leaves room for several attempts within a lease, and for a
// scan of a peer that began before a renewal.
func (b *Broker) renewInterval() time.Duration {
	return min(max(b.cfg.VisibilityTimeout/5, 200*time.Millisecond), 30*time.Second)
}

func (b *Broker) recoverInterval() time.Duration {
	return min(max(b.cfg.VisibilityTimeout/5, time.Second), 30*time.Second)
}

// renewChunk bounds one renewal script.
const renewChunk = 500

// renew renews the leases of all claims that we answer for.
func (b *Broker) renew(ctx context.Context) error {
	b.outMu.Lock()
	claims := make([]string, 0, len(b.out))
	for claim := range b.out {
		claims = append(claims, claim)
	}
	b.outMu.Unlock()
	for len(claims) > 0 {
		chunk := claims[:min(renewChunk, len(claims))]
		claims = claims[len(chunk):]
		args := []any{b.keys.unacked, b.keys.index}
		for _, claim := range chunk {
			args = append(args, claim)
		}
		gone, err := redigo.Strings(b.script(ctx, b.scripts.renew, 2, args...))
		if err != nil {
			return err
		}
		for _, claim := range gone {
			// What was settled while the script ran is gone by our own doing.
			if b.forget(claim) && b.session.Lost != nil {
				b.session.Lost(claim)
			}
		}
	}
	return nil
}

// beat says that we live, and returns the owners that are silent for too long.
func (b *Broker) beat(ctx context.Context) ([]string, error) {
	return redigo.Strings(b.script(ctx, b.scripts.heartbeat, 2, b.keys.owners, b.keys.owner(b.owner),
		b.owner, b.cfg.OwnerTimeout.Seconds()))
}

// heartbeat says that we live, and gives back what dead siblings held.
func (b *Broker) heartbeat(ctx context.Context) error {
	silent, err := b.beat(ctx)
	if err != nil {
		return err
	}
	dead, err := b.provenDead(ctx)
	if err != nil {
		return err
	}
	done := map[string]bool{b.owner: true}
	for _, owner := range append(dead, silent...) {
		if done[owner] {
			continue
		}
		done[owner] = true
		if err := b.recoverOwner(ctx, owner); err != nil {
			return err
		}
	}
	return nil
}

// provenDead returns the owners whose processes, on this machine, have ended,
// and marks them so.
func (b *Broker) provenDead(ctx context.Context) ([]string, error) {
	self := thisProcess()
	if self.Boot == "" {
		return nil, nil
	}
	var dead []string
	err := b.do(ctx, func(c redigo.Conn) error {
		owners, err := redigo.Strings(c.Do("ZRANGE", b.keys.owners, 0, -1))
		if err != nil {
			return err
		}
		known := map[string]identity{}
		for _, owner := range owners {
			id, ok := b.siblings[owner]
			if !ok {
				text, err := redigo.String(c.Do("HGET", b.keys.owner(owner), "identity"))
				if err == redigo.ErrNil {
					continue
				}
				if err != nil {
					return err
				}
				id = decodeIdentity(text)
			}
			known[owner] = id
			if owner != b.owner && self.dead(id) {
				if _, err := c.Do("ZADD", b.keys.owners, "XX", 0, owner); err != nil {
					return err
				}
				dead = append(dead, owner)
			}
		}
		b.siblings = known
		return nil
	})
	return dead, err
}

// leave takes us off the list of owners when nothing is left behind.
func (b *Broker) leave() {
	b.outMu.Lock()
	left := len(b.out)
	b.outMu.Unlock()
	if left > 0 {
		return // others take over when the heartbeat has run out
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	err := b.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("ZREM", b.keys.owners, b.owner); err != nil {
			return err
		}
		_, err := c.Do("DEL", b.keys.owner(b.owner))
		return err
	})
	if err != nil {
		b.log.Warn("cannot sign off, the entry expires by itself", "error", err)
	}
}
