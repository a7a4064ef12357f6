package worker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/runclock"
	"github.com/evently/workers/worker/internal/schedule"
	"github.com/evently/workers/worker/protocol"
)

// request is a message that this worker holds; request is Celery's word for it. While it
// waits for its ETA it has no attempt, because there may be many such messages.
type request struct {
	delivery broker.Delivery
	*attempt
}

// attempt is the part of a request that may run.
type attempt struct {
	pool.Slot
	msg  *protocol.Message
	task *Task
	def  *definition
	log  *slog.Logger
	exec *executor

	soft, hard   time.Duration // 0: no limit
	ignoreResult bool
	storeErrors  bool // even if results are ignored
	acksEarly    bool
	tracked      bool // STARTED is stored

	clock runclock.Clock // of the time limits
	state runState
}

// Run implements [pool.Item].
func (r *request) Run() pool.Result { return r.exec.execute(r) }

// holds returns ErrLost unless this worker still holds the message, or has acknowledged it
// before its task ran.
func (r *request) holds(ctx context.Context) error {
	if r.acksEarly {
		return nil
	}
	return r.exec.holds(ctx, r)
}

// mark implements [holder].
func (r *request) mark(ctx context.Context, value string, entries []broker.Entry) (earlier string, err error) {
	return r.exec.mark(ctx, r, value, entries)
}

// markName implements [holder].
func (r *request) markName(ctx context.Context, name, value string, over bool) (other string, err error) {
	return r.exec.markName(ctx, r, name, value, over)
}

// runClock implements [holder].
func (r *request) runClock() *runclock.Clock { return &r.clock }

// setTimeLimit implements [holder].
func (r *request) setTimeLimit(decide func() error) { r.state.setTimeLimit(decide) }

// stored reports whether a result in that state is stored.
func (r *request) stored(state string) bool {
	return !r.ignoreResult || r.storeErrors && (state == protocol.StateFailure || state == protocol.StateRevoked)
}

// withdraw calls the function for a message that does not run.
func (r *request) withdraw(why Withdrawal) {
	if r.def == nil || r.def.Withdrawn == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("function for a withdrawn message panicked", "type", fmt.Sprintf("%T", v))
		}
	}()
	r.def.Withdrawn(r.task, why)
}

// size returns the number of bytes that a request takes which may run, as it came and as
// it was read.
func (r *request) size() int {
	if r.attempt == nil {
		return 0
	}
	return len(r.delivery.Raw) + r.msg.Size()
}

// reader makes requests out of messages: bytes become a [protocol.Message], and that a
// [Task] with its definition.
type reader struct {
	env
	decoder  *protocol.Decoder
	tasks    *taskTable
	held     *holdings
	exec     *executor
	workflow *workflow
}

// decode returns the message of a delivery, which the Broker may have read already.
func (d *reader) decode(delivery broker.Delivery) (*protocol.Message, error) {
	if delivery.Message != nil {
		return delivery.Message, nil
	}
	return d.decoder.Decode(delivery.Raw)
}

// prepared is all of a request that may run at once, in one piece of memory.
type prepared struct {
	request request
	parts
}

// parts is the memory of an attempt.
type parts struct {
	attempt attempt
	task    Task
	log     lazyLog
	logger  slog.Logger
}

// request makes a request that may run at once.
func (d *reader) request(delivery broker.Delivery, m *protocol.Message) *request {
	p := &prepared{request: request{delivery: delivery}}
	d.fill(&p.request, &p.parts, m)
	return &p.request
}

// open completes a request of which only the message was kept.
func (d *reader) open(r *request, m *protocol.Message) { d.fill(r, new(parts), m) }

// fill completes a request with what its message, its definition and the worker say.
func (d *reader) fill(r *request, p *parts, m *protocol.Message) {
	p.log = lazyLog{base: d.log.Handler(), task: &p.task}
	p.logger = *slog.New(&p.log)
	p.task = Task{
		ID: m.ID, Name: m.Task, RootID: cmp.Or(m.RootID, m.ID), ParentID: m.ParentID, CorrelationID: cmp.Or(m.CorrelationID, m.ID),
		Queue: r.delivery.Queue, Retries: m.Retries, ETA: m.ETA, Expires: m.Expires, Redelivered: m.Redelivered, Received: d.now(),
		Message: m, Logger: &p.logger,
		workflow: d.workflow, request: r, claim: r.delivery.Claim,
	}
	a := &p.attempt
	a.msg, a.log, a.task, a.exec = m, &p.logger, &p.task, d.exec
	a.LastChance = r.delivery.Crashes >= d.cfg.MaxRedeliveries-1 && r.delivery.Crashes > 0
	if def, known := d.tasks.lookup(m.Task); known {
		d.define(a, def)
	}
	d.held.open(r, a)
}

// define decides what the definition, the worker and the message say together.
func (d *reader) define(a *attempt, def *definition) {
	a.def = def
	a.task.MaxRetries = def.maxRetries()
	a.acksEarly = def.AcksEarly || d.cfg.AcksEarly
	a.ignoreResult = def.IgnoreResult || d.cfg.IgnoreResult
	a.storeErrors = def.StoreErrorsEvenIfIgnored || d.cfg.StoreErrorsEvenIfIgnored
	// Most producers send the header with every message, as false unless it was asked
	// for.
	if h := a.msg.IgnoreResult; h != nil && (*h || d.cfg.IgnoreResultAsSent) {
		a.ignoreResult = *h
	}
}

