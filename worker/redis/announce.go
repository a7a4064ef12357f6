package redis

import (
	"context"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A client that waits for the end of a chain subscribes over one connection and asks
// for the result over another, and Redis may serve the second first. A result that is
// announced in between is neither found nor heard: get() then waits for ever. Python
// workers are slow enough for that to be rare. Only what follows another task is
// concerned: for what it sends itself a client subscribes beforehand.

// announceAgain are the times after which a result that nobody has heard of is
// announced again.
var announceAgain = [...]time.Duration{100 * time.Millisecond, time.Second}

// Bounds of what waits to be announced again; beyond them the announcement is left out.
const (
	unheardMost  = 10_000
	unheardBytes = 16 << 20
)

// unheard is a result that was announced to nobody.
type unheard struct {
	key   string
	value []byte
	since time.Time
	tries int
}

// announcer announces results again.
type announcer struct {
	mu    sync.Mutex
	line  []unheard // each try in the order of its time
	bytes int
	wake  chan struct{} // capacity 1
}

func newAnnouncer() *announcer { return &announcer{wake: make(chan struct{}, 1)} }

func (a *announcer) add(u unheard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.line) >= unheardMost || a.bytes+len(u.value) > unheardBytes {
		return
	}
	a.line = append(a.line, u)
	a.bytes += len(u.value)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// due removes and returns what is to be announced now, and the time until the next.
func (a *announcer) due(now time.Time) (us []unheard, next time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.line[:0]
	for _, u := range a.line {
		wait := u.since.Add(announceAgain[u.tries]).Sub(now)
		if wait <= 0 {
			us = append(us, u)
			a.bytes -= len(u.value)
			continue
		}
		if next == 0 || wait < next {
			next = wait
		}
		kept = append(kept, u)
	}
	clear(a.line[len(kept):])
	a.line = kept
	return us, next
}

// announce announces again what nobody has heard of, until ctx ends.
func (b *Broker) announce(ctx context.Context) {
	for {
		us, next := b.announcer.due(time.Now())
		if len(us) > 0 {
			if err := b.announceAll(ctx, us); err != nil {
				b.log.Debug("results could not be announced again", "results", len(us), "error", err)
			}
			continue
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer:
		case <-b.announcer.wake:
		}
	}
}

func (b *Broker) announceAll(ctx context.Context, us []unheard) error {
	var heard []int
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		for _, u := range us {
			if err := c.Send("PUBLISH", u.key, u.value); err != nil {
				return err
			}
		}
		heard, err = redigo.Ints(redigo.DoContext(c, ctx, ""))
		return err
	})
	if err != nil {
		return err
	}
	for i, u := range us {
		if u.tries++; u.tries < len(announceAgain) && i < len(heard) && heard[i] == 0 {
			b.announcer.add(u)
		}
	}
	return nil
}
