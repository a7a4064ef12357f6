package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker/internal/pool"
)

// answer is the answer of a handler.
type answer struct {
	result  any
	err     error
	cause   error         // of its context, at its end
	runtime time.Duration // 0 when it did not run
}

// call runs the handler within its time limits, on the goroutine of the caller. Go cannot
// end a goroutine from outside. When the worker stops waiting for a handler, another
// goroutine replaces the caller and concludes the request; here is false then, and the
// caller must return.
func (e *executor) call(r *request) (a answer, here bool) {
	ctx, ok := r.state.begin(e.stages, r.task, e.calls, e.now())
	if !ok {
		if e.stages.store.Err() != nil {
			return answer{err: errAbandoned, cause: ErrStopped}, true
		}
		return answer{err: ErrRevoked, cause: ErrRevoked}, true
	}
	defer r.state.cancel(nil)
	if r.soft > 0 || r.hard > 0 {
		r.clock.Start(r.soft, r.hard, func() { e.softLimit(r) }, func() { e.hardLimit(r) })
		defer r.clock.Stop()
	}
	a.result, a.err = e.handle(ctx, r)
	if !r.state.leave() {
		e.calls.returned()
		return answer{}, false
	}
	e.calls.end()
	a.cause, a.runtime = context.Cause(ctx), e.now().Sub(r.state.since)
	return a, true
}

// handle runs the handler. It does not return when the handler ends its goroutine.
func (e *executor) handle(ctx context.Context, r *request) (result any, err error) {
	ended := false
	defer func() {
		if ended {
			return
		}
		if v := recover(); v != nil {
			result, err = nil, &errPanic{value: v, stack: string(debug.Stack())}
			return
		}
		e.leaveBehind(r, errGoexit, context.Cause(ctx))
		e.calls.returned() // it does nothing more
	}()
	result, err = r.def.handler.Run(ctx, r.task)
	ended = true
	return result, err
}

// softLimit tells a handler that its time is over, and waits on.
func (e *executor) softLimit(r *request) {
	if r.state.interrupt(ErrSoftTimeLimit) {
		r.log.Warn("soft time limit exceeded", "limit", r.soft.Seconds())
	}
}

// hardLimit stops waiting for a handler. Its slot is given up, and the handler is counted
// as left behind until it returns.
func (e *executor) hardLimit(r *request) {
	err := &Exception{Type: "TimeLimitExceeded", Module: "billiard.exceptions", Args: []any{pythonSeconds(r.hard)}, Err: ErrTimeLimit}
	if e.leaveBehind(r, err, ErrTimeLimit) {
		r.log.Error("hard time limit exceeded", "limit", r.hard.Seconds())
	}
}

// pythonSeconds returns a number as a Python caller usually writes it.
func pythonSeconds(d time.Duration) any {
	if d%time.Second == 0 {
		return int64(d / time.Second)
	}
	return d.Seconds()
}

// terminate ends a run for good, now or when it begins. It reports whether there was one
// to end.
func (e *executor) terminate(r *request) bool {
	running, over := r.state.terminate()
	return !over && (!running || e.leaveBehind(r, ErrRevoked, ErrRevoked))
}

// abandonAll leaves all handlers behind that ignore the end of their contexts, when the
// stop is over. Their messages stay claimed until the leases end with the process: no
// other worker must begin while a handler may still be at work.
func (e *executor) abandonAll() {
	active, _ := e.pool.Items()
	for _, r := range active {
		e.leaveBehind(r, errAbandoned, ErrStopped)
	}
}

// leaveBehind stops waiting for a handler. It reports whether one was at work.
func (e *executor) leaveBehind(r *request, err, cause error) bool {
	e.calls.leaveBehind() // before the handler can see that it is left behind
	if !r.state.leave() {
		e.calls.returned()
		return false
	}
	e.calls.end()
	r.state.cancel(cause)
	a := answer{err: err, cause: cause, runtime: e.now().Sub(r.state.since)}
	e.pool.ReplaceGoroutine(r, func() pool.Result { return e.conclude(r, a) })
	return true
}

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

// begin makes the context that the handler runs in, and counts it. ok is false when it must
// not run any more. The lock of c is taken within that of s.
func (s *runState) begin(life *stages, t *Task, c *calls, now time.Time) (ctx context.Context, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started, s.since = time.Now(), now
	if s.terminated || life.store.Err() != nil {
		s.over = true
		return nil, false
	}
	ctx, s.cancel = context.WithCancelCause(NewContext(life.work, t))
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

// afterTimeLimit returns the error of a run whose handler was left behind at the hard time
// limit; exceeded is the error that says so.
func (r *request) afterTimeLimit(exceeded error) (err error) {
	decide := r.state.timeLimit()
	if decide == nil {
		return exceeded
	}
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("function for the hard time limit panicked", "type", fmt.Sprintf("%T", v))
			err = exceeded
		}
	}()
	if err := decide(); err != nil {
		return err
	}
	return exceeded
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