// lazyLog is a handler that formats the attributes of a task when a record is logged. The
// handlers of slog do that at once, which would be wasted for most tasks.
type lazyLog struct {
	base slog.Handler
	task *Task
}

// with returns the handler that has the attributes.
func (l *lazyLog) with() slog.Handler {
	return l.base.WithAttrs([]slog.Attr{slog.String("task", l.task.Name), slog.String("task_id", l.task.ID),
		slog.String("root_id", l.task.RootID), slog.String("correlation_id", l.task.CorrelationID),
		slog.String("queue", l.task.Queue), slog.Int("attempt", l.task.Retries+1)})
}

// Enabled implements [slog.Handler].
func (l *lazyLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.base.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *lazyLog) Handle(ctx context.Context, r slog.Record) error { return l.with().Handle(ctx, r) }

// WithAttrs implements [slog.Handler].
func (l *lazyLog) WithAttrs(attrs []slog.Attr) slog.Handler { return l.with().WithAttrs(attrs) }

// WithGroup implements [slog.Handler].
func (l *lazyLog) WithGroup(name string) slog.Handler { return l.with().WithGroup(name) }

// holdings are the requests whose messages this worker holds.
type holdings struct {
	mu      sync.Mutex
	byClaim map[string]*request
	bytes   int // of the messages that may run, packed and unpacked
}

func newHoldings() *holdings { return &holdings{byClaim: map[string]*request{}} }

// mostBytes is the size of the messages that may run together before no more are taken. A
// larger message runs alone.
const mostBytes = 48 << 20

// heavy reports whether the messages that may run have so many bytes that others wait.
func (h *holdings) heavy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes > mostBytes
}

func (h *holdings) add(r *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byClaim[r.delivery.Claim] = r
	h.bytes += r.size()
}

// has reports whether the worker still holds r.
func (h *holdings) has(r *request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byClaim[r.delivery.Claim] == r
}

// remove reports whether r was still held: false means that it was lost.
func (h *holdings) remove(r *request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drop(r.delivery.Claim) != nil
}

// lose removes the request of a lost claim. r is nil when it was not held, a when it only
// waited for its ETA.
func (h *holdings) lose(claim string) (r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.drop(claim); r != nil {
		a = r.attempt
	}
	return r, a
}

// drop removes the request of a claim. h.mu must be held.
func (h *holdings) drop(claim string) *request {
	r := h.byClaim[claim]
	if r != nil {
		delete(h.byClaim, claim)
		h.bytes -= r.size()
	}
	return r
}

// open makes r one that may run. Its claim may get lost at the same time.
func (h *holdings) open(r *request, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := r.size()
	r.attempt = a
	if h.byClaim[r.delivery.Claim] == r {
		h.bytes += r.size() - before
	}
}

// whereabouts are the places at which the requests of a worker wait and run.
type whereabouts struct {
	pool     *pool.Pool[*request]
	schedule *schedule.Schedule[*request]
	limits   *ratelimit.Limiter[*request]
}

// revoke adds a revocation to set. With terminate it ends running tasks. It returns the
// ids of the tasks that ran or waited here, as Celery does.
func (p whereabouts) revoke(set *revoked.Set, r broker.Revocation, terminate bool) (ids []string) {
	set.Add(r)
	if !terminate {
		return nil
	}
	match := revoked.NewSet(r)
	active, waiting := p.pool.Items()
	for _, q := range slices.Concat(waiting, active) {
		if match.Covers(q.msg) && q.exec.terminate(q) {
			ids = append(ids, q.msg.ID)
		}
	}
	for _, q := range p.limits.Items() { // these will not run
		if match.Covers(q.msg) {
			ids = append(ids, q.msg.ID)
		}
	}
	for _, s := range p.scheduled(r.IDs) {
		ids = append(ids, s.id)
	}
	return ids
}

// withdraw removes and returns the requests that match and wait for a slot or for
// their rate limit.
func (p whereabouts) withdraw(match func(*request) bool) []*request {
	return append(p.limits.Withdraw(match), p.pool.Withdraw(match)...)
}

// scheduledTask is a task that waits for its ETA.
type scheduledTask struct {
	id    string
	entry schedule.Entry[*request]
}

// scheduled finds tasks that wait for their ETA, by their ids. Only the bytes of their
// messages are kept.
func (p whereabouts) scheduled(ids []string) (found []scheduledTask) {
	if len(ids) == 0 {
		return nil
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	for _, e := range p.schedule.All() {
		raw := e.Item.delivery.Raw
		if len(ids) <= 10 && !slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(raw, []byte(id)) }) {
			continue // parsing all messages would take long
		}
		if env, err := protocol.ParseEnvelope(raw); err == nil && wanted[env.ID] {
			found = append(found, scheduledTask{env.ID, e})
		}
	}
	return found
}
