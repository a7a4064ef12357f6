package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
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
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Worker consumes task messages and runs the registered handlers. Make one
// with New.
type Worker struct {
	cfg    Config
	log    *slog.Logger
	broker broker.Broker
	can    broker.Capabilities // optional interfaces of broker
	pub    *publisher
	tasks  map[string]*definition

	decoder protocol.Decoder
	now     func() time.Time

	pool    *pool.Pool[*request] // what runs, and what waits for a slot
	eta     *schedule            // what waits for its ETA
	limits  *limiter             // what waits for its rate limit
	held    *holdings            // all of it
	revoked *revocations         // what must not run

	// cutShort are the messages whose runs the end of the grace period has cut.
	cutShort deliveries
	stopNow  chan struct{}
	calls    calls
	once     sync.Once
	begun    atomic.Bool
	recycle  context.CancelFunc // ends Run as a stop does
	memory   *memoryGuard

	clock     events.Clock // of everything that is sent
	control   *control.Service
	events    taskEvents
	present   *presenter
	totals    totals
	overrides overrides
	queues    queueSet
	scaler    *scaler   // nil: none
	born      time.Time // when Run began

	consuming consuming
	foreign   foreign
	state     atomic.Int32
	ends      *batch.Batcher[end]
	settling  sync.WaitGroup
	life      lifecycle
	aborted   atomic.Int64 // handlers that run on though nobody waits for them

	counts counters
}

// definition is a Definition with everything decided that New can decide.
type definition struct {
	Definition
	handler    Handler // with all middleware
	name       string
	parameters []string // names of the positional arguments, as far as known
}

// definition returns that of a task; one of a task that is not registered is empty.
func (w *Worker) definition(task string) *definition {
	if d, ok := w.tasks[task]; ok {
		return d
	}
	return &definition{}
}

// New checks cfg and makes a Worker of it. Its error names every fault.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	w := &Worker{
		cfg:     cfg,
		log:     cfg.Logger,
		broker:  cfg.Broker,
		can:     capabilities(cfg.Broker),
		decoder: protocol.Decoder{Limits: cfg.Limits, Accept: cfg.Accept},
		tasks:   make(map[string]*definition, len(cfg.Tasks)),
		now:     time.Now,
		held:    newHoldings(),
		limits:  newLimiter(),
		revoked: newRevocations(),
		pub:     newPublisher(cfg.Publishing),
		stopNow: make(chan struct{}),
	}
	w.present = &presenter{redactor: redact.New(cfg.Redact...), definition: w.definition}
	w.pub.reads = &w.decoder
	w.queues.names = slices.Clone(cfg.Queues)
	for name, d := range w.withBuiltins(cfg.Tasks) {
		h, err := wrap(noting(d.Handler), cfg.Middleware)
		if err != nil {
			return nil, err
		}
		w.tasks[name] = &definition{Definition: d, handler: h, name: name, parameters: parameterNames(d.Handler)}
		if every, err := ParseRate(d.RateLimit); err == nil && every > 0 && !cfg.DisableRateLimits {
			w.limits.set(name, d.RateLimit, every)
		}
	}
	w.memory = newMemoryGuard(cfg.MaxMemory, w.now)
	w.eta = newSchedule()
	w.pool = pool.New[*request](pool.Config{Slots: cfg.Concurrency, MaxItems: cfg.MaxTasks, Prefetch: cfg.prefetch()})
	w.ends = batch.New(batch.Config[end]{Send: w.settleEnds, Expects: w.pool.ExpectsEnds})
	if cfg.Autoscale.Max > 0 {
		w.scaler = &scaler{low: cfg.Autoscale.Min, high: cfg.Autoscale.Max, most: cfg.MaxConcurrency, status: w.load, resize: w.pool.Resize}
	}
	w.events = taskEvents{events.New(events.Config{
		Emit: w.can.Emitter.Emit, Log: w.log, Node: cfg.Name, Clock: &w.clock, Now: w.now,
		Status:   func() (int, int64) { return w.pool.Running(), w.totals.all() },
		Software: cfg.Software, Version: cfg.SoftwareVersion,
		Heartbeats: !cfg.WithoutHeartbeat, TaskEvents: cfg.SendTaskEvents,
	}), w.present}
	w.control = control.New(control.Config{
		Name: cfg.Name, Mode: control.Mode(cfg.Control), Gossip: !cfg.WithoutGossip, Mingle: !cfg.WithoutMingle,
		Node: node{w}, Events: w.events.Dispatcher, Clock: &w.clock, Remote: w.can.Remote, Decoder: w.decoder,
		Repr: func(err error) string { return canvas.ReprException(wire(err)) },
		Log:  w.log, Now: w.now,
	})
	w.pub.clock = &w.clock
	w.pub.show = func(m *protocol.Message) shown { return w.present.arguments(m, shownInEvent) }
	return w, nil
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

func processors() int { return runtime.GOMAXPROCS(0) }

