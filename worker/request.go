package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/protocol"
)

// request is one message in the hands of this worker, Celery's word for it. While
// it waits for its ETA there is no attempt: of those that wait there may be many.
type request struct {
	delivery broker.Delivery
	*attempt
}

// attempt is what there is of a request that may run.
type attempt struct {
	pool.Slot

	msg  *protocol.Message
	task *Task
	def  *definition
	log  *slog.Logger

	soft, hard   time.Duration // 0: no limit
	ignoreResult bool
	storeErrors  bool // even if results are ignored
	acksEarly    bool
	tracked      bool // STARTED is stored

	clock runClock // of the time limits

	mu         sync.Mutex
	cancel     context.CancelCauseFunc // of the running handler
	cause      error                   // ended before it ran
	terminated bool                    // it must not run, or not any more
	running    bool                    // the handler is at work, and waited for
	over       bool                    // it has returned, or is not waited for
	started    time.Time               // of the run; zero before
	since      time.Time               // likewise, by the clock of the worker

	onTimeLimit func() error // of the handler, or nil
}

// Run implements [pool.Item].
func (r *request) Run() pool.Result {
	w := r.task.worker
	return w.execute(w.life, r)
}

// fresh is all of a request that may run at once, in one piece.
type fresh struct {
	request request
	opened
}

// opened is what a request needs to run.
type opened struct {
	attempt attempt
	task    Task
	log     lazyLog
	logger  slog.Logger
}

func (w *Worker) newRequest(d broker.Delivery, m *protocol.Message) *request {
	f := &fresh{request: request{delivery: d}}
	w.fill(&f.request, &f.opened, m)
	return &f.request
}

// fill completes a request with what its message says.
func (w *Worker) fill(r *request, o *opened, m *protocol.Message) {
	d := r.delivery
	root := m.RootID
	if root == "" {
		root = m.ID
	}
	correlation := m.CorrelationID
	if correlation == "" {
		correlation = m.ID
	}
	o.log = lazyLog{base: w.log.Handler(), task: &o.task}
	o.logger = *slog.New(&o.log)
	o.task = Task{
		ID: m.ID, Name: m.Task, RootID: root, ParentID: m.ParentID, CorrelationID: correlation,
		Queue: d.Queue, Retries: m.Retries, ETA: m.ETA, Expires: m.Expires, Redelivered: m.Redelivered,
		Message: m, Logger: &o.logger,
		worker: w, request: r, claim: d.Claim,
	}
	o.attempt.msg, o.attempt.log, o.attempt.task = m, &o.logger, &o.task
	w.held.open(r, &o.attempt)
}

// use decides what the definition, the worker and the message say together.
func (r *request) use(def *definition, w *Worker) {
	r.def = def
	r.task.MaxRetries = def.maxRetries()
	r.acksEarly = def.AcksEarly || w.cfg.AcksEarly
	r.ignoreResult = def.IgnoreResult || w.cfg.IgnoreResult
	r.storeErrors = def.StoreErrorsEvenIfIgnored || w.cfg.StoreErrorsEvenIfIgnored
	r.LastChance = r.delivery.Crashes >= w.cfg.MaxRedeliveries-1 && r.delivery.Crashes > 0
	// Most producers send the header with every message, as false unless it was
	// asked for.
	if h := r.msg.IgnoreResult; h != nil && (*h || w.cfg.IgnoreResultAsSent) {
		r.ignoreResult = *h
	}
}

// limit sets the time limits, when the task begins: remote control may have changed
// them since it was received.
func (r *request) limit(w *Worker) {
	soft, hard := w.timeLimits(r.def)
	r.hard = firstSet(r.msg.HardTimeLimit, hard, w.cfg.TaskTimeLimit)
	r.soft = firstSet(r.msg.SoftTimeLimit, soft, w.cfg.TaskSoftTimeLimit)
	r.task.TimeLimit, r.task.SoftTimeLimit = r.hard, r.soft
	if r.hard > 0 && r.soft >= r.hard {
		r.soft = 0 // the hard limit comes first
	}
}

// stored reports whether a result in that state is stored.
func (r *request) stored(state string) bool {
	return !r.ignoreResult || r.storeErrors && (state == protocol.StateFailure || state == protocol.StateRevoked)
}

func firstSet(ds ...time.Duration) time.Duration {
	for _, d := range ds {
		if d > 0 {
			return d
		}
	}
	return 0
}

func (w *Worker) expired(m *protocol.Message) bool {
	return !m.Expires.IsZero() && w.now().After(m.Expires)
}

// end ends the run of the handler, now or when it begins.
func (a *attempt) end(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cause = cause
	if a.cancel != nil {
		a.cancel(cause)
	}
}
