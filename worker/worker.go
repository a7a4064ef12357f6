package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/batch"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/fallback"
	"github.com/evently/workers/worker/internal/hold"
	"github.com/evently/workers/worker/internal/link"
	"github.com/evently/workers/worker/internal/pause"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/internal/process"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/returns"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/scale"
	"github.com/evently/workers/worker/internal/schedule"
	"github.com/evently/workers/worker/internal/taskevents"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Worker consumes task messages and runs the registered handlers. Make one with New.
//
// A Worker is the wiring of its parts. The path of a message is: consumer (consume.go,
// accept.go) → reader (request.go) → pool → executor (execute.go) → decide
// (outcome.go) → planner (plan.go) → settler (settle.go).
//
// Two locks are held at a time only in this order: the state of a run before the count of
// calls, the batch or the autoscaler before the pool, and the exchange of revocations before
// their set. The pool calls nothing while it holds its lock.
type Worker struct {
	env
	broker   broker.Broker
	can      broker.Capabilities // optional interfaces of broker
	decoder  protocol.Decoder
	tasks    *taskTable
	pool     *pool.Pool[*request]
	schedule *schedule.Schedule[*request] // requests that wait for their ETA
	limits   *ratelimit.Limiter[*request] // requests that wait for their rate limit
	held     *holdings
	holds    *hold.Set // tasks that stay in their queues
	queues   *control.Queues
	pauses   *pause.Keeper
	revoked  *revoked.Set
	exchange *revoked.Exchange
	link     *link.Link
	events   taskevents.Writer
	control  *control.Service
	workflow *workflow
	scaler   *scale.Scaler // nil: none
	calls    *calls
	counts   *counters

	begun    atomic.Bool
	state    atomic.Int32
	stopOnce sync.Once
	stopNow  chan struct{}
	recycled context.Context    // ends when the worker is to stop by itself
	recycle  context.CancelFunc // ends recycled
}

// New checks cfg and makes a Worker of it. Its error names every fault.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	definitions, err := define(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Logger = cfg.Logger.With("worker", cfg.Name)
	can := fallback.Capabilities(cfg.Broker)
	w := &Worker{
		env: env{
			cfg: &cfg,
			log: cfg.Logger,
			now: time.Now,
		},
		broker:   cfg.Broker,
		can:      can,
		decoder:  protocol.Decoder{Limits: cfg.Limits, Accept: cfg.Accept},
		tasks:    newTaskTable(definitions),
		pool:     pool.New[*request](pool.Config{Slots: cfg.Concurrency, MaxItems: cfg.MaxTasks, Prefetch: cfg.prefetch()}),
		schedule: schedule.New[*request](),
		held:     newHoldings(),
		holds:    hold.New(),
		revoked:  revoked.NewSet(),
		link:     link.New(cfg.Logger, can.Faulter),
		calls:    &calls{},
		counts:   newCounters(),
		stopNow:  make(chan struct{}),
	}
	w.recycled, w.recycle = context.WithCancel(context.Background())
	w.queues = control.NewQueues(cfg.Queues)
	w.pauses = pause.New(pause.Config{Board: w.can.Board, QueueSet: w.can.QueueSet, Queues: w.queues.List, Log: cfg.Logger})
	w.limits = w.newLimiter()
	w.scaler = w.newScaler()
	w.connect()
	return w, nil
}

// define makes the task table of cfg and Celery's own tasks.
func define(cfg Config) (map[string]*definition, error) {
	definitions := map[string]*definition{}
	for name, d := range withBuiltins(cfg.Tasks) {
		h, err := wrap(recordContext(d.Handler), cfg.Middleware)
		if err != nil {
			return nil, err
		}
		definitions[name] = &definition{Definition: d, handler: h, name: name, parameters: parameterNames(d.Handler)}
	}
	return definitions, nil
}

// wrap puts the middleware around a handler, the first one outermost.
func wrap(h Handler, middleware []Middleware) (Handler, error) {
	for i, m := range slices.Backward(middleware) {
		if h = m(h); isNil(h) {
			return nil, fmt.Errorf("worker configuration: Middleware[%d] returns no Handler", i)
		}
	}
	return h, nil
}

