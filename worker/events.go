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
	sendEvents   = 50 // messages in one round trip
)

// pendingEvent is an event that is not written yet: what it says is worked out
// when it goes, off the path of the tasks.
type pendingEvent struct {
	kind   string
	at     time.Time
	clock  int64
	fields func() []protocol.Field
	alone  bool      // of the worker itself, not in a batch
	ready  *Emission // written already; then nothing else is set
}

// dispatcher sends the events of a worker (celery.events.dispatcher).
type dispatcher struct {
	emit     func(context.Context, ...Emission) error
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
	buffer  []pendingEvent // in the order of their clocks
	urgent  bool           // one of them shall not wait
	dropped int
	joined  bool
	own     [64]int64     // clocks of the last heartbeats
	beat    int           // number of heartbeats
	wake    chan struct{} // capacity 1
}

func newDispatcher(w *Worker) *dispatcher {
	quoted := func(s string) protocol.Raw { b, _ := protocol.Marshal(s); return b } // a string always can be
	d := &dispatcher{
		emit: w.broker.Emit, log: w.log, node: w.cfg.Name, pid: os.Getpid(), clock: &w.remote.clock, now: w.now,
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

// wanted reports whether somebody wants the events of tasks. The events of every task
// ask first: a function that makes fields costs memory even when it is never called.
func (d *dispatcher) wanted() bool { return d.tasks.Load() }

// task notes an event of a task, if those are sent. fields is called later, by
// another goroutine.
func (d *dispatcher) task(kind string, fields func() []protocol.Field) {
	if d.wanted() {
		d.add(pendingEvent{kind: kind, fields: fields})
	}
}

// worker sends an event of the worker itself, soon.
func (d *dispatcher) worker(kind string, fields ...protocol.Field) {
	d.add(pendingEvent{kind: kind, fields: func() []protocol.Field { return fields }, alone: true})
}

// sent sends events that are written already.
func (d *dispatcher) sent(es []Emission) {
	for _, e := range es {
		d.add(pendingEvent{ready: &e})
	}
}

func (d *dispatcher) add(e pendingEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.buffer) >= bufferEvents {
		d.dropped++ // the newest: what is there is in the right order
		return
	}
	if e.ready == nil {
		// Under the lock, so that the order of the clock is that of the buffer.
		e.at, e.clock = d.now(), d.clock.forward()
	}
	if e.kind == "worker-heartbeat" {
		d.own[d.beat%len(d.own)] = e.clock
		d.beat++
	}
	d.buffer = append(d.buffer, e)
	d.urgent = d.urgent || e.alone
	if e.alone || len(d.buffer) == 1 || len(d.buffer) == batchEvents {
		d.nudge()
	}
}

func (d *dispatcher) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// write writes an event. What it shows comes from others, and a fault of ours in
// showing it must not end the worker.
func (d *dispatcher) write(e pendingEvent) (body []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w\n%s", &errPanic{value: v}, debug.Stack())
		}
	}()
	return d.body(e.kind, e.at, e.clock, e.fields())
}

func (d *dispatcher) body(kind string, at time.Time, clock int64, fields []protocol.Field) ([]byte, error) {
	return protocol.AppendEvent(nil, &protocol.Event{
		Type: kind, Hostname: d.node, UTCOffset: hoursWest(at), PID: d.pid, Clock: clock, Timestamp: at, Fields: fields,
	})
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
	return d.urgent || len(d.buffer) >= batchEvents, len(d.buffer) > 0
}

// flush sends everything that is noted, in its order: task events in batches,
// the others one by one.
func (d *dispatcher) flush(ctx context.Context) {
	d.mu.Lock()
	events, dropped := d.buffer, d.dropped
	d.buffer, d.dropped, d.urgent = nil, 0, false
	d.mu.Unlock()
	if dropped > 0 {
		d.log.Warn("events were dropped: more than can be sent", "events", dropped)
	}
	var out []Emission
	var batch [][]byte
	size := 0
	pack := func(key string, bodies ...[]byte) {
		if len(bodies) == 0 {
			return
		}
		raw, err := protocol.EncodeEvents(key, d.node, uuid.NewString(), bodies...)
		if err != nil {
			d.log.Error("events cannot be written", "error", err)
			return
		}
		out = append(out, Emission{RoutingKey: key, Raw: raw})
	}
	end := func() {
		pack(protocol.MultiRoutingKey, batch...)
		batch, size = nil, 0
	}
	for _, e := range events {
		if e.ready != nil {
			out = append(out, *e.ready)
			continue
		}
		body, err := d.write(e)
		if err != nil {
			d.log.Error("event cannot be written", "event", e.kind, "error", err)
			continue
		}
		if e.alone {
			end()
			pack(protocol.EventRoutingKey(e.kind), body)
			continue
		}
		if batch, size = append(batch, body), size+len(body); len(batch) == batchEvents || size >= batchBytes {
			end()
		}
	}
	end()
	for len(out) > 0 {
		n := min(len(out), sendEvents)
		d.send(ctx, out[:n]...)
		out = out[n:]
	}
}

// sendPatience bounds one sending: events are worth no more, and a stop must not
// wait for them.
const sendPatience = time.Second

func (d *dispatcher) send(ctx context.Context, es ...Emission) {
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
