package worker

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
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

// stages are the contexts of a Worker that runs. A warm stop has steps, and each ends one
// of them. The context of Run ends claiming, and accept soon after it the sorting out of
// claimed messages. work ends the handlers, only when the grace period is over, because a
// SIGTERM must not cut off a mail in the middle of DATA. store ends the attempts to tell
// the broker what became of messages. lease ends the hold on all messages that are left.
type stages struct {
	accept, work, store, lease context.Context

	endAccept, endStore, endLease context.CancelFunc
	endWork                       context.CancelCauseFunc
}

// newStages returns contexts with the values of ctx, which do not end with it.
func newStages(ctx context.Context) *stages {
	s := &stages{}
	s.lease, s.endLease = context.WithCancel(context.WithoutCancel(ctx))
	s.store, s.endStore = context.WithCancel(s.lease)
	s.accept, s.endAccept = context.WithCancel(s.store)
	s.work, s.endWork = context.WithCancelCause(s.store)
	return s
}

// Status is a snapshot of a Worker, for health checks.
type Status struct {
	Node        string
	State       State
	Consuming   bool      // running, and the broker answered within the last seconds
	LastLook    time.Time // into the queues, completed
	Fault       string    // why consuming does not work; "" when it does
	Refusal     string    // the reply of the broker's server that is the cause, see [broker.Faulter]; "" for other faults
	Held        []string  // names of the tasks that Hold keeps in their queues
	Paused      []string  // queues that an operator has paused, of those of this worker
	Faults      []string  // of the broker, that only a person can mend, each a sentence
	Concurrency int
	Autoscale   Autoscale // bounds of Concurrency; without autoscaling both are Concurrency
	Running     int       // handlers at work
	Reserved    int       // claimed, waiting for a slot
	Scheduled   int       // claimed, waiting for their ETA
	Aborted     int       // handlers that go on after their hard time limit

	Received, Succeeded, Failed, Retried, Revoked, DeadLettered, Lost int64 // since the start
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
