package events

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// batch is one message: events of tasks, one event of the worker, or one that was encoded
// elsewhere.
type batch struct {
	key    string // routing key
	body   []byte // of one event, or the beginning of an array of them
	events int
	ready  *broker.Emission
}

// Bounds of one batch, and of the events that wait while the broker is unavailable.
const (
	batchEvents  = 100
	batchBytes   = 256 << 10
	bufferEvents = 20_000
	bufferBytes  = 16 << 20
)

// buffer holds the events that wait to be sent, in the order of their clocks.
type buffer struct {
	log   *slog.Logger
	clock *Clock
	now   func() time.Time
	node  string
	pid   int
	wake  chan struct{} // capacity 1

	mu      sync.Mutex
	batches []batch
	spare   []batch // sent, for reuse
	held    int     // events in batches
	size    int     // bytes in batches
	urgent  bool    // batches hold an event that must not wait
	dropped int
	beats   [64]int64 // clocks of the last heartbeats
	beaten  int       // number of heartbeats
}

func (b *buffer) init(cfg Config, pid int) {
	b.log, b.clock, b.now, b.node, b.pid = cfg.Log, cfg.Clock, cfg.Now, cfg.Node, pid
	b.wake = make(chan struct{}, 1)
}

// forward adds events that are encoded already.
func (b *buffer) forward(es []broker.Emission) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range es {
		if b.room() {
			b.batches = append(b.batches, batch{ready: &e})
			b.noted(len(e.Raw))
		}
	}
}

// room reports whether another event can be kept; b.mu must be held. Without room the
// newest event is dropped, so that the kept ones stay in order.
func (b *buffer) room() bool {
	if b.held < bufferEvents && b.size < bufferBytes {
		return true
	}
	b.dropped++
	return false
}

// noted counts an event of size bytes and wakes Run when it is time to send; b.mu must be
// held.
func (b *buffer) noted(size int) {
	b.held++
	b.size += size
	if b.urgent || b.held == 1 || b.held == batchEvents {
		b.nudge()
	}
}

// add writes an event into the buffer.
func (b *buffer) add(e *protocol.Event, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.room() {
		return
	}
	// The clock is read under the lock, so that it orders events as the buffer does.
	e.Timestamp, e.Clock = b.now(), b.clock.Forward()
	e.Hostname, e.PID, e.UTCOffset = b.node, b.pid, HoursWest(e.Timestamp)
	last := b.open(key)
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
		b.log.Error("event cannot be written", "event", e.Type, "error", err)
		return
	}
	size := len(body) - len(last.body)
	last.body = body
	last.events++
	if e.Type == "worker-heartbeat" {
		b.beats[b.beaten%len(b.beats)] = e.Clock
		b.beaten++
	}
	b.urgent = b.urgent || key != protocol.MultiRoutingKey
	b.noted(size)
}

// open returns the batch for an event with that key; b.mu must be held.
func (b *buffer) open(key string) *batch {
	if n := len(b.batches); n > 0 && key == protocol.MultiRoutingKey {
		last := &b.batches[n-1]
		if last.key == key && last.events < batchEvents && len(last.body) < batchBytes {
			return last
		}
	}
	next := batch{key: key}
	if n := len(b.spare); n > 0 && key == protocol.MultiRoutingKey {
		next.body = b.spare[n-1].body[:0]
		b.spare = b.spare[:n-1]
	}
	b.batches = append(b.batches, next)
	return &b.batches[len(b.batches)-1]
}

func (b *buffer) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes and returns all batches, and the number of events that were dropped.
func (b *buffer) take() (batches []batch, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batches, dropped = b.batches, b.dropped
	b.batches, b.held, b.size, b.dropped, b.urgent = nil, 0, 0, 0, false
	return batches, dropped
}

// beat reports whether a heartbeat of this worker had that time.
func (b *buffer) beat(clock int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.beats[:], clock)
}

// waiting reports whether events must be sent now, or soon, when their batch had time to
// fill.
func (b *buffer) waiting() (now, soon bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.urgent || b.held >= batchEvents, b.held > 0
}

// reuse keeps the memory of a few batches for later ones.
func (b *buffer) reuse(batches []batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, sent := range batches {
		if len(b.spare) < 4 && cap(sent.body) > 0 && cap(sent.body) <= batchBytes {
			b.spare = append(b.spare, sent)
		}
	}
}
