package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
)

// linger is how long the connection stays open without waiters, so that a caller that asks
// for one result after the other does not dial each time.
const linger = 5 * time.Second

// Listener receives messages of channels for its waiters, over one connection. The
// connection is open while a waiter exists. Make one with NewListener.
type Listener struct {
	dial        func(context.Context) (redigo.Conn, error)
	log         *slog.Logger
	idleChannel string

	mu      sync.Mutex
	waiters map[string][]chan struct{} // by key; capacity 1
	live    map[string]bool            // keys with a confirmed subscription
	change  chan struct{}              // capacity 1: the set of waiters changed
	cancel  context.CancelFunc         // ends the loop
	done    chan struct{}              // closed when the loop has ended; nil: no loop runs
	closed  bool
}

// NewListener returns a Listener that dials when it is used. It subscribes to idleChannel,
// too: a connection without a subscription cannot be read.
func NewListener(dial func(context.Context) (redigo.Conn, error), log *slog.Logger, idleChannel string) *Listener {
	return &Listener{dial: dial, log: log, idleChannel: idleChannel, waiters: map[string][]chan struct{}{}, live: map[string]bool{}, change: make(chan struct{}, 1)}
}

// Join starts listening on a channel. told receives a value when the subscription is
// confirmed, again whenever it was renewed, and for every message. leave must be called.
func (l *Listener) Join(key string) (told <-chan struct{}, leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, errors.New("wait for a result: the broker was closed")
	}
	c := make(chan struct{}, 1)
	l.waiters[key] = append(l.waiters[key], c)
	if l.live[key] {
		c <- struct{}{}
	}
	if l.done == nil {
		ctx, cancel := context.WithCancel(context.Background())
		l.cancel, l.done = cancel, make(chan struct{})
		go l.run(ctx, l.done)
	}
	l.changed()
	return c, func() { l.leave(key, c) }, nil
}

func (l *Listener) leave(key string, c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiters[key] = slices.DeleteFunc(l.waiters[key], func(o chan struct{}) bool { return o == c })
	if len(l.waiters[key]) == 0 {
		delete(l.waiters, key)
	}
	l.changed()
}

func (l *Listener) changed() {
	select {
	case l.change <- struct{}{}:
	default:
	}
}

// Close ends the connection and waits for it. Join fails from then on.
func (l *Listener) Close() {
	l.mu.Lock()
	l.closed = true
	cancel, done := l.cancel, l.done
	l.mu.Unlock()
	if done != nil {
		cancel()
		<-done
	}
}

// tell wakes the waiters of a channel.
func (l *Listener) tell(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.waiters[key] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// stands notes that messages of a channel arrive from now on. It wakes the waiters, which
// look for a result that came before.
func (l *Listener) stands(key string) {
	l.mu.Lock()
	if len(l.waiters[key]) > 0 {
		l.live[key] = true
	}
	l.mu.Unlock()
	l.tell(key)
}

// idle ends the loop when there are no waiters; l.done is nil then.
func (l *Listener) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiters) > 0 && !l.closed {
		return false
	}
	l.cancel()
	l.cancel, l.done = nil, nil
	return true
}

func (l *Listener) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	var pause backoff.Backoff
	for ctx.Err() == nil {
		began := time.Now()
		err := l.session(ctx)
		if err == nil {
			if l.idle() {
				return
			}
			continue
		}
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		l.log.Debug("listening for results ended, will try again", "error", err)
		pause.Wait(ctx)
	}
}

// session listens over one connection until it breaks. The error is nil when there are no
// waiters any more.
func (l *Listener) session(ctx context.Context) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer func() {
		cancel()
		conn.Close()
		reader.Wait()
		l.mu.Lock()
		clear(l.live)
		l.mu.Unlock()
	}()
	ps := redigo.PubSubConn{Conn: conn}
	if err := ps.Subscribe(l.idleChannel); err != nil {
		return err
	}
	broken := make(chan error, 1)
	reader.Go(func() { broken <- l.read(ps) })

	have := map[string]bool{}
	ping := time.NewTicker(10 * time.Second)
	defer ping.Stop()
	for {
		empty, err := l.subscribe(ps, have)
		if err != nil {
			return err
		}
		var over <-chan time.Time
		if empty {
			over = time.After(linger)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-over:
			return nil
		case <-l.change:
		case <-ping.C:
			if err := ps.Ping(""); err != nil {
				return err
			}
		}
	}
}

// subscribe brings the subscriptions in line with the waiters.
func (l *Listener) subscribe(ps redigo.PubSubConn, have map[string]bool) (empty bool, err error) {
	l.mu.Lock()
	var add, drop []any
	for key := range l.waiters {
		if !have[key] {
			add = append(add, key)
			have[key] = true
		}
	}
	for key := range have {
		if _, ok := l.waiters[key]; !ok {
			drop = append(drop, key)
			delete(have, key)
		}
	}
	for _, key := range drop {
		delete(l.live, key.(string))
	}
	empty = len(l.waiters) == 0
	l.mu.Unlock()
	if len(add) > 0 {
		err = ps.Subscribe(add...)
	}
	if err == nil && len(drop) > 0 {
		err = ps.Unsubscribe(drop...)
	}
	return empty, err
}

func (l *Listener) read(ps redigo.PubSubConn) error {
	for {
		switch v := ps.ReceiveWithTimeout(25 * time.Second).(type) {
		case error:
			return fmt.Errorf("read from a subscription: %w", v)
		case redigo.Message:
			l.tell(v.Channel)
		case redigo.Subscription:
			if v.Kind == "subscribe" {
				l.stands(v.Channel)
			}
		}
	}
}
