package workertest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// remote holds the broadcasts, replies and events of a Broker in memory.
type remote struct {
	listeners []*listener
	events    []broker.Emission
	requests  [][]byte            // broadcast without a request for an answer
	replies   map[string][][]byte // by routing key
}

type listener struct {
	broker.Listening
	queue chan func()
}

// Events returns the events that were emitted.
func (b *Broker) Events() []broker.Emission {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.remote.events)
}

// Broadcasts returns the requests of remote control that were broadcast.
func (b *Broker) Broadcasts() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.remote.requests)
}

// Listen implements [broker.Remote].
func (b *Broker) Listen(ctx context.Context, l broker.Listening) error {
	one := &listener{Listening: l, queue: make(chan func(), 1000)}
	b.mu.Lock()
	b.remote.listeners = append(b.remote.listeners, one)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.remote.listeners = slices.DeleteFunc(b.remote.listeners, func(o *listener) bool { return o == one })
	}()
	l.Joined()
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-one.queue:
			call()
		}
	}
}

// Reply implements [broker.Remote].
func (b *Broker) Reply(_ context.Context, to protocol.ReplyTo, raw []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.remote.replies == nil {
		b.remote.replies = map[string][][]byte{}
	}
	b.remote.replies[to.RoutingKey] = append(b.remote.replies[to.RoutingKey], raw)
	b.wake()
	return nil
}

// Replies returns the answers to a routing key.
func (b *Broker) Replies(routingKey string) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.remote.replies[routingKey])
}

// Emit implements [broker.Emitter].
func (b *Broker) Emit(_ context.Context, es ...broker.Emission) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range es {
		e.Raw = bytes.Clone(e.Raw)
		b.remote.events = append(b.remote.events, e)
		for _, l := range b.remote.listeners {
			if l.Event != nil && (l.TaskEvents || strings.HasPrefix(e.RoutingKey, "worker.")) {
				l.tell(func() { l.Event(e.Raw) })
			}
		}
	}
	b.wake()
	return nil
}

func (l *listener) tell(call func()) {
	select {
	case l.queue <- call:
	default: // gone, or too slow
	}
}

// Broadcast implements [broker.Remote].
func (b *Broker) Broadcast(_ context.Context, request []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remote.requests = append(b.remote.requests, request)
	b.remote.broadcast(request)
	return nil
}

// broadcast gives a request to all listeners for requests and returns their number.
func (r *remote) broadcast(request []byte) (receivers int) {
	for _, l := range r.listeners {
		if l.Request != nil {
			l.tell(func() { l.Request(request) })
			receivers++
		}
	}
	return receivers
}

// Ask implements [broker.Remote].
func (b *Broker) Ask(ctx context.Context, request []byte, routingKey string, receive func(raw []byte)) error {
	b.mu.Lock()
	n := b.remote.broadcast(request)
	b.mu.Unlock()
	for got := 0; got < n; {
		changed := b.Changed()
		for _, raw := range b.Replies(routingKey)[got:] {
			receive(raw)
			got++
		}
		if got >= n {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
	return nil
}

// AddQueue implements [broker.QueueSet].
func (b *Broker) AddQueue(_ context.Context, queue string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.session.Queues, queue) {
		return false, nil
	}
	b.session.Queues = append(slices.Clone(b.session.Queues), queue)
	b.wake()
	return true, nil
}

// CancelQueue implements [broker.QueueSet].
func (b *Broker) CancelQueue(_ context.Context, queue string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.session.Queues)
	b.session.Queues = slices.DeleteFunc(slices.Clone(b.session.Queues), func(q string) bool { return q == queue })
	return len(b.session.Queues) < before, nil
}

// Depth implements [broker.Depther].
func (b *Broker) Depth(context.Context) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lists.depth(b.session.Queues), nil
}

// Info implements [broker.Describer].
func (b *Broker) Info() broker.Info {
	return broker.Info{Transport: "memory", Hostname: "localhost", VirtualHost: "0", URL: "memory://", ConnectTimeout: time.Second}
}
