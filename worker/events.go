package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

const (
	// heartbeatInterval is what receivers go by: a worker that was silent for twice
	// as long is offline.
	heartbeatInterval = 2 * time.Second
	// flushInterval is how long a task event waits for others to go with it.
	flushInterval = 50 * time.Millisecond
	// Bounds of one batch, and of what waits while the broker is away.
	batchEvents  = 100
	batchBytes   = 256 << 10
	bufferEvents = 20_000
	bufferBytes  = 16 << 20
	sendEvents   = 50 // messages in one round trip
	// keptMembers is how much memory is kept for what an event shows.
	keptMembers = 16 << 10
)

// batch is one message with events: of tasks together, or one of the worker itself,
// or one that came written.
type batch struct {
	key    string // routing key
	body   []byte // of one event, or the beginning of an array of them
	events int
	ready  *broker.Emission
}

// dispatcher sends the events of a worker (celery.events.dispatcher).
type dispatcher struct {
	emit     func(context.Context, ...broker.Emission) error
	log      *slog.Logger
	node     string
	pid      int
	clock    *clock
	now      func() time.Time
	status   func() (active int, processed int64)
	software []protocol.Field // of the worker, in every heartbeat
	beats    bool             // heartbeats are sent

	tasks atomic.Bool // task events are sent

	mu      sync.Mutex
	buffer  []batch // in the order of their clocks
	spare   []batch // sent, to be used again
	held    int     // events in buffer
	size    int     // bytes in buffer
	urgent  bool    // one of them shall not wait
	dropped int
	joined  bool
	own     [64]int64     // clocks of the last heartbeats
	beat    int           // number of heartbeats
	wake    chan struct{} // capacity 1

	spareTask sync.Pool // of *written, to be used again
	scratch   []byte    // of flush alone
}

func newDispatcher(w *Worker) *dispatcher {
	quoted := func(s string) protocol.Raw { b, _ := protocol.Marshal(s); return b } // a string always can be
	d := &dispatcher{
		emit: w.can.Emitter.Emit, log: w.log, node: w.cfg.Name, pid: os.Getpid(), clock: &w.remote.clock, now: w.now,
		status: func() (int, int64) { return w.pool.running(), w.totals.all() },
		beats:  !w.cfg.WithoutHeartbeat,
		software: []protocol.Field{
			{Name: "sw_ident", Value: quoted(w.cfg.Software)},
			{Name: "sw_ver", Value: quoted(w.cfg.SoftwareVersion)},
			{Name: "sw_sys", Value: quoted(system())},
		},
		wake: make(chan struct{}, 1),
	}
	d.tasks.Store(w.cfg.SendTaskEvents)
	return d
}

// system is the name of the operating system as Python has it.
func system() string {
	if runtime.GOOS == "darwin" {
		return "Darwin"
	}
	return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:]
}

// written is an event of a task that waits to be noted.
type written struct {
	kind string
	members
}

// task notes an event of a task, if those are sent.
func (d *dispatcher) task(kind string, write func(*members)) { d.note(d.write(kind, write)) }

// write writes an event that is noted later; nil when nobody wants it. What it shows
// comes from others, and a fault of ours in showing it must not end the worker.
func (d *dispatcher) write(kind string, write func(*members)) (e *written) {
	if !d.tasks.Load() {
		return nil
	}
	e, ok := d.spareTask.Get().(*written)
	if !ok {
		e = &written{}
	}
	e.kind, e.buf = kind, e.buf[:0]
	defer func() {
		if v := recover(); v != nil {
			err := fmt.Errorf("%w\n%s", &errPanic{value: v}, debug.Stack())
			d.log.Error("event cannot be written", "event", kind, "error", err)
			e = nil
		}
	}()
	write(&e.members)
	return e
}

// note takes an event that was written; nil is none.
func (d *dispatcher) note(e *written) {
	if e == nil {
		return
	}
	d.add(&protocol.Event{Type: e.kind, Members: e.buf}, protocol.MultiRoutingKey)
	if cap(e.buf) <= keptMembers {
		d.spareTask.Put(e)
	}
}

// worker sends an event of the worker itself, soon.
func (d *dispatcher) worker(kind string, fields ...protocol.Field) {
	d.add(&protocol.Event{Type: kind, Fields: fields}, protocol.EventRoutingKey(kind))
}

// sent sends events that are written already.
func (d *dispatcher) sent(es []broker.Emission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range es {
		if d.room() {
			d.buffer = append(d.buffer, batch{ready: &e})
			d.noted(len(e.Raw))
		}
	}
}

// room reports whether another event can be kept; d.mu is held. The newest is
// dropped: what is there is in the right order.
func (d *dispatcher) room() bool {
	if d.held < bufferEvents && d.size < bufferBytes {
		return true
	}
	d.dropped++
	return false
}

// noted wakes who sends, when it is time; d.mu is held.
func (d *dispatcher) noted(size int) {
	d.held++
	d.size += size
	if d.urgent || d.held == 1 || d.held == batchEvents {
		d.nudge()
	}
}

// add writes an event into the buffer.
func (d *dispatcher) add(e *protocol.Event, key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.room() {
		return
	}
	// Under the lock, so that the order of the clock is that of the buffer.
	e.Timestamp, e.Clock = d.now(), d.clock.forward()
	e.Hostname, e.PID, e.UTCOffset = d.node, d.pid, hoursWest(e.Timestamp)
	last := d.open(key)
	start := last.body
	if key == protocol.MultiRoutingKey {
		if last.events == 0 {
			start = append(start, '[')
		} else {
			start = append(start, ", "...)
		}
	}
	body, err := protocol.AppendEvent(start, e)
	if err != nil {
		d.log.Error("event cannot be written", "event", e.Type, "error", err)
		return
	}
	size := len(body) - len(last.body)
	last.body = body
	last.events++
	if e.Type == "worker-heartbeat" {
		d.own[d.beat%len(d.own)] = e.Clock
		d.beat++
	}
	d.urgent = d.urgent || key != protocol.MultiRoutingKey
	d.noted(size)
}

