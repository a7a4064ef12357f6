package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// ControlMode says what remote control (pidbox) may do.
type ControlMode int

const (
	// ControlFull carries out all commands, as Celery does (worker_enable_remote_control).
	ControlFull ControlMode = iota
	// ControlHarmless answers the inspect commands and those that change nothing
	// but what is shown, such as enable_events. All others are refused with an
	// error that says so.
	ControlHarmless
	// ControlOff listens to nobody. Flower and "celery inspect" do not see the
	// worker then.
	ControlOff
)

// remote is the part of a worker that others can talk to.
type remote struct {
	clock    events.Clock
	requests chan []byte  // of remote control; full: the rest is dropped
	bytes    atomic.Int64 // of what waits to be looked at
	gossip   chan []byte  // events of other workers, likewise
	twinAt   time.Time    // of the last warning of one; of attend alone
	acks     []pendingAck // of elections, by their time; of attend alone
	dropped  sync.Once
}

// remoteDecoder reads what other workers and operators send. A worker that tells of
// all that it knows to be revoked says more than any task.
func (w *Worker) remoteDecoder() *protocol.Decoder {
	d := w.decoder
	d.Limits.Size = max(d.Limits.Size, 8<<20)
	d.Limits.Elements = max(d.Limits.Elements, 4*revokesMax)
	return &d
}

// backlog bounds what waits to be looked at: more than that within the time of a
// few answers comes from nobody who waits for them.
const (
	backlog      = 1000
	backlogBytes = 32 << 20
)

func newRemote() remote {
	return remote{requests: make(chan []byte, backlog), gossip: make(chan []byte, backlog)}
}

// serve answers remote control, and sends events, until ctx ends: that is after
// the last task, so that whoever looks at a worker that drains sees that.
func (w *Worker) serve(ctx context.Context) error {
	var g errgroup.Group
	listening := broker.Listening{Node: w.cfg.Name, Joined: func() { w.events.Online() }}
	if w.cfg.Control != ControlOff {
		listening.Request = func(raw []byte) { w.enqueue(w.remote.requests, raw) }
	}
	if !w.cfg.WithoutGossip {
		listening.Event = func(raw []byte) { w.enqueue(w.remote.gossip, raw) }
	}
	if w.can.Remote != nil && (listening.Request != nil || listening.Event != nil) {
		g.Go(func() error { return w.can.Remote.Listen(ctx, listening) })
		g.Go(func() error { w.attend(ctx); return nil })
	} else {
		w.events.Online()
	}
	g.Go(func() error { w.events.Run(ctx); return nil })
	return g.Wait()
}

func (w *Worker) enqueue(to chan<- []byte, raw []byte) {
	if w.remote.bytes.Add(int64(len(raw))) <= backlogBytes {
		select {
		case to <- raw:
			return
		default:
		}
	}
	w.remote.bytes.Add(-int64(len(raw)))
	w.remote.dropped.Do(func() { w.log.Warn("remote messages come faster than they can be looked at, some are dropped") })
}

// attend looks at what arrives, one after the other.
func (w *Worker) attend(ctx context.Context) {
	for {
		var due <-chan time.Time
		if next := w.acknowledge(); next > 0 {
			due = time.After(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case raw := <-w.remote.requests:
			w.control(ctx, raw)
			w.remote.bytes.Add(-int64(len(raw)))
		case raw := <-w.remote.gossip:
			w.heard(raw)
			w.remote.bytes.Add(-int64(len(raw)))
		}
	}
}