// newLimiter makes the rate limits of the definitions.
func (w *Worker) newLimiter() *ratelimit.Limiter[*request] {
	cfg := ratelimit.Config{Log: w.log, Now: w.now}
	if w.cfg.SharedRateLimits {
		cfg.Shared = w.can.Limiter
	}
	l := ratelimit.New[*request](cfg)
	for name, d := range w.tasks.definitions {
		if every, err := ratelimit.Parse(d.RateLimit); err == nil && every > 0 && !w.cfg.DisableRateLimits {
			l.Set(name, d.RateLimit, every)
		}
	}
	return l
}

// newScaler makes the autoscaler, nil without one.
func (w *Worker) newScaler() *scale.Scaler {
	bounds := w.cfg.Autoscale
	if bounds.Max == 0 {
		return nil
	}
	return scale.New(scale.Config{
		Min: bounds.Min, Max: bounds.Max, Bound: w.cfg.MaxConcurrency,
		Pool: w.pool, Depth: w.can.Depther.Depth, Log: w.log, Now: w.now,
	})
}

// connect makes the parts that tell others of the worker, and listen to them.
func (w *Worker) connect() {
	clock := &events.Clock{} // of everything that is sent
	presenter := present.New(redact.New(w.cfg.Redact...), func(task string) present.Rules {
		d := w.tasks.get(task)
		return present.Rules{Parameters: d.parameters, Secret: d.ArgumentsAreSecret}
	})
	w.exchange = revoked.NewExchange(w.can, clock, w.log)
	w.events = taskevents.New(events.New(events.Config{
		Emit: w.can.Emitter.Emit, Log: w.log, Node: w.cfg.Name, Clock: clock, Now: w.now,
		Status:   func() (int, int64) { return w.pool.Running(), w.counts.total() },
		Software: w.cfg.Software, Version: w.cfg.SoftwareVersion,
		Heartbeats: !w.cfg.WithoutHeartbeat, TaskEvents: w.cfg.SendTaskEvents,
	}), presenter)
	w.workflow = &workflow{
		env: w.env,
		pub: newPublisher(publisherConfig{
			Publishing: w.cfg.Publishing, reads: &w.decoder, clock: clock,
			show: func(m *protocol.Message) present.Arguments { return presenter.Arguments(m, present.InEvent) },
		}),
		backend: w.can.Backend, namer: w.can.Namer, secrets: w.can.Secrets, link: w.link, events: w.events, present: presenter,
		tasks: w.tasks, revoked: w.revoked, exchange: w.exchange,
	}
	w.control = control.New(control.Config{
		Name: w.cfg.Name, Mode: control.Mode(w.cfg.Control), Gossip: !w.cfg.WithoutGossip, Mingle: !w.cfg.WithoutMingle,
		Node: w.newNode(presenter, clock), Events: w.events.Dispatcher, Clock: clock, Remote: w.can.Remote, Decoder: w.decoder,
		Repr:     func(err error) string { return canvas.ReprException(wire(err)) },
		OnChange: w.cfg.OnControl,
		Log:      w.log, Now: w.now,
	})
}

func (w *Worker) newNode(p *present.Presenter, clock *events.Clock) node {
	return node{
		env: w.env, whereabouts: w.where(), can: w.can, decoder: &w.decoder, tasks: w.tasks, present: p,
		revoked: w.revoked, exchange: w.exchange, scaler: w.scaler, counts: w.counts, calls: w.calls, clock: clock,
		queues: w.queues, pauses: w.pauses, state: &w.state, recycle: w.recycle,
	}
}

