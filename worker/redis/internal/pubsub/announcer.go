// Package pubsub listens for results, and announces results a second time.
package pubsub

import (
	"context"
	"log/slog"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// announceAgain are the times after which a result without a listener is announced again.
var announceAgain = [...]time.Duration{100 * time.Millisecond, time.Second}

// Bounds of the results that wait to be announced again. Results beyond them are not
// announced again.
const (
	unheardMost  = 10_000
	unheardBytes = 16 << 20
)

// Unheard is a result that was announced without a listener.
type Unheard struct {
	Key   string // and channel
	Value []byte
	Since time.Time
	tries int
}

// Announcer announces results again. Make one with NewAnnouncer.
//
// A client that waits for the end of a chain subscribes over one connection and asks for
// the result over another. Redis may serve the second first. A result that is announced in
// between is neither found nor heard, and get() waits for ever. Python workers are slow
// enough for that to be rare. Only results of tasks that follow another task are
// concerned: for a task of its own a client subscribes before it publishes.
type Announcer struct {
	do  func(context.Context, func(redigo.Conn) error) error
	log *slog.Logger

	mu    sync.Mutex
	line  []Unheard // each try in the order of its time
	bytes int
	wake  chan struct{} // capacity 1
}

// NewAnnouncer returns an Announcer without results. do calls its argument with a
// connection.
func NewAnnouncer(do func(context.Context, func(redigo.Conn) error) error, log *slog.Logger) *Announcer {
	return &Announcer{do: do, log: log, wake: make(chan struct{}, 1)}
}

// Add has u announced again soon.
func (a *Announcer) Add(u Unheard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.line) >= unheardMost || a.bytes+len(u.Value) > unheardBytes {
		return
	}
	a.line = append(a.line, u)
	a.bytes += len(u.Value)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// due removes and returns the results to be announced now, and the time until the next.
func (a *Announcer) due(now time.Time) (us []Unheard, next time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.line[:0]
	for _, u := range a.line {
		wait := u.Since.Add(announceAgain[u.tries]).Sub(now)
		if wait <= 0 {
			us = append(us, u)
			a.bytes -= len(u.Value)
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

// Run announces results again until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	for {
		us, next := a.due(time.Now())
		if len(us) > 0 {
			if err := a.announce(ctx, us); err != nil {
				a.log.Debug("results could not be announced again", "results", len(us), "error", err)
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
		case <-a.wake:
		}
	}
}

func (a *Announcer) announce(ctx context.Context, us []Unheard) error {
	var heard []int
	err := a.do(ctx, func(c redigo.Conn) (err error) {
		for _, u := range us {
			if err := c.Send("PUBLISH", u.Key, u.Value); err != nil {
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
			a.Add(u)
		}
	}
	return nil
}
