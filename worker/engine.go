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

// engine is the wiring of the parts of a Worker. The path of a message is: consumer (consume.go,
// accept.go) → reader (request.go) → pool → executor (execute.go) → decide
// (outcome.go) → planner (plan.go) → settler (settle.go).
//
// Two locks are held at a time only in this order: the state of a run before the count of
// calls, the batch or the autoscaler before the pool, and the exchange of revocations before
// their set. The pool calls nothing while it holds its lock.
type engine struct {
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

// newEngine checks cfg and makes an engine of it.
func newEngine(cfg Config) (*engine, error) {
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
	e := &engine{
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
	e.recycled, e.recycle = context.WithCancel(context.Background())
	e.queues = control.NewQueues(cfg.Queues)
	e.pauses = pause.New(pause.Config{Board: e.can.Board, QueueSet: e.can.QueueSet, Queues: e.queues.List, Log: cfg.Logger})
	e.limits = e.newLimiter()
	e.scaler = e.newScaler()
	e.connect()
	return e, nil
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
func (e *engine) newLimiter() *ratelimit.Limiter[*request] {
	cfg := ratelimit.Config{Log: e.log, Now: e.now}
	if e.cfg.SharedRateLimits {
		cfg.Shared = e.can.Limiter
	}
	l := ratelimit.New[*request](cfg)
	for name, d := range e.tasks.definitions {
		if every, err := ratelimit.Parse(d.RateLimit); err == nil && every > 0 && !e.cfg.DisableRateLimits {
			l.Set(name, d.RateLimit, every)
		}
	}
	return l
}

// newScaler makes the autoscaler, nil without one.
func (e *engine) newScaler() *scale.Scaler {
	bounds := e.cfg.Autoscale
	if bounds.Max == 0 {
		return nil
	}
	return scale.New(scale.Config{
		Min: bounds.Min, Max: bounds.Max, Bound: e.cfg.MaxConcurrency,
		Pool: e.pool, Depth: e.can.Depther.Depth, Log: e.log, Now: e.now,
	})
}

// connect makes the parts that tell others of the worker, and listen to them.
func (e *engine) connect() {
	clock := &events.Clock{} // of everything that is sent
	presenter := present.New(redact.New(e.cfg.Redact...), func(task string) present.Rules {
		d := e.tasks.get(task)
		return present.Rules{Parameters: d.parameters, Secret: d.ArgumentsAreSecret}
	})
	e.exchange = revoked.NewExchange(e.can, clock, e.log)
	e.events = taskevents.New(events.New(events.Config{
		Emit: e.can.Emitter.Emit, Log: e.log, Node: e.cfg.Name, Clock: clock, Now: e.now,
		Status:   func() (int, int64) { return e.pool.Running(), e.counts.total() },
		Software: e.cfg.Software, Version: e.cfg.SoftwareVersion,
		Heartbeats: !e.cfg.WithoutHeartbeat, TaskEvents: e.cfg.SendTaskEvents,
	}), presenter)
	e.workflow = &workflow{
		env: e.env,
		pub: newPublisher(publisherConfig{
			Publishing: e.cfg.Publishing, reads: &e.decoder, clock: clock,
			show: func(m *protocol.Message) present.Arguments { return presenter.Arguments(m, present.InEvent) },
		}),
		backend: e.can.Backend, namer: e.can.Namer, secrets: e.can.Secrets, link: e.link, events: e.events, present: presenter,
		tasks: e.tasks, revoked: e.revoked, exchange: e.exchange,
	}
	e.control = control.New(control.Config{
		Name: e.cfg.Name, Mode: control.Mode(e.cfg.Control), Gossip: !e.cfg.WithoutGossip, Mingle: !e.cfg.WithoutMingle,
		Node: e.newNode(presenter, clock), Events: e.events.Dispatcher, Clock: clock, Remote: e.can.Remote, Decoder: e.decoder,
		Repr:     func(err error) string { return canvas.ReprException(wire(err)) },
		OnChange: e.cfg.OnControl,
		Log:      e.log, Now: e.now,
	})
}

func (e *engine) newNode(p *present.Presenter, clock *events.Clock) node {
	return node{
		env: e.env, whereabouts: e.where(), can: e.can, decoder: &e.decoder, tasks: e.tasks, present: p,
		revoked: e.revoked, exchange: e.exchange, scaler: e.scaler, counts: e.counts, calls: e.calls, clock: clock,
		queues: e.queues, pauses: e.pauses, state: &e.state, recycle: e.recycle,
	}
}

// run implements [Worker.Run].
func (e *engine) run(ctx context.Context) error {
	if e.begun.Swap(true) {
		return fmt.Errorf("worker %s: Run was called twice; make a new Worker", e.cfg.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.recycled, cancel)()
	stages := newStages(ctx)
	defer stages.endLease()
	consumer, drainer := e.assemble(stages)
	if err := consumer.register(); err != nil {
		return fmt.Errorf("worker %s: %w", e.cfg.Name, err)
	}
	e.log.Info("worker starts", "node", e.cfg.Name, "queues", e.cfg.Queues, "concurrency", e.cfg.Concurrency, "tasks", len(e.cfg.Tasks))
	e.counts.begin(e.now())
	e.link.Looked(e.now())
	e.state.Store(int32(StateRunning))

	var parts errgroup.Group
	speech := e.speak(stages.lease, &parts)
	parts.Go(func() error { return e.broker.Run(stages.lease) })
	parts.Go(func() error { consumer.watch(ctx); return nil })
	parts.Go(func() error { e.limitTasks(ctx); return nil })
	parts.Go(func() error { e.scaler.Run(ctx); return nil })
	parts.Go(func() error {
		defer stages.endLease()
		stopped := consumer.run(ctx)
		drainer.drain(stopped)
		speech.end()
		return nil
	})
	err := parts.Wait()
	e.state.Store(int32(StateStopped))
	if err != nil {
		return fmt.Errorf("worker %s: %w", e.cfg.Name, err)
	}
	e.log.Info("worker stopped", "node", e.cfg.Name)
	return nil
}

// assemble makes the parts of one Run, from the last one on the path of a message to the
// first.
func (e *engine) assemble(stages *stages) (*consumer, *drainer) {
	settler := newSettler(e, stages)
	executor := &executor{
		env: e.env, broker: e.broker, link: e.link, pool: e.pool, held: e.held, onHold: e.holds, tasks: e.tasks, revoked: e.revoked,
		settler: settler, events: e.events, counts: e.counts, calls: e.calls,
		memory: process.NewGuard(e.cfg.MaxMemory, e.now), recycle: e.recycle, stages: stages,
	}
	consumer := &consumer{
		env: e.env, broker: e.broker, pipeliner: e.can.Pipeliner, selector: e.can.Selector, link: e.link,
		pool: e.pool, schedule: e.schedule, limits: e.limits, held: e.held, holds: e.holds, pauses: e.pauses,
		reader: &reader{env: e.env, decoder: &e.decoder, tasks: e.tasks, held: e.held, exec: executor, workflow: e.workflow},
		batch:  settler.batch, settler: settler, revoked: e.revoked, exchange: e.exchange, control: e.control,
		events: e.events, counts: e.counts, calls: e.calls, stages: stages, stopNow: e.stopNow,
	}
	drainer := &drainer{
		env: e.env, broker: e.broker, pool: e.pool, schedule: e.schedule, limits: e.limits,
		settler: settler, executor: executor, calls: e.calls, stages: stages, stopNow: e.stopNow, state: &e.state,
	}
	return consumer, drainer
}

func newSettler(e *engine, stages *stages) *settler {
	s := &settler{
		env: e.env, broker: e.broker, batcher: e.can.Batcher, can: e.can, link: e.link, pool: e.pool, where: e.where(), held: e.held,
		plan:     &planner{env: e.env, workflow: e.workflow, decoder: &e.decoder},
		workflow: e.workflow, events: e.events, counts: e.counts, store: stages.store,
	}
	s.batch = batch.New(batch.Config[settlement]{Send: s.send, Expects: e.pool.ExpectsEnds})
	s.returns = returns.New(s.giveBackBatch)
	return s
}

// limitTasks stops the worker when Config.MaxTasks have begun.
func (e *engine) limitTasks(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-e.pool.Exhausted():
		e.log.Info("task limit reached, shutting down", "max_tasks", e.cfg.MaxTasks)
		e.recycle()
	}
}

// speech is the time in which a worker sends events and answers remote control: from its
// start until its last task has ended.
type speech struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// speak starts to send events and to answer remote control.
func (e *engine) speak(ctx context.Context, parts *errgroup.Group) speech {
	ctx, cancel := context.WithCancel(ctx)
	s := speech{cancel: cancel, ended: make(chan struct{})}
	parts.Go(func() error {
		defer close(s.ended)
		var remote errgroup.Group
		remote.Go(func() error { return e.control.Run(ctx) })
		remote.Go(func() error { e.events.Run(ctx); return nil })
		return remote.Wait()
	})
	return s
}

// end says goodbye, while there still are connections.
func (s speech) end() {
	s.cancel()
	<-s.ended
}

// cutShort ends the grace period of a stop.
func (e *engine) cutShort() { e.stopOnce.Do(func() { close(e.stopNow) }) }

// stopping implements [Worker.Stopping].
func (e *engine) stopping() <-chan struct{} { return e.recycled.Done() }

// status implements [Worker.Status].
func (e *engine) status() Status {
	look, fault := e.link.State()
	if fault.Text == "" && deaf(e.calls, e.pool) {
		fault.Text = "too many handlers go on after their hard time limit: nothing more is claimed until they end"
	}
	s := Status{
		Node: e.cfg.Name, State: State(e.state.Load()), LastLook: look, Fault: fault.Text, Refusal: fault.Refusal,
		Concurrency: e.pool.Size(), Running: e.pool.Running(), Scheduled: e.schedule.Len(), Aborted: int(e.calls.leftBehind()),
		Reserved: e.pool.Waiting() + e.limits.Len(),
	}
	e.counts.into(&s)
	s.Held, s.Paused = slices.Clone(e.holds.Names()), e.pauses.Names()
	if e.can.Faulter != nil {
		s.Faults = e.can.Faulter.Faults()
	}
	s.Autoscale = Autoscale{Min: s.Concurrency, Max: s.Concurrency}
	if e.scaler != nil {
		bounds := e.scaler.Info()
		s.Autoscale = Autoscale{Min: bounds.Min, Max: bounds.Max}
	}
	s.Consuming = s.State == StateRunning && s.Fault == "" && e.now().Sub(look) < 2*stallAfter
	return s
}

// hold implements [Worker.Hold].
func (e *engine) hold(names []string) {
	if !e.holds.Replace(names) {
		return
	}
	if e.holds.Any() {
		e.log.Warn("tasks are held in their queues", "tasks", e.holds.Names())
	} else {
		e.log.Info("held tasks are released")
	}
}

// revoke implements [Worker.Revoke].
func (e *engine) revoke(ctx context.Context, r broker.Revocation, terminate bool) (terminated []string, err error) {
	terminated = e.where().revoke(e.revoked, r, terminate)
	return terminated, e.exchange.Publish(ctx, r, terminate)
}

// where returns the places at which requests wait and run.
func (e *engine) where() whereabouts {
	return whereabouts{pool: e.pool, schedule: e.schedule, limits: e.limits}
}
