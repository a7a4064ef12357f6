package worker

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/evently/workers/worker/internal/pool"
)

// handled is what has become of a handler.
type handled struct {
	result  any
	err     error
	cause   error         // of its context, at its end
	runtime time.Duration // 0 when it did not run
}

// call runs the handler within its time limits, on the goroutine of the caller. Go
// cannot end a goroutine from outside: when a handler is not waited for any more, another
// goroutine takes the caller's place and sees the request to its end; here is false then,
// and the caller has to leave.
func (w *Worker) call(life lifecycle, r *request) (a handled, here bool) {
	ctx, ok := w.begin(life, r)
	if !ok {
		if life.store.Err() != nil {
			return handled{err: errAbandoned, cause: ErrStopped}, true
		}
		return handled{err: ErrRevoked, cause: ErrRevoked}, true
	}
	defer r.cancel(nil)
	if r.soft > 0 || r.hard > 0 {
		r.clock.start(r.soft, r.hard, func() { w.softLimit(r) }, func() { w.hardLimit(r) })
		defer r.clock.end()
	}
	a.result, a.err = w.handle(ctx, r)
	if !r.leave() {
		w.aborted.Add(-1)
		return handled{}, false
	}
	w.calls.end()
	a.cause, a.runtime = context.Cause(ctx), w.now().Sub(r.since)
	return a, true
}

// begin makes the context that the handler runs in; ok is false when it must not run
// any more.
func (w *Worker) begin(life lifecycle, r *request) (ctx context.Context, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started, r.since = time.Now(), w.now()
	if r.terminated || life.store.Err() != nil {
		r.over = true
		return nil, false
	}
	ctx, r.cancel = context.WithCancelCause(NewContext(life.work, r.task))
	if r.cause != nil {
		r.cancel(r.cause)
	}
	r.running = true
	w.calls.begin()
	return ctx, true
}

// handle runs the handler. It does not return when that ends its goroutine.
func (w *Worker) handle(ctx context.Context, r *request) (result any, err error) {
	ended := false
	defer func() {
		if ended {
			return
		}
		if v := recover(); v != nil {
			result, err = nil, &errPanic{value: v, stack: string(debug.Stack())}
			return
		}
		w.leaveBehind(r, errGoexit, context.Cause(ctx))
		w.aborted.Add(-1) // it does nothing more
	}()
	result, err = r.def.handler.Run(ctx, r.task)
	ended = true
	return result, err
}

// softLimit tells a handler that its time is over, and waits on.
func (w *Worker) softLimit(r *request) {
	r.mu.Lock()
	running := r.running
	if running {
		r.cancel(ErrSoftTimeLimit)
	}
	r.mu.Unlock()
	if running {
		r.log.Warn("soft time limit exceeded", "limit", r.soft.Seconds())
	}
}

// hardLimit waits no longer. The slot is given up, and the handler counted until it
// returns by itself.
func (w *Worker) hardLimit(r *request) {
	err := &Exception{Type: "TimeLimitExceeded", Module: "billiard.exceptions", Args: []any{pythonSeconds(r.hard)}, Err: ErrTimeLimit}
	if w.leaveBehind(r, err, ErrTimeLimit) {
		r.log.Error("hard time limit exceeded", "limit", r.hard.Seconds())
	}
}

// pythonSeconds is a number as Python's caller has written it, mostly.
func pythonSeconds(d time.Duration) any {
	if d%time.Second == 0 {
		return int64(d / time.Second)
	}
	return d.Seconds()
}

// terminate ends a run for good, now or when it begins; it reports whether there was
// one to end.
func (w *Worker) terminate(r *request) bool {
	r.mu.Lock()
	running, over := r.running, r.over
	r.terminated = true
	r.mu.Unlock()
	return !over && (!running || w.leaveBehind(r, ErrRevoked, ErrRevoked))
}

// abandonAll leaves all handlers behind that do not heed the end of their contexts,
// when the stop is over. Their messages stay claimed until the leases end with the
// process: while a handler may still be at work nobody else must begin.
func (w *Worker) abandonAll() {
	active, _ := w.pool.Items()
	for _, r := range active {
		w.leaveBehind(r, errAbandoned, ErrStopped)
	}
}

// leaveBehind waits for a handler no longer. It reports whether one was at work.
func (w *Worker) leaveBehind(r *request, err, cause error) bool {
	w.aborted.Add(1) // before the handler can see that it is left
	if !r.leave() {
		w.aborted.Add(-1)
		return false
	}
	w.calls.end()
	r.cancel(cause)
	a := handled{err: err, cause: cause, runtime: w.now().Sub(r.since)}
	w.pool.ReplaceGoroutine(r, func() pool.Result { return w.conclude(w.life, r, a) })
	return true
}

// leave ends the run for those who wait for it; only the first of them is told so.
func (a *attempt) leave() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running {
		return false
	}
	a.running, a.over = false, true
	return true
}
