package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
)

// awaitPoll is the interval at which a waiter looks by itself: what is published
// while the subscription is down is told to nobody.
const awaitPoll = 5 * time.Second

// linger is how long the connection stays open when nobody waits: who asks for
// one result after the other shall not dial each time.
const linger = 5 * time.Second

// Await implements [broker.Backend].
func (b *Broker) Await(ctx context.Context, id string) (*protocol.Result, error) {
	key := b.keys.result(id)
	told, leave, err := b.listener.join(key)
	if err != nil {
		return nil, err
	}
	defer leave()
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	var fault error
	for {
		// The first look comes when the subscription stands.
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), fault)
		case <-told:
		case <-tick.C:
		}
		results, err := b.Results(ctx, []string{id})
		if fault = err; err != nil {
			continue
		}
		if r := results[0]; r != nil && final(r.Status) {
			return r, nil
		}
	}
}

// final reports whether a task in that state has ended: states.READY_STATES.
func final(status string) bool {
	return status == protocol.StateSuccess || status == protocol.StateFailure || status == protocol.StateRevoked
}

// listener hears of results for all that wait for one, over one connection,
// which is open for as long as somebody waits.
type listener struct {
	b *Broker

	mu      sync.Mutex
	waiters map[string][]chan struct{} // by key; capacity 1
	live    map[string]bool            // keys whose subscription stands
	change  chan struct{}              // capacity 1: waiters came or went
	cancel  context.CancelFunc         // ends the loop
	done    chan struct{}              // closed when the loop has ended; nil: none runs
	closed  bool
}

func newListener(b *Broker) *listener {
	return &listener{b: b, waiters: map[string][]chan struct{}{}, live: map[string]bool{}, change: make(chan struct{}, 1)}
}

// join begins to listen on a key. A value arrives when the subscription stands,
// again whenever it was renewed, and for every message; leave must be called.
func (l *listener) join(key string) (told <-chan struct{}, leave func(), err error) {
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

func (l *listener) leave(key string, c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiters[key] = slices.DeleteFunc(l.waiters[key], func(o chan struct{}) bool { return o == c })
	if len(l.waiters[key]) == 0 {
		delete(l.waiters, key)
	}
	l.changed()
}

func (l *listener) changed() {
	select {
	case l.change <- struct{}{}:
	default:
	}
}

// close ends the loop and waits for it.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	cancel, done := l.cancel, l.done
	l.mu.Unlock()
	if done != nil {
		cancel()
		<-done
	}
}

// tell wakes those who wait for a key.
func (l *listener) tell(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.waiters[key] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// stands notes that messages of a key arrive from here on, and lets its waiters
// look at what came before.
func (l *listener) stands(key string) {
	l.mu.Lock()
	if len(l.waiters[key]) > 0 {
		l.live[key] = true
	}
	l.mu.Unlock()
	l.tell(key)
}

// idle ends the loop when nobody waits; l.done is nil then.
func (l *listener) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiters) > 0 && !l.closed {
		return false
	}
	l.cancel()
	l.cancel, l.done = nil, nil
	return true
}

func (l *listener) run(ctx context.Context, done chan struct{}) {
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
		l.b.log.Debug("listening for results ended, will try again", "error", err)
		pause.Wait(ctx)
	}
}

// session listens over one connection, until it breaks, or nobody waits: then
// the error is nil.
func (l *listener) session(ctx context.Context) error {
	conn, err := l.b.dial(ctx)
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
	// A subscription to begin with: without one the connection cannot be read.
	if err := ps.Subscribe(l.b.keys.step("listener")); err != nil {
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
func (l *listener) subscribe(ps redigo.PubSubConn, have map[string]bool) (empty bool, err error) {
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

func (l *listener) read(ps redigo.PubSubConn) error {
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
