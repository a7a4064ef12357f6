package worker

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// ErrorCallback is an error callback (link_error) that wants to know more than
// the id of the failed task. Celery calls functions with three parameters,
// (request, exception, traceback), in the worker in which the task failed, before
// its message is acknowledged. A [Definition] with one is called in the same way.
// Its error is logged and changes nothing.
type ErrorCallback func(ctx context.Context, f *FailedTask) error

// FailedTask is what an [ErrorCallback] is told.
type FailedTask struct {
	ID     string // of the task that failed; of the body when a chord failed
	RootID string
	// Exception and Traceback as they are stored; Traceback may be "".
	Exception *Exception
	Traceback string
	// Args and Kwargs are those of the callback itself.
	Args, Kwargs protocol.Raw
}

// callErrbacks calls what is to be called in this worker.
func (w *Worker) callErrbacks(ctx context.Context, plan *canvas.Plan) {
	for _, c := range plan.Calls {
		if err := w.callErrback(ctx, c); err != nil {
			w.log.Error("error callback failed", "callback", c.Errback.Task(), "task_id", c.TaskID, "root_id", c.RootID, "error", err)
		}
	}
}

func (w *Worker) callErrback(ctx context.Context, c canvas.Call) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w\n%s", &errPanic{value: v}, debug.Stack())
		}
	}()
	f := &FailedTask{ID: c.TaskID, RootID: c.RootID, Args: c.Errback.Args(), Kwargs: c.Errback.Kwargs()}
	if e := c.Exception; e != nil {
		f.Exception = &Exception{Type: e.Type, Module: e.Module, Args: plainArgs(e.Args)}
	}
	if c.Traceback != nil {
		f.Traceback = *c.Traceback
	}
	return w.definition(c.Errback.Task()).ErrorCallback(ctx, f)
}

// plainArgs returns the arguments of an exception as a handler gets values: those
// that came from elsewhere are JSON until then.
func plainArgs(args []any) []any {
	plain := make([]any, len(args))
	for i, a := range args {
		plain[i] = a
		if raw, ok := a.(protocol.Raw); ok {
			var v any
			if protocol.Unmarshal(raw, &v) == nil {
				plain[i] = v
			}
		}
	}
	return plain
}
