package batch

import (
	"context"
	"sync"
)

// CallConfig describes a Caller.
type CallConfig[T, R any] struct {
	// Call makes one round trip and returns a reply for each request.
	Call func([]T) ([]R, error)
	// Size returns the bytes of a request.
	Size func(T) int
}

// Caller carries out calls of many goroutines in few round trips. Calls that come while a
// round trip is in progress wait for the next. Make one with NewCaller.
type Caller[T, R any] struct {
	call    func([]T) ([]R, error)
	batcher *Batcher[*call[T, R]]
	idle    sync.Pool // calls that can be reused
}

// call is a request and the place of its reply.
type call[T, R any] struct {
	request T
	done    chan reply[R] // capacity 1
}

type reply[R any] struct {
	value R
	err   error
}

// NewCaller returns a Caller without calls.
func NewCaller[T, R any](cfg CallConfig[T, R]) *Caller[T, R] {
	c := &Caller[T, R]{call: cfg.Call}
	c.batcher = New(Config[*call[T, R]]{
		Send: c.send,
		Size: func(one *call[T, R]) int { return cfg.Size(one.request) },
	})
	return c
}

// Do returns the reply to a request. The error is that of ctx, or that of the round trip. A
// request whose ctx has ended may still be sent.
func (c *Caller[T, R]) Do(ctx context.Context, request T) (R, error) {
	one, ok := c.idle.Get().(*call[T, R])
	if !ok {
		one = &call[T, R]{done: make(chan reply[R], 1)}
	}
	one.request = request
	c.batcher.Add(one)
	select {
	case r := <-one.done:
		one.request = *new(T)
		c.idle.Put(one)
		return r.value, r.err
	case <-ctx.Done():
		c.batcher.remove(func(waiting *call[T, R]) bool { return waiting == one })
		return *new(R), ctx.Err()
	}
}

// send makes one round trip.
func (c *Caller[T, R]) send(calls []*call[T, R]) {
	requests := make([]T, len(calls))
	for i, one := range calls {
		requests[i] = one.request
	}
	values, err := c.call(requests)
	for i, one := range calls {
		if err != nil {
			one.done <- reply[R]{err: err}
		} else {
			one.done <- reply[R]{value: values[i]}
		}
	}
}