// open returns the batch that an event with that key goes into; d.mu is held.
func (d *dispatcher) open(key string) *batch {
	if n := len(d.buffer); n > 0 && key == protocol.MultiRoutingKey {
		last := &d.buffer[n-1]
		if last.key == key && last.events < batchEvents && len(last.body) < batchBytes {
			return last
		}
	}
	next := batch{key: key}
	if n := len(d.spare); n > 0 && key == protocol.MultiRoutingKey {
		next.body = d.spare[n-1].body[:0]
		d.spare = d.spare[:n-1]
	}
	d.buffer = append(d.buffer, next)
	return &d.buffer[len(d.buffer)-1]
}

func (d *dispatcher) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// hoursWest is the zone of an event: Python divides as floor does, so that a zone
// of a half hour counts as that below.
func hoursWest(t time.Time) int {
	_, east := t.Zone()
	hours := -east / 3600
	if -east%3600 < 0 {
		hours--
	}
	return hours
}

// state are the fields of online, heartbeat and offline.
func (d *dispatcher) state() []protocol.Field {
	active, processed := d.status()
	return append([]protocol.Field{
		{Name: "freq", Value: protocol.Raw("2.0")},
		{Name: "active", Value: strconv.AppendInt(nil, int64(active), 10)},
		{Name: "processed", Value: strconv.AppendInt(nil, processed, 10)},
		{Name: "loadavg", Value: loadAverage()},
	}, d.software...)
}

// online announces the worker, when it begins to hear others and after each
// break.
func (d *dispatcher) online() {
	d.mu.Lock()
	d.joined = true
	d.mu.Unlock()
	if d.beats {
		d.worker("worker-online", d.state()...)
	}
}

func (d *dispatcher) heartbeat() {
	d.mu.Lock()
	joined := d.joined
	d.mu.Unlock()
	if joined {
		d.worker("worker-heartbeat", d.state()...)
	}
}

// beaten reports whether a heartbeat of that time is one of ours.
func (d *dispatcher) beaten(clock int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.own[:], clock)
}

// run sends what is noted, and heartbeats, until ctx ends; then it says goodbye.
func (d *dispatcher) run(ctx context.Context) {
	var beat <-chan time.Time
	if d.beats {
		t := time.NewTicker(heartbeatInterval)
		defer t.Stop()
		beat = t.C
	}
	for {
		var fill <-chan time.Time
		switch now, soon := d.waiting(); {
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
			d.heartbeat()
		case <-d.wake:
		case <-fill:
			d.flush(ctx)
		}
	}
}

// waiting tells whether there is something to send, now or when a batch had its
// time to fill.
func (d *dispatcher) waiting() (now, soon bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.urgent || d.held >= batchEvents, d.held > 0
}

// flush sends everything that is noted, in its order.
func (d *dispatcher) flush(ctx context.Context) {
	d.mu.Lock()
	batches, dropped := d.buffer, d.dropped
	d.buffer, d.held, d.size, d.dropped, d.urgent = nil, 0, 0, 0, false
	d.mu.Unlock()
	if dropped > 0 {
		d.log.Warn("events were dropped: more than can be sent", "events", dropped)
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
		whole, err := protocol.AppendEvents(buf, b.key, d.node, uuid.NewString(), b.body)
		if err != nil {
			d.log.Error("events cannot be written", "error", err)
			continue
		}
		out = append(out, broker.Emission{RoutingKey: b.key, Raw: whole[len(buf):len(whole):len(whole)]})
		buf = whole // which may have moved: those before keep their memory
	}
	d.reuse(batches)
	for len(out) > 0 {
		n := min(len(out), sendEvents)
		d.send(ctx, out[:n]...)
		out = out[n:]
	}
	if d.scratch = buf; cap(buf) > 2*batchBytes {
		d.scratch = nil
	}
}

// reuse keeps the memory of a few batches.
func (d *dispatcher) reuse(batches []batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range batches {
		if len(d.spare) < 4 && cap(b.body) > 0 && cap(b.body) <= batchBytes {
			d.spare = append(d.spare, b)
		}
	}
}

// sendPatience bounds one sending: events are worth no more, and a stop must not
// wait for them.
const sendPatience = time.Second

func (d *dispatcher) send(ctx context.Context, es ...broker.Emission) {
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	if err := d.emit(ctx, es...); err != nil {
		d.log.Debug("events got lost", "events", len(es), "error", err)
	}
}

// goodbyePatience is what the last events of a worker may cost it.
const goodbyePatience = 500 * time.Millisecond

// goodbye sends what is left, and that the worker is offline.
func (d *dispatcher) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyePatience)
	defer cancel()
	d.mu.Lock()
	joined := d.joined
	d.mu.Unlock()
	if joined && d.beats {
		d.worker("worker-offline", d.state()...)
	}
	d.flush(ctx)
}

// loadAverage is that of the system over 1, 5 and 15 minutes; zeros where it is
// not known.
func loadAverage() protocol.Raw {
	none := protocol.Raw("[0.0, 0.0, 0.0]")
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return none
	}
	f := strings.Fields(string(text))
	if len(f) < 3 {
		return none
	}
	for _, n := range f[:3] {
		if _, err := strconv.ParseFloat(n, 64); err != nil {
			return none
		}
	}
	return protocol.Raw(fmt.Sprintf("[%s, %s, %s]", f[0], f[1], f[2]))
}