// Run consumes until ctx ends, then stops warmly: it claims nothing more, gives back
// messages that have not begun, and waits up to Config.Grace for the running tasks. Then
// their contexts end with ErrStopped, and a task that returns an error goes back to the
// front of its queue. Run returns nil after such a stop. A Worker runs once.
//
// Faults of the broker never end Run. It tries again, with a backoff of up to one second,
// and reports the fault in Status and in the log.
func (w *Worker) Run(ctx context.Context) error {
	if w.begun.Swap(true) {
		return fmt.Errorf("worker %s: Run was called twice; make a new Worker", w.cfg.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.recycled, cancel)()
	stages := newStages(ctx)
	defer stages.endLease()
	consumer, drainer := w.assemble(stages)
	if err := consumer.register(); err != nil {
		return fmt.Errorf("worker %s: %w", w.cfg.Name, err)
	}
	w.log.Info("worker starts", "node", w.cfg.Name, "queues", w.cfg.Queues, "concurrency", w.cfg.Concurrency, "tasks", len(w.cfg.Tasks))
	w.counts.begin(w.now())
	w.link.Looked(w.now())
	w.state.Store(int32(StateRunning))

	var parts errgroup.Group
	speech := w.speak(stages.lease, &parts)
	parts.Go(func() error { return w.broker.Run(stages.lease) })
	parts.Go(func() error { consumer.watch(ctx); return nil })
	parts.Go(func() error { w.limitTasks(ctx); return nil })
	parts.Go(func() error { w.scaler.Run(ctx); return nil })
	parts.Go(func() error {
		defer stages.endLease()
		stopped := consumer.run(ctx)
		drainer.drain(stopped)
		speech.end()
		return nil
	})
	err := parts.Wait()
	w.state.Store(int32(StateStopped))
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.cfg.Name, err)
	}
	w.log.Info("worker stopped", "node", w.cfg.Name)
	return nil
}

// assemble makes the parts of one Run, from the last one on the path of a message to the
// first.
func (w *Worker) assemble(stages *stages) (*consumer, *drainer) {
	settler := newSettler(w, stages)
	executor := &executor{
		env: w.env, broker: w.broker, link: w.link, pool: w.pool, held: w.held, onHold: w.holds, tasks: w.tasks, revoked: w.revoked,
		settler: settler, events: w.events, counts: w.counts, calls: w.calls,
		memory: process.NewGuard(w.cfg.MaxMemory, w.now), recycle: w.recycle, stages: stages,
	}
	consumer := &consumer{
		env: w.env, broker: w.broker, pipeliner: w.can.Pipeliner, selector: w.can.Selector, link: w.link,
		pool: w.pool, schedule: w.schedule, limits: w.limits, held: w.held, holds: w.holds, pauses: w.pauses,
		reader: &reader{env: w.env, decoder: &w.decoder, tasks: w.tasks, held: w.held, exec: executor, workflow: w.workflow},
		batch:  settler.batch, settler: settler, revoked: w.revoked, exchange: w.exchange, control: w.control,
		events: w.events, counts: w.counts, calls: w.calls, stages: stages, stopNow: w.stopNow,
	}
	drainer := &drainer{
		env: w.env, broker: w.broker, pool: w.pool, schedule: w.schedule, limits: w.limits,
		settler: settler, executor: executor, calls: w.calls, stages: stages, stopNow: w.stopNow, state: &w.state,
	}
	return consumer, drainer
}

func newSettler(w *Worker, stages *stages) *settler {
	s := &settler{
		env: w.env, broker: w.broker, batcher: w.can.Batcher, can: w.can, link: w.link, pool: w.pool, where: w.where(), held: w.held,
		plan:     &planner{env: w.env, workflow: w.workflow, decoder: &w.decoder},
		workflow: w.workflow, events: w.events, counts: w.counts, store: stages.store,
	}
	s.batch = batch.New(batch.Config[settlement]{Send: s.send, Expects: w.pool.ExpectsEnds})
	s.returns = returns.New(s.giveBackBatch)
	return s
}

// limitTasks stops the worker when Config.MaxTasks have begun.
func (w *Worker) limitTasks(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-w.pool.Exhausted():
		w.log.Info("task limit reached, shutting down", "max_tasks", w.cfg.MaxTasks)
		w.recycle()
	}
}

