package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/hold"
	"github.com/evently/workers/worker/internal/link"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/taskevents"
	"github.com/evently/workers/worker/protocol"
)

// executor runs requests, from their start to their settlement.
type executor struct {
	env
	broker  broker.Broker
	link    *link.Link
	pool    *pool.Pool[*request]
	held    *holdings
	onHold  *hold.Set
	tasks   *taskTable
	revoked *revoked.Set
	settler *settler
	events  taskevents.Writer
	counts  *counters
	calls   *calls
	memory  *process.Guard
	recycle context.CancelFunc // stops the worker, for a fresh process to take over
	stages  *stages
}

// execute carries one request through: start, call, conclude.
func (e *executor) execute(r *request) pool.Result {
	if !e.held.has(r) {
		return pool.Skipped // lost while it waited for a slot
	}
	if e.onHold.Has(r.msg.Task) {
		e.settler.giveBackLater(r)
		return pool.Skipped
	}
	if reason := withdrawn(r.msg, e.revoked, e.now); reason != "" {
		e.settler.revoke(e.stages.store, r, reason)
		return pool.Skipped
	}
	if !e.start(r) {
		return pool.Skipped
	}
	e.limit(r)
	r.log.Debug("task started")
	e.counts.started(r.msg.Task)
	e.events.Started(r.msg)
	a, here := e.call(r)
	if !here {
		return pool.Replaced
	}
	return e.conclude(r, a)
}

// withdrawn returns why a message must not run: "expired", "revoked" or "".
func withdrawn(m *protocol.Message, s *revoked.Set, now func() time.Time) string {
	switch {
	case !m.Expires.IsZero() && now().After(m.Expires):
		return "expired"
	case s.Covers(m):
		return "revoked"
	}
	return ""
}

// start announces the run and reports whether it may begin.
func (e *executor) start(r *request) bool {
	var started *protocol.Result
	if (e.cfg.TrackStarted || r.def.TrackStarted) && !r.ignoreResult {
		started = e.result(r.task, protocol.StateStarted)
		started.Result = startedMeta{PID: os.Getpid(), Hostname: e.cfg.Name}
	}
	// A first delivery without STARTED needs no round trip.
	if (started != nil || r.msg.Redelivered) && !e.announce(r, started) {
		return false
	}
	r.tracked = started != nil
	if r.acksEarly {
		return e.acknowledge(r)
	}
	return true
}

// announce tells the broker of the run. It reports false when an earlier run of the
// message decides what becomes of it.
func (e *executor) announce(r *request, started *protocol.Result) bool {
	var before broker.Started
	err := e.link.Persist(e.stages.store, "start a task", func(ctx context.Context) (err error) {
		before, err = e.broker.Start(ctx, r.delivery, e.startOf(r, started))
		return err
	})
	switch {
	case err != nil:
		// Lost, or the broker was unavailable to the end of the stop: the lease runs out.
		e.held.remove(r)
	case before.Counted:
		e.settler.completeChord(r)
	case before.Success != nil:
		e.settler.deduplicate(r, before.Success)
	case before.Crashed >= e.cfg.MaxRedeliveries:
		e.settler.poisoned(r, before.Crashed)
	default:
		return true
	}
	return false
}

// acknowledge acknowledges a message before its task runs.
func (e *executor) acknowledge(r *request) bool {
	if !e.held.remove(r) {
		return false
	}
	err := e.settler.settle(e.stages.store, "acknowledge", r.task, broker.Settlement{Delivery: r.delivery})
	if err != nil {
		return false
	}
	r.delivery.Claim, r.task.claim = "", ""
	return true
}

// startOf returns what the broker has to know of a run.
func (e *executor) startOf(r *request, started *protocol.Result) broker.Start {
	s := broker.Start{Result: started, ID: r.task.ID, Stored: e.cfg.DeduplicateSuccessful && !r.acksEarly}
	if s.Stored && r.msg.Redelivered {
		s.Fingerprint = r.task.Fingerprint()
	}
	if entry, ok := canvas.Member(r.msg, "", nil); ok && r.msg.Redelivered {
		s.Member = &entry
	}
	return s
}

// startedMeta is the result of the state STARTED.
type startedMeta struct {
	PID      int    `json:"pid"`
	Hostname string `json:"hostname"`
}

