package worker

import (
	"context"

	"github.com/evently/workers/worker/broker"
)

// Worker consumes task messages and runs the registered handlers. Make one with New.
type Worker struct {
	// engine is an *engine. Each package that reached that type through this field would compile
	// the methods of its generic parts again.
	engine interface {
		run(ctx context.Context) error
		cutShort()
		stopping() <-chan struct{}
		status() Status
		hold(names []string)
		revoke(ctx context.Context, r Revocation, terminate bool) (terminated []string, err error)
	}
}

// New checks cfg and makes a Worker of it. Its error names every fault.
func New(cfg Config) (*Worker, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	return &Worker{engine: e}, nil
}

// Run consumes until ctx ends, then stops warmly: it claims nothing more, gives back
// messages that have not begun, and waits up to Config.Grace for the running tasks. Then
// their contexts end with ErrStopped, and a task that returns an error goes back to the
// front of its queue. Run returns nil after such a stop. A Worker runs once.
//
// Faults of the broker never end Run. It tries again, with a backoff of up to one second,
// and reports the fault in Status and in the log.
func (w *Worker) Run(ctx context.Context) error { return w.engine.run(ctx) }

// StopNow ends the grace period of a stop, as a second SIGTERM does. Contexts of running
// tasks end at once. It may be called at any time.
func (w *Worker) StopNow() { w.engine.cutShort() }

// Stopping returns a channel that is closed when the worker begins to stop by itself: after a
// command to shut down, Config.MaxTasks or Config.MaxMemory. Run returns when its running tasks
// have ended. The end of Run's context does not close it.
func (w *Worker) Stopping() <-chan struct{} { return w.engine.stopping() }

// Status returns what the worker is doing. It costs no I/O.
func (w *Worker) Status() Status { return w.engine.status() }

// Hold keeps tasks of these names in their queues, in their order, while other tasks of the
// same queues run. It replaces the names of earlier calls; without names it releases all.
// Use it while something that these tasks need is unavailable. It may be called at any time,
// and takes effect at once: tasks that run go on, tasks that were claimed and do not run
// yet go back to the front of their queues. A task whose ETA comes meanwhile goes back as
// well. No attempt is spent. A held task in its queue that is revoked or has expired is
// answered after its release.
//
// Each worker holds for itself. Other workers of the queues, such as Python workers, go on
// to consume the tasks. With a broker that is no [broker.Selector] the worker claims nothing
// while tasks are held.
func (w *Worker) Hold(names ...string) { w.engine.hold(names) }

// Revocation names tasks that must not run any more.
type Revocation = broker.Revocation

// Revoke keeps tasks from running, in this worker and in all others. With terminate it ends
// running tasks: in this worker their contexts, with [ErrRevoked]. It returns the ids of
// the tasks that ran here. The error is about the other workers: here the tasks are
// revoked in any case.
func (w *Worker) Revoke(ctx context.Context, r Revocation, terminate bool) (terminated []string, err error) {
	return w.engine.revoke(ctx, r, terminate)
}
