package events

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

const (
	// heartbeatInterval is the interval that receivers expect. They take a worker that was
	// silent for twice as long for offline.
	heartbeatInterval = 2 * time.Second
	// flushInterval is how long a task event waits for others to go with it.
	flushInterval = 50 * time.Millisecond
	// sendEvents bounds the messages in one round trip.
	sendEvents = 50
	// keptMembers is how much memory is kept for what an event shows.
	keptMembers = 16 << 10
)

// Config describes a Dispatcher. All fields but Heartbeats and TaskEvents are required.
type Config struct {
	Emit  func(context.Context, ...broker.Emission) error
	Log   *slog.Logger
	Node  string // node name
	Clock *Clock
	Now   func() time.Time
	// Status returns the number of running tasks and of all tasks that were begun.
	Status func() (active int, processed int64)
	// Software and Version identify the program in heartbeats.
	Software, Version string
	Heartbeats        bool // send them
	TaskEvents        bool // send the events of tasks from the start
}

// Dispatcher sends the events of a worker in batches (celery.events.dispatcher).
type Dispatcher struct {
	cfg      Config
	pid      int
	software []protocol.Field // of the worker, in every heartbeat
	tasks    atomic.Bool      // events of tasks are sent

	buffer buffer

	mu     sync.Mutex
	joined bool

	prepared sync.Pool // of *Prepared
	scratch  []byte    // used by flush only
}

// New returns a Dispatcher. Its Run must be called for anything to be sent.
func New(cfg Config) *Dispatcher {
	quoted := func(s string) protocol.Raw { b, _ := protocol.Marshal(s); return b } // never fails for a string
	d := &Dispatcher{
		cfg: cfg, pid: os.Getpid(),
		software: []protocol.Field{
			{Name: "sw_ident", Value: quoted(cfg.Software)},
			{Name: "sw_ver", Value: quoted(cfg.Version)},
			{Name: "sw_sys", Value: quoted(System())},
		},
	}
	d.buffer.init(cfg, d.pid)
	d.tasks.Store(cfg.TaskEvents)
	return d
}

// EnableTasks starts sending the events of tasks. It reports whether that was a change.
func (d *Dispatcher) EnableTasks() bool { return !d.tasks.Swap(true) }

// DisableTasks stops sending the events of tasks. It reports whether that was a change.
func (d *Dispatcher) DisableTasks() bool { return d.tasks.Swap(false) }

// Prepared is an event of a task that was written and not yet added.
type Prepared struct {
	kind string
	Members
}

// Record adds an event of a task, if those are sent.
func (d *Dispatcher) Record(kind string, write func(*Members)) { d.Add(d.Prepare(kind, write)) }

