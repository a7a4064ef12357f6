package worker

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/scale"
)

// State is the stage of the life of a Worker.
type State int32

const (
	StateNew      State = iota // Run was not called yet
	StateRunning               // consuming, or trying to
	StateStopping              // claims nothing more, running tasks finish
	StateStopped               // Run is about to return or has returned
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

// Status returns what the worker is doing. It costs no I/O.
func (w *Worker) Status() Status {
	look, fault := w.link.State()
	if fault == "" && deaf(w.calls, w.pool) {
		fault = "too many handlers go on after their hard time limit: nothing more is claimed until they end"
	}
	s := Status{
		Node: w.cfg.Name, State: State(w.state.Load()), LastLook: look, Fault: fault,
		Concurrency: w.pool.Size(), Running: w.pool.Running(), Scheduled: w.schedule.Len(), Aborted: int(w.calls.leftBehind()),
		Reserved: w.pool.Waiting() + w.limits.Len(),
	}
	w.counts.into(&s)
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

// counters count messages and runs since the start.
type counters struct {
	received, succeeded, failed, retried, revoked, deadLettered, lost atomic.Int64

	mu   sync.Mutex
	born time.Time        // start of Run
	runs map[string]int64 // by task
	sum  int64            // of runs
}

func newCounters() *counters { return &counters{runs: map[string]int64{}} }

// into copies the counters.
func (c *counters) into(s *Status) {
	s.Received, s.Succeeded, s.Failed, s.Retried = c.received.Load(), c.succeeded.Load(), c.failed.Load(), c.retried.Load()
	s.Revoked, s.DeadLettered, s.Lost = c.revoked.Load(), c.deadLettered.Load(), c.lost.Load()
}

// begin notes the start of Run.
func (c *counters) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.born = now
}

// uptime returns the time since the start of Run.
func (c *counters) uptime(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.born)
}

// started counts a run of a task.
func (c *counters) started(task string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[task]++
	c.sum++
}

// total returns the number of runs.
func (c *counters) total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum
}

// byTask returns the number of runs of each task.
func (c *counters) byTask() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.runs)
}

// Autoscale bounds the number of slots between Min and Max (worker_autoscaler,
// --autoscale). The number follows the load: it grows while all slots are busy and messages
// wait, in the queues or for a slot, and shrinks to the number that was used recently. It
// never cuts off a running task.
type Autoscale struct {
	// Min and Max are numbers of slots, 1 ≤ Min ≤ Max. With Max 0 there is no scaling, and
	// Config.Concurrency holds.
	Min, Max int
}

func (a Autoscale) check() error {
	if a == (Autoscale{}) {
		return nil
	}
	return scale.Check(a.Min, a.Max)
}

// ControlMode selects the commands of remote control (pidbox) that are carried out.
type ControlMode int

const (
	// ControlFull carries out all commands, as Celery does (worker_enable_remote_control).
	ControlFull = ControlMode(control.Full)
	// ControlHarmless answers the inspect commands and commands that change only what is
	// shown, such as enable_events. All others are refused with an error that says so.
	ControlHarmless = ControlMode(control.Harmless)
	// ControlOff listens to no requests. Flower and "celery inspect" do not see the
	// worker then.
	ControlOff = ControlMode(control.Off)
)
