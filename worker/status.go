package worker

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// State is where a Worker is in its life.
type State int32

const (
	StateNew      State = iota // Run was not called yet
	StateRunning               // consuming, or trying to
	StateStopping              // claims nothing more, running tasks finish
	StateStopped               // Run is about to return or has
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case StateRunning:
		return "running"
	case StateStopping:
		return "stopping"
	case StateStopped:
		return "stopped"
	default:
		return "new"
	}
}

// Status is a snapshot of a Worker, for health checks.
type Status struct {
	Node        string
	State       State
	Consuming   bool      // running, and the broker answered within the last seconds
	LastLook    time.Time // into the queues, completed
	Fault       string    // why consuming does not work; "" when it does
	Faults      []string  // of the broker, that only a person can mend, each a sentence
	Concurrency int
	Autoscale   Autoscale // bounds of Concurrency; without autoscaling both are Concurrency
	Running     int       // handlers at work
	Reserved    int       // claimed, waiting for a slot
	Scheduled   int       // claimed, waiting for their ETA
	Aborted     int       // handlers that go on after their hard time limit

	Received, Succeeded, Failed, Retried, Revoked, DeadLettered, Lost int64 // since the start
}

type counters struct {
	received, succeeded, failed, retried, revoked, deadLettered, lost atomic.Int64
}

// Status returns what the worker is doing. It costs no I/O.
func (w *Worker) Status() Status {
	look, fault := w.consuming.state()
	if fault == "" && w.deaf() {
		fault = "too many handlers go on after their hard time limit: nothing more is claimed until they end"
	}
	s := Status{
		Node: w.cfg.Name, State: State(w.state.Load()), LastLook: look, Fault: fault,
		Concurrency: w.pool.Size(), Running: w.pool.Running(), Scheduled: w.eta.len(), Aborted: int(w.aborted.Load()),
		Received: w.counts.received.Load(), Succeeded: w.counts.succeeded.Load(), Failed: w.counts.failed.Load(),
		Retried: w.counts.retried.Load(), Revoked: w.counts.revoked.Load(),
		DeadLettered: w.counts.deadLettered.Load(), Lost: w.counts.lost.Load(),
	}
	if w.can.Faulter != nil {
		s.Faults = w.can.Faulter.Faults()
	}
	s.Autoscale = Autoscale{Min: s.Concurrency, Max: s.Concurrency}
	if scale := w.scaler.info(); scale != nil {
		s.Autoscale = Autoscale{Min: scale.Min, Max: scale.Max}
	}
	s.Reserved = w.pool.Waiting() + w.limits.len()
	s.Consuming = s.State == StateRunning && s.Fault == "" && w.now().Sub(look) < 2*stallAfter
	return s
}

// count notes and logs how a task ended.
func (w *Worker) count(log *slog.Logger, r *request, o outcome, s broker.Settlement) {
	if s.DeadLetter != "" {
		w.counts.deadLettered.Add(1)
		log = log.With("dead_letter", s.DeadLetter)
	}
	switch {
	case o.state == protocol.StateRetry:
		w.counts.retried.Add(1)
		log.Warn("task will be retried", "countdown", o.countdown.Seconds(), "error", w.told(r, o.err))
	case o.state == protocol.StateSuccess && s.DeadLetter != "":
		w.counts.succeeded.Add(1) // the state that the caller sees
		log.Warn("task given up, its answer is stored")
	case o.state == protocol.StateSuccess:
		w.counts.succeeded.Add(1)
		log.Info("task succeeded")
	case o.state == protocol.StateRevoked:
		w.counts.revoked.Add(1)
		log.Warn("task terminated")
	case o.replace != nil:
		log.Info("task replaced by another")
	case o.state == protocol.StateFailure:
		w.counts.failed.Add(1)
		log.Error("task failed", "error", w.told(r, o.err))
	case o.requeue:
		log.Warn("task requeued", "error", w.told(r, o.err))
	default:
		log.Info("task ended")
	}
}

// told is the text of an error of a handler, without the secrets that it may have
// got from the arguments.
func (w *Worker) told(r *request, err error) string {
	if err == nil {
		return ""
	}
	return w.present.text(r.msg, errorText(err))
}

// errorText is the text of an error whose methods may panic.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "the error cannot be read"
		}
	}()
	return err.Error()
}