// Prepare writes an event of a task that Add adds later. It returns nil when those are not
// sent. The values come from strangers, so a panic in write costs only the event.
func (d *Dispatcher) Prepare(kind string, write func(*Members)) (e *Prepared) {
	if !d.tasks.Load() {
		return nil
	}
	e, ok := d.prepared.Get().(*Prepared)
	if !ok {
		e = &Prepared{}
	}
	e.kind, e.buf = kind, e.buf[:0]
	defer func() {
		if v := recover(); v != nil {
			d.cfg.Log.Error("event cannot be written", "event", kind, "error", fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			e = nil
		}
	}()
	write(&e.Members)
	return e
}

// Add adds a prepared event; nil is none.
func (d *Dispatcher) Add(e *Prepared) {
	if e == nil {
		return
	}
	d.buffer.add(&protocol.Event{Type: e.kind, Members: e.buf}, protocol.MultiRoutingKey)
	if cap(e.buf) <= keptMembers {
		d.prepared.Put(e)
	}
}

// Worker adds an event of the worker itself and has it sent at once.
func (d *Dispatcher) Worker(kind string, fields ...protocol.Field) {
	d.buffer.add(&protocol.Event{Type: kind, Fields: fields}, protocol.EventRoutingKey(kind))
}

// state returns the fields of online, heartbeat and offline events.
func (d *Dispatcher) state() []protocol.Field {
	active, processed := d.cfg.Status()
	return append([]protocol.Field{
		{Name: "freq", Value: protocol.Raw("2.0")},
		{Name: "active", Value: strconv.AppendInt(nil, int64(active), 10)},
		{Name: "processed", Value: strconv.AppendInt(nil, processed, 10)},
		{Name: "loadavg", Value: loadAverage()},
	}, d.software...)
}

// Online announces the worker. It is called when the worker begins to hear others, and
// after each break.
func (d *Dispatcher) Online() {
	d.mu.Lock()
	d.joined = true
	d.mu.Unlock()
	if d.cfg.Heartbeats {
		d.Worker("worker-online", d.state()...)
	}
}

// Heartbeat adds a heartbeat, once the worker is online.
func (d *Dispatcher) Heartbeat() {
	d.mu.Lock()
	joined := d.joined
	d.mu.Unlock()
	if joined {
		d.Worker("worker-heartbeat", d.state()...)
	}
}

// Forward adds events that are encoded already.
func (d *Dispatcher) Forward(es []broker.Emission) { d.buffer.forward(es) }

// Own reports whether e, which carries the node name of this worker, was sent by it. Old
// heartbeats are not remembered.
func (d *Dispatcher) Own(e *protocol.Event) bool {
	return e.PID == d.pid && e.Type != "worker-heartbeat" || d.buffer.beat(e.Clock)
}

// Run sends added events and heartbeats until ctx ends. Then it sends what is left, and
// that the worker is offline.
func (d *Dispatcher) Run(ctx context.Context) {
	var beat <-chan time.Time
	if d.cfg.Heartbeats {
		t := time.NewTicker(heartbeatInterval)
		defer t.Stop()
		beat = t.C
	}
	for {
		var fill <-chan time.Time
		switch now, soon := d.buffer.waiting(); {
		case now:
			d.flush(ctx)
		case soon:
			fill = time.After(flushInterval)
		}
		select {
		case <-ctx.Done():
			d.goodbye(ctx)
			return
		case <-beat:
			d.Heartbeat()
		case <-d.buffer.wake:
		case <-fill:
			d.flush(ctx)
		}
	}
}

// flush sends all added events in their order.
func (d *Dispatcher) flush(ctx context.Context) {
	batches, dropped := d.buffer.take()
	if dropped > 0 {
		d.cfg.Log.Warn("events dropped: more than can be sent", "events", dropped)
	}
	var out []broker.Emission
	buf := d.scratch[:0]
	for i := range batches {
		b := &batches[i]
		if b.ready != nil {
			out = append(out, *b.ready)
			continue
		}
		if b.events == 0 {
			continue // its only event could not be written
		}
		if b.key == protocol.MultiRoutingKey {
			b.body = append(b.body, ']')
		}
		whole, err := protocol.AppendEvents(buf, b.key, d.cfg.Node, uuid.NewString(), b.body)
		if err != nil {
			d.cfg.Log.Error("events cannot be written", "error", err)
			continue
		}
		out = append(out, broker.Emission{RoutingKey: b.key, Raw: whole[len(buf):len(whole):len(whole)]})
		buf = whole // which may have moved: those before keep their memory
	}
	d.buffer.reuse(batches)
	for len(out) > 0 {
		n := min(len(out), sendEvents)
		d.send(ctx, out[:n]...)
		out = out[n:]
	}
	if d.scratch = buf; cap(buf) > 2*batchBytes {
		d.scratch = nil
	}
}

// sendPatience bounds one call of Emit, so that a stop does not wait for events.
const sendPatience = time.Second

func (d *Dispatcher) send(ctx context.Context, es ...broker.Emission) {
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	if err := d.cfg.Emit(ctx, es...); err != nil {
		d.cfg.Log.Debug("events lost", "events", len(es), "error", err)
	}
}

// goodbyePatience bounds the sending of the last events.
const goodbyePatience = 500 * time.Millisecond

// goodbye sends what is left, and that the worker is offline.
func (d *Dispatcher) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyePatience)
	defer cancel()
	d.mu.Lock()
	joined := d.joined
	d.mu.Unlock()
	if joined && d.cfg.Heartbeats {
		d.Worker("worker-offline", d.state()...)
	}
	d.flush(ctx)
}
