package worker

import (
	"context"
	"fmt"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// changesAfter returns the changes of what follows a task. A message whose queue is none stays
// among them, as the broker sets it aside: its task fails, and all that waits for it is
// told.
func (w *Worker) changesAfter(ctx context.Context, plan *canvas.Plan) (broker.Changes, error) {
	c, err := w.pub.changes(ctx, plan)
	if err != nil || w.can.Namer == nil {
		return c, err
	}
	for i, out := range plan.Messages {
		fault := w.can.Namer.QueueFault(c.Publish[i].Queue)
		if c.Publish[i].Queue == "" || fault == "" {
			continue
		}
		c.Publish[i].Sent = nil
		err := &broker.RouteError{Queue: c.Publish[i].Queue, Fault: fault}
		if err := w.failUnsent(ctx, &c, out.Message, err); err != nil {
			w.log.Error("failure of a task that was not published cannot be stored", "task_id", out.Message.ID, "error", err)
		}
	}
	return c, nil
}

// failUnsent adds the failure of a task that is not published, and what follows it.
func (w *Worker) failUnsent(ctx context.Context, c *broker.Changes, m *protocol.Message, cause error) error {
	exc := &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{fmt.Sprintf("%s was not published: %v", m.Task, cause)}}
	raw, err := canvas.ExceptionRaw(exc)
	if err != nil {
		return err
	}
	if m.IgnoreResult == nil || !*m.IgnoreResult {
		c.Results = append(c.Results, &protocol.Result{
			TaskID: m.ID, Status: protocol.StateFailure, Exception: exc, DateDone: w.now(), GroupID: m.Group, ParentID: m.ParentID,
		})
	}
	if entry, ok := canvas.Member(m, protocol.StateFailure, raw); ok {
		c.Members = append(c.Members, canvas.ChordPart{Message: m, Entry: entry, UnlessFailed: true})
	}
	plan, err := canvas.AfterFailure(m, exc, nil, w.canvasContext(m))
	if err != nil {
		return err
	}
	after, err := w.changesAfter(ctx, plan)
	if err != nil {
		return err
	}
	w.callErrbacks(ctx, plan)
	add(c, after)
	return nil
}

// add appends changes to others.
func add(to *broker.Changes, c broker.Changes) {
	to.Sizes, to.Groups, to.Joins = append(to.Sizes, c.Sizes...), append(to.Groups, c.Groups...), append(to.Joins, c.Joins...)
	to.Results, to.Members, to.Publish = append(to.Results, c.Results...), append(to.Members, c.Members...), append(to.Publish, c.Publish...)
}
