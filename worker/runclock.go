package worker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// runClock ends a run at its time limits. It stands still while the handler waits for
// what it shares with others.
type runClock struct {
	mu     sync.Mutex
	limits [2]runLimit // soft and hard
	since  time.Time   // when it began to run, or went on
	waits  int         // that it stands still for
	over   bool        // the run is
}

// runLimit is one time limit of a run.
type runLimit struct {
	timer *time.Timer   // nil: there is no limit, or it has passed
	left  time.Duration // when the clock went on
}

// start starts the clock of a run. A limit of 0 is none.
func (c *runClock) start(soft, hard time.Duration, onSoft, onHard func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	if soft > 0 {
		c.limits[0] = runLimit{time.AfterFunc(soft, onSoft), soft}
	}
	if hard > 0 {
		c.limits[1] = runLimit{time.AfterFunc(hard, onHard), hard}
	}
}

// end stops the clock for good.
func (c *runClock) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, l := range c.limits {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
}

// pause stops the clock until resume is called as often as pause.
func (c *runClock) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits++; c.waits > 1 || c.over {
		return
	}
	elapsed := time.Since(c.since)
	for i := range c.limits {
		l := &c.limits[i]
		if l.timer != nil && !l.timer.Stop() {
			l.timer = nil
		}
		l.left -= elapsed
	}
}

// resume lets the clock go on.
func (c *runClock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits--; c.waits > 0 || c.over {
		return
	}
	c.since = time.Now()
	for _, l := range c.limits {
		if l.timer != nil {
			l.timer.Reset(max(l.left, 0))
		}
	}
}

// Wait calls wait, which waits for something that the task shares with others, such
// as a connection of a pool, and returns its error. That time does not count against
// the time limits of the task. The context of wait ends after most, with [ErrWaited]
// as its cause. Then the clock goes on, even if wait does not return.
//
// A handler whose wait took too long has nothing to blame its task for: it returns a
// free [RetryError], which spends no attempt.
func (t *Task) Wait(ctx context.Context, most time.Duration, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, ErrWaited)
	defer cancel()
	if t.request == nil {
		return wait(ctx)
	}
	clock := &t.request.clock
	clock.pause()
	resume := sync.OnceFunc(clock.resume)
	defer resume()
	defer context.AfterFunc(ctx, resume)()
	return wait(ctx)
}

// OnTimeLimit sets the function that decides about the task when its handler has not
// returned by the hard time limit. The error of decide counts as that of the handler,
// so that [Retry] and [GiveUp] do what they do there. With nil, or without a function,
// the task ends in FAILURE with TimeLimitExceeded.
//
// decide runs beside the handler, whose context has ended and whose result is thrown
// away. They must agree which of them acts: a handler that goes on must not take a step
// that cannot be taken back after decide has asked for a retry.
func (t *Task) OnTimeLimit(decide func() error) {
	if t.request == nil {
		return
	}
	t.request.mu.Lock()
	defer t.request.mu.Unlock()
	t.request.onTimeLimit = decide
}

// afterTimeLimit returns the error of a run whose handler was left behind at the hard
// time limit; exceeded is the one that says so.
func (r *request) afterTimeLimit(exceeded error) (err error) {
	r.mu.Lock()
	decide := r.onTimeLimit
	r.mu.Unlock()
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
