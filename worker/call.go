package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// runState is the state of the run of a handler.
type runState struct {
	mu         sync.Mutex
	cancel     context.CancelCauseFunc // of the running handler
	cause      error                   // the run was ended before it began
	terminated bool                    // the task must not run, or not any more
	running    bool                    // the handler is at work, and the worker waits for it
	over       bool                    // the handler has returned, or was left behind
	started    time.Time               // of the run; zero before
	since      time.Time               // the same moment, by the clock of the worker

	onTimeLimit func() error // of the handler, or nil
}

// begin makes the context that the handler runs in, within work, and counts it. ok is false
// when it must not run any more, as when store has ended. The lock of c is taken within that
// of s.
func (s *runState) begin(store, work context.Context, c *calls, now time.Time) (ctx context.Context, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started, s.since = time.Now(), now
	if s.terminated || store.Err() != nil {
		s.over = true
		return nil, false
	}
	ctx, s.cancel = context.WithCancelCause(work)
	if s.cause != nil {
		s.cancel(s.cause)
	}
	s.running = true
	c.begin()
	return ctx, true
}

// end ends the context of the handler, now or when it begins.
func (s *runState) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
	if s.cancel != nil {
		s.cancel(cause)
	}
}

// interrupt ends the context of a handler that is at work. It reports whether it is.
func (s *runState) interrupt(cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.cancel(cause)
	}
	return s.running
}

// terminate keeps the task from running, and reports how far its run has come.
func (s *runState) terminate() (running, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terminated = true
	return s.running, s.over
}

// leave ends the run for the worker. Only the first caller gets true.
func (s *runState) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return false
	}
	s.running, s.over = false, true
	return true
}

// startedAt returns when the run began, the zero time before.
func (s *runState) startedAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// setTimeLimit sets the function that decides about the task at the hard time limit.
func (s *runState) setTimeLimit(decide func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onTimeLimit = decide
}

func (s *runState) timeLimit() (decide func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onTimeLimit
}

// calls counts handlers. A WaitGroup would not do: it may not grow from zero while a
// goroutine waits.
type calls struct {
	behind atomic.Int64 // handlers that run on though the worker does not wait for them

	mu sync.Mutex
	n  int           // handlers at work
	ch chan struct{} // closed when n is 0; nil when no goroutine waits
}

func (c *calls) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// leaveBehind counts a handler that the worker does not wait for.
func (c *calls) leaveBehind() { c.behind.Add(1) }

// returned ends the count of a handler that was left behind.
func (c *calls) returned() { c.behind.Add(-1) }

// leftBehind returns the number of handlers that run on.
func (c *calls) leftBehind() int64 { return c.behind.Load() }

// idle returns a channel that is closed when no handler is at work.
func (c *calls) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}