// speech is the time in which a worker sends events and answers remote control: from its
// start until its last task has ended.
type speech struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// speak starts to send events and to answer remote control.
func (w *Worker) speak(ctx context.Context, parts *errgroup.Group) speech {
	ctx, cancel := context.WithCancel(ctx)
	s := speech{cancel: cancel, ended: make(chan struct{})}
	parts.Go(func() error {
		defer close(s.ended)
		var remote errgroup.Group
		remote.Go(func() error { return w.control.Run(ctx) })
		remote.Go(func() error { w.events.Run(ctx); return nil })
		return remote.Wait()
	})
	return s
}

// end says goodbye, while there still are connections.
func (s speech) end() {
	s.cancel()
	<-s.ended
}

// StopNow ends the grace period of a stop, as a second SIGTERM does. Contexts of running
// tasks end at once. It may be called at any time.
func (w *Worker) StopNow() { w.stopOnce.Do(func() { close(w.stopNow) }) }

// Stopping returns a channel that is closed when the worker begins to stop by itself: after a
// command to shut down, Config.MaxTasks or Config.MaxMemory. Run returns when its running tasks
// have ended. The end of Run's context does not close it.
func (w *Worker) Stopping() <-chan struct{} { return w.recycled.Done() }

// Status returns what the worker is doing. It costs no I/O.
func (w *Worker) Status() Status {
	look, fault := w.link.State()
	if fault.Text == "" && deaf(w.calls, w.pool) {
		fault.Text = "too many handlers go on after their hard time limit: nothing more is claimed until they end"
	}
	s := Status{
		Node: w.cfg.Name, State: State(w.state.Load()), LastLook: look, Fault: fault.Text, Refusal: fault.Refusal,
		Concurrency: w.pool.Size(), Running: w.pool.Running(), Scheduled: w.schedule.Len(), Aborted: int(w.calls.leftBehind()),
		Reserved: w.pool.Waiting() + w.limits.Len(),
	}
	w.counts.into(&s)
	s.Held, s.Paused = slices.Clone(w.holds.Names()), w.pauses.Names()
	if w.can.Faulter != nil {
		s.Faults = w.can.Faulter.Faults()
	}
	s.Autoscale = Autoscale{Min: s.Concurrency, Max: s.Concurrency}
	if w.scaler != nil {
		bounds := w.scaler.Info()
		s.Autoscale = Autoscale{Min: bounds.Min, Max: bounds.Max}
	}
	s.Consuming = s.State == StateRunning && s.Fault == "" && w.now().Sub(look) < 2*stallAfter
	return s
}

// Hold keeps tasks of these names in their queues, in their order, while other tasks of the
// same queues run. It replaces the names of earlier calls; without names it releases all.
// Use it while something that these tasks need is unavailable. It may be called at any time,
// and takes effect at once: tasks that run go on, tasks that were claimed and do not run
// yet go back to the front of their queues. A task whose ETA comes meanwhile goes back as
// well. No attempt is spent. A held task in its queue that is revoked or has expired is
// answered after its release.
//
// Each worker holds for itself. Other workers of the queues, such as Python workers, go on
// to consume the tasks. With a broker that is no [broker.Selector] the worker claims nothing
// while tasks are held.
func (w *Worker) Hold(names ...string) {
	if !w.holds.Replace(names) {
		return
	}
	if w.holds.Any() {
		w.log.Warn("tasks are held in their queues", "tasks", w.holds.Names())
	} else {
		w.log.Info("held tasks are released")
	}
}

// Revocation names tasks that must not run any more.
type Revocation = broker.Revocation

// Revoke keeps tasks from running, in this worker and in all others. With terminate it ends
// running tasks: in this worker their contexts, with [ErrRevoked]. It returns the ids of
// the tasks that ran here. The error is about the other workers: here the tasks are
// revoked in any case.
func (w *Worker) Revoke(ctx context.Context, r Revocation, terminate bool) (terminated []string, err error) {
	terminated = w.where().revoke(w.revoked, r, terminate)
	return terminated, w.exchange.Publish(ctx, r, terminate)
}

// where returns the places at which requests wait and run.
func (w *Worker) where() whereabouts {
	return whereabouts{pool: w.pool, schedule: w.schedule, limits: w.limits}
}