// Run consumes until ctx ends, then stops warmly: it claims nothing more, gives
// back at once what has not begun, and waits up to Config.Grace for the running
// tasks. What is not done by then has its context ended with ErrStopped, and
// goes back to the front of its queue when it returns an error. Run returns nil
// after such a stop. A Worker runs once.
//
// Faults of the broker never end Run: it waits, with a backoff of up to one
// second, and says so in Status and in the log.
func (w *Worker) Run(ctx context.Context) error {
	if w.begun.Swap(true) {
		return fmt.Errorf("worker %s: Run was called twice; make a new Worker", w.cfg.Name)
	}
	err := w.broker.Consume(broker.Session{
		Node: w.cfg.Name, Queues: w.cfg.Queues, Decoder: w.decoder,
		Lost:         w.lost,
		DeadLettered: w.deadLettered,
		Refused: func(ctx context.Context, d broker.Delivery) {
			w.counts.received.Add(1)
			w.refuse(ctx, d, d.Refused.Reason)
		},
	})
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.cfg.Name, err)
	}
	w.log.Info("worker starts", "node", w.cfg.Name, "queues", w.cfg.Queues, "concurrency", w.cfg.Concurrency, "tasks", len(w.tasks))
	w.born = w.now()
	w.consuming.looked(w.born)
	w.state.Store(int32(StateRunning))

	ctx, w.recycle = context.WithCancel(ctx)
	defer w.recycle()
	life, until := newLifecycle(ctx)
	defer until.lease()
	w.life = life

	var g errgroup.Group
	g.Go(func() error { return w.broker.Run(life.lease) })
	g.Go(func() error { w.watch(ctx); return nil })
	// Until the last task has ended, and before the connections do.
	serving, silence := context.WithCancel(life.lease)
	silent := make(chan struct{})
	g.Go(func() error {
		defer close(silent)
		var remote errgroup.Group
		remote.Go(func() error { return w.control.Run(serving) })
		remote.Go(func() error { w.events.Run(serving); return nil })
		return remote.Wait()
	})
	g.Go(func() error {
		defer until.lease()
		w.stop(life, until, w.consume(ctx, life, until))
		silence()
		<-silent
		return nil
	})
	err = g.Wait()
	w.state.Store(int32(StateStopped))
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.cfg.Name, err)
	}
	w.log.Info("worker stopped", "node", w.cfg.Name)
	return nil
}

// consume claims messages and brings them to the pool, until ctx ends; it returns
// when that was.
func (w *Worker) consume(ctx context.Context, life lifecycle, end lifecycleEnds) (stopped time.Time) {
	var loops sync.WaitGroup
	loops.Go(func() { w.fetch(ctx, life.accept) })
	loops.Go(func() { w.releaseDue(ctx, life.accept) })
	loops.Go(func() { w.releaseLimited(ctx, life.accept) })
	loops.Go(func() { w.learnRevoked(ctx) })
	if w.scaler != nil {
		loops.Go(func() { w.autoscale(ctx) })
	}
	ended := make(chan struct{})
	var cut sync.WaitGroup
	cut.Go(func() {
		// What was claimed and is sorted out shall reach the broker, but not if
		// that is away: the leases tell.
		<-ctx.Done()
		stopped = time.Now()
		patience := time.NewTimer(acceptPatience)
		defer patience.Stop()
		select {
		case <-ended:
			return
		case <-patience.C:
		case <-w.stopNow:
			w.broker.Reset()
		}
		end.accept()
	})
	loops.Wait()
	close(ended)
	cut.Wait()
	end.accept()
	return stopped
}

// acceptPatience is what a stop leaves for messages that were claimed already.
const acceptPatience = time.Second

// StopNow ends the grace period of a stop: the second SIGTERM of an impatient
// operator. Contexts of running tasks end at once. It may be called at any time.
func (w *Worker) StopNow() { w.once.Do(func() { close(w.stopNow) }) }

// giveBack returns messages to the front of their queues in their old order.
func (w *Worker) giveBack(ctx context.Context, rs []*request) {
	ds := make([]broker.Delivery, 0, len(rs))
	for _, r := range rs {
		if w.held.remove(r) {
			ds = append(ds, r.delivery)
		}
	}
	w.giveBackDeliveries(ctx, ds)
}

func (w *Worker) giveBackDeliveries(ctx context.Context, ds []broker.Delivery) {
	if len(ds) == 0 {
		return
	}
	// With the broker away to the end of the stop the leases run out by themselves.
	_ = w.persist(ctx, "give back messages", func(ctx context.Context) error { return w.broker.Return(ctx, ds) })
}

// lost hears from the broker that a claim is another worker's now.
func (w *Worker) lost(claim string) {
	r, a := w.held.lose(claim)
	if r == nil {
		return
	}
	w.counts.lost.Add(1)
	if a == nil {
		w.log.Warn("a message that waits is no longer ours: its lease ran out", "queue", r.delivery.Queue)
		return
	}
	a.log.Warn("message is no longer ours: its lease ran out")
	a.end(ErrLost)
}

func (w *Worker) deadLettered(queue, reason string) {
	w.counts.deadLettered.Add(1)
	w.log.Error("message set aside in the dead letters", "queue", queue, "reason", reason)
}

// result begins the stored form of the state of a task.
func (w *Worker) result(t *Task, state string) *protocol.Result {
	m := t.Message
	r := &protocol.Result{Status: state, TaskID: m.ID, ParentID: m.ParentID, GroupID: m.Group}
	if w.cfg.ResultExtended {
		r.Extended = &protocol.Extended{
			Name: m.Task, Args: m.Args, Kwargs: m.Kwargs, Worker: w.cfg.Name, Retries: m.Retries, Queue: t.Queue,
			StampedHeaders: m.StampedHeaders, Stamps: m.Stamps,
		}
	}
	return r
}
