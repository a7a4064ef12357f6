package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
)

// Run implements [broker.Broker].
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	b.peekers.start(ctx)
	if len(b.addr.sentinels) > 0 {
		loops.Go(func() { b.every(ctx, followInterval, "ask the Sentinels", b.follow) })
	}
	loops.Go(func() { b.once(ctx, "look at the server", b.advise) })
	loops.Go(func() { b.announce(ctx) })
	loops.Go(func() { b.every(ctx, keyCheckInterval, "look at the types of keys", b.checkKeys) })
	loops.Go(func() { b.every(ctx, b.renewInterval(), "renew leases", b.renew) })
	loops.Go(func() { b.every(ctx, b.cfg.OwnerTimeout/5, "keep up the heartbeat", b.beat) })
	// Apart from the heartbeat: giving back what a dead worker held takes its time,
	// and whoever is silent meanwhile counts as dead himself.
	loops.Go(func() { b.every(ctx, b.cfg.OwnerTimeout/5, "recover from dead workers", b.recoverOwners) })
	loops.Go(func() { b.every(ctx, b.recoverInterval(), "recover expired messages", b.recoverExpired) })
	done := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(done)
		b.Reset() // what waits for an answer need not
	})
	loops.Wait()
	b.peekers.loops.Wait()
	<-done // it must not cut what comes now
	b.unfollow()
	b.leave()
	return b.Close()
}

// every calls step at once and then in intervals, until ctx ends. Faults are
// logged, the first of a row and then one in ten seconds, and tried again soon.
func (b *Broker) every(ctx context.Context, interval time.Duration, what string, step func(context.Context) error) {
	var faults backoff.Backoff
	for {
		wait := interval
		if err := step(ctx); err != nil && ctx.Err() == nil {
			if faults.Report() {
				b.log.Error("redis refused, will try again", "doing", what, "error", err)
			}
			wait = min(interval, time.Second/2)
		}
		if backoff.Sleep(ctx, wait) != nil {
			return
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
		_ = backoff.Sleep(ctx, 5*time.Second) // the loop asks ctx
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
		args := []any{b.keys.unacked, b.keys.index, b.keys.owner(b.owner), b.epoch.Load()}
		for _, claim := range chunk {
			args = append(args, claim)
		}
		reply, err := redigo.Values(b.script(ctx, b.scripts.renew, 3, args...))
		var known bool
		var gone []string
		if err == nil {
			_, err = redigo.Scan(reply, &known, &gone)
		}
		if err != nil {
			return fmt.Errorf("renew leases: %w", err)
		}
		if !known && len(gone) > 0 {
			// The data of the server is gone, or an older one is back. What runs
			// here may end; nobody else has it.
			b.log.Warn("redis does not know this worker any more: it has lost data")
			continue
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

// beat says that we live, and learns who does not. After a silence it also looks at
// once what of our claims is left: others may have given us up.
func (b *Broker) beat(ctx context.Context) error {
	asked := time.Now()
	silent, err := redigo.Strings(b.script(ctx, b.scripts.heartbeat, 2, b.keys.owners, b.keys.owner(b.owner),
		b.owner, b.cfg.OwnerTimeout.Seconds(), b.keys.owner("")))
	if wrongType(err) {
		silent, err = nil, nil // it tells of no silent owner
	}
	if err != nil {
		return err
	}
	b.silentOwners.Store(&silent)
	if b.silentTooLong() {
		// We were away, and so may all have been.
		b.judgeAfter.Store(new(time.Now().Add(b.cfg.OwnerTimeout)))
		b.log.Warn("heartbeat is late: the process stood still, or redis did not answer", "late", elapsed(*b.lastBeat.Load()).Seconds())
		if err := b.renew(ctx); err != nil {
			return err
		}
	}
	b.lastBeat.Store(&asked)
	return nil
}

// silentTooLong reports whether our last heartbeat is so old that others may soon give
// us up, or have done so.
func (b *Broker) silentTooLong() bool {
	last := b.lastBeat.Load()
	return last != nil && b.tooLong(*last)
}

func (b *Broker) tooLong(since time.Time) bool { return elapsed(since) > b.cfg.OwnerTimeout/2 }

// elapsed returns the time since then, by the clock that has counted more of it. The
// monotonic clock stands still while the machine sleeps, and the wall clock may be set
// back.
func elapsed(then time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// errStale says that no answer about a claim came in time to be of use.
var errStale = errors.New("the answers come too late to be true")

// Held implements [broker.Broker]. An answer is of use for as long as others believe
// that we live: so a late heartbeat comes first, and an answer that took long, perhaps
// because the process stood still, is asked for again.
func (b *Broker) Held(ctx context.Context, claim string) (held bool, err error) {
	const most = 3
	for range most {
		if err := b.catchUp(ctx); err != nil {
			return false, fmt.Errorf("ask for the claim: %w", err)
		}
		asked := time.Now()
		err = b.do(ctx, func(c redigo.Conn) (err error) {
			held, err = redigo.Bool(redigo.DoContext(c, ctx, "HEXISTS", b.keys.unacked, claim))
			return err
		})
		if err != nil {
			return false, fmt.Errorf("ask for the claim: %w", err)
		}
		if !held || !b.tooLong(asked) {
			return held, nil
		}
	}
	return false, fmt.Errorf("ask for the claim: %w", errStale)
}

// catchUp makes up for a late heartbeat. One of many callers does.
func (b *Broker) catchUp(ctx context.Context) error {
	if !b.silentTooLong() {
		return nil
	}
	select {
	case b.late <- struct{}{}:
		defer func() { <-b.late }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !b.silentTooLong() {
		return nil
	}
	return b.beat(ctx)
}

// leave takes us off the list of owners when nothing is left behind.
func (b *Broker) leave() {
	b.outMu.Lock()
	left := len(b.out)
	b.outMu.Unlock()
	b.claiming.Lock()
	suspect := b.suspect
	b.claiming.Unlock()
	if left > 0 || suspect {
		return // others take over when the heartbeat has run out
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
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

// leaveTimeout bounds the last word of a broker: nothing depends on it.
const leaveTimeout = time.Second