// limit sets the time limits when the task begins, because remote control may have changed
// them since it was received.
func (e *executor) limit(r *request) {
	own := e.tasks.timeLimits(r.def)
	r.hard = firstPositive(r.msg.HardTimeLimit, own.hard, e.cfg.TaskTimeLimit)
	r.soft = firstPositive(r.msg.SoftTimeLimit, own.soft, e.cfg.TaskSoftTimeLimit)
	r.task.TimeLimit, r.task.SoftTimeLimit = r.hard, r.soft
	if r.hard > 0 && r.soft >= r.hard {
		r.soft = 0 // the hard limit comes first
	}
}

// firstPositive returns the first limit that is set. A message may have a negative one.
func firstPositive(ds ...time.Duration) time.Duration {
	for _, d := range ds {
		if d > 0 {
			return d
		}
	}
	return 0
}

// call runs the handler within its time limits, on the goroutine of the caller. Go cannot
// end a goroutine from outside. When the worker stops waiting for a handler, another
// goroutine replaces the caller and concludes the request; here is false then, and the
// caller must return.
func (e *executor) call(r *request) (a answer, here bool) {
	ctx, ok := r.state.begin(e.stages.store, NewContext(e.stages.work, r.task), e.calls, e.now())
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

// answer is the answer of a handler.
type answer struct {
	result  any
	err     error
	cause   error         // of its context, at its end
	runtime time.Duration // 0 when it did not run
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

// conclude settles what the answer of the handler asks for.
func (e *executor) conclude(r *request, a answer) pool.Result {
	if errors.Is(a.cause, ErrTimeLimit) {
		a.err = r.afterTimeLimit(a.err)
	}
	e.checkMemory() // before another task gets the slot
	o := decideSafely(r.task, r.def.Definition, a.result, a.err, a.cause)
	return e.settler.settleRun(r, o, a.runtime)
}

// holds returns ErrLost unless this worker still holds the message of r.
func (e *executor) holds(ctx context.Context, r *request) error {
	if !e.held.has(r) {
		return ErrLost
	}
	ok, err := e.broker.Held(ctx, r.delivery.Claim)
	if err == nil && !ok {
		return ErrLost
	}
	return err
}

// mark sets the mark of r.
func (e *executor) mark(ctx context.Context, r *request, value string, entries []broker.Entry) (earlier string, err error) {
	marker := e.settler.can.Marker
	switch {
	case marker == nil:
		if err = r.task.Held(ctx); err == nil {
			r.task.record(entries)
		}
		return "", err
	case !r.acksEarly && !e.held.has(r):
		return "", ErrLost
	}
	if e.settler.can.Outbox == nil {
		entries = nil
	}
	return marker.Mark(ctx, broker.Marking{
		Mark:  broker.Mark{Task: r.task.Fingerprint(), Value: value},
		Claim: r.delivery.Claim, Run: cmp.Or(r.delivery.Claim, r.msg.DeliveryTag), Entries: entries,
	})
}

// markName sets the mark of a name for r.
func (e *executor) markName(ctx context.Context, r *request, name, value string, over bool) (other string, err error) {
	marker := e.settler.can.Marker
	switch {
	case marker == nil:
		return "", r.task.Held(ctx)
	case !r.acksEarly && !e.held.has(r):
		return "", ErrLost
	}
	return marker.Mark(ctx, broker.Marking{
		Mark: broker.Mark{Task: name, Value: value}, Claim: r.delivery.Claim, Run: r.task.Fingerprint(), Alone: !over,
	})
}

// mostFields bounds the texts of an entry: Lua unpacks some thousand at most.
const mostFields = 1000

// whole returns the entries that can be written, with their last values.
func (t *Task) whole(entries []broker.Entry) (whole []broker.Entry) {
	for _, e := range entries {
		switch n := len(e.Fields); {
		case e.Stream == "" || n == 0:
		case n > mostFields:
			if t.Logger != nil {
				t.Logger.Error("entry left out: it is too large", "stream", e.Stream, "fields", n)
			}
		case n%2 != 0:
			whole = append(whole, broker.Entry{Stream: e.Stream, Fields: append(slices.Clip(e.Fields), "")})
		default:
			whole = append(whole, e)
		}
	}
	return whole
}

// checkMemory stops the worker, as MaxTasks does, when the process is too large.
func (e *executor) checkMemory() {
	size, over := e.memory.Over()
	if !over {
		return
	}
	e.log.Warn("memory limit exceeded, shutting down for restart", "resident", size, "max_memory", e.cfg.MaxMemory)
	e.pool.StopBeginning()
	e.recycle()
}
