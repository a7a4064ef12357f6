package worker

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/link"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/taskevents"
	"github.com/evently/workers/worker/protocol"
)

// workflow carries out what tasks publish, and what follows them.
type workflow struct {
	env
	pub      *publisher
	backend  broker.Backend
	namer    broker.Namer // nil: any name is that of a queue
	link     *link.Link
	events   taskevents.Writer
	present  *present.Presenter
	tasks    *taskTable
	revoked  *revoked.Set
	exchange *revoked.Exchange
	secrets  broker.SecretKeeper
	secret   []byte // of the broker, for fingerprints; learned before the first claim
}

// learnSecret asks the broker for the secret of fingerprints, before the first claim.
func (w *workflow) learnSecret(ctx context.Context) (err error) {
	w.secret, err = w.secrets.Secret(ctx)
	return err
}

// context returns what canvas has to know when m is the task that publishes.
func (w *workflow) context(m *protocol.Message) canvas.Context {
	c := w.pub.context(m)
	c.ResultExtended = w.cfg.ResultExtended
	c.Errback = func(task string) canvas.ErrbackStyle {
		if w.tasks.get(task).ErrorCallback != nil {
			return canvas.ErrbackCall
		}
		return canvas.ErrbackMessage
	}
	return c
}

// result returns the beginning of the stored form of a state.
func (e *env) result(t *Task, state string) *protocol.Result {
	m := t.Message
	r := &protocol.Result{Status: state, TaskID: m.ID, ParentID: m.ParentID, GroupID: m.Group}
	if e.cfg.ResultExtended {
		r.Extended = &protocol.Extended{
			Name: m.Task, Args: m.Args, Kwargs: m.Kwargs, Worker: e.cfg.Name, Retries: m.Retries, Queue: t.Queue,
			StampedHeaders: m.StampedHeaders, Stamps: m.Stamps,
		}
	}
	return r
}

// publish carries out changes that do not settle a delivery.
func (w *workflow) publish(ctx context.Context, c broker.Changes) error {
	if err := w.backend.Publish(ctx, c); err != nil {
		return err
	}
	w.events.Forward(sentEvents(c.Publish))
	return nil
}

// merge adds a plan to a settlement.
func (w *workflow) merge(ctx context.Context, s *broker.Settlement, plan *canvas.Plan) error {
	c, err := w.changesAfter(ctx, plan)
	if err != nil {
		return err
	}
	add(&s.Changes, c)
	return nil
}

// chordBody returns what follows a complete chord, and the tasks that must not run any
// more then. t is the task that runs, nil for none. A body that cannot be worked out
// fails, because callers wait for it.
func (w *workflow) chordBody(ctx context.Context, t *Task, c broker.CompleteChord) (body broker.ChordBody, revoke []string) {
	m := c.Part.Message
	body.GroupID = c.Part.Entry.GroupID
	cc := w.context(m)
	cc.Children = t.published()
	plan, err := canvas.ChordBody(m, c.Joined, cc)
	if err == nil {
		if body.Changes, err = w.changesAfter(ctx, plan); err == nil {
			body.Failed = plan.BodyFailed
			t.addChildren(plan.Children)
			w.callErrbacks(ctx, plan)
			return body, plan.Revoke
		}
	}
	w.log.Error("chord body cannot be published", "group_id", body.GroupID, "error", err)
	body.Failed = true
	if plan, err = canvas.ChordError(m, "Callback error: "+canvas.ReprException(wire(err)), cc); err == nil {
		if body.Changes, err = w.changesAfter(ctx, plan); err == nil {
			t.addChildren(plan.Children)
			w.callErrbacks(ctx, plan)
			return body, plan.Revoke
		}
	}
	w.log.Error("failure of a chord body cannot be stored", "group_id", body.GroupID, "error", err)
	body.Changes = broker.Changes{}
	return body, nil
}

// revoke keeps the tasks of a group from running whose body has failed.
func (w *workflow) revoke(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	r := broker.Revocation{IDs: ids}
	w.revoked.Add(r)
	_ = w.link.Persist(ctx, "revoke tasks", func(ctx context.Context) error {
		return w.exchange.Publish(ctx, r, false)
	})
}

// callErrbacks calls the error callbacks of a plan that run in this worker.
func (w *workflow) callErrbacks(ctx context.Context, plan *canvas.Plan) {
	for _, c := range plan.Calls {
		if err := w.callErrback(ctx, c); err != nil {
			w.log.Error("error callback failed", "callback", c.Errback.Task(), "task_id", c.TaskID, "root_id", c.RootID, "error", err)
		}
	}
}

func (w *workflow) callErrback(ctx context.Context, c canvas.Call) (err error) {
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
	return w.tasks.get(c.Errback.Task()).ErrorCallback(ctx, f)
}

// plainArgs returns the arguments of an exception as a handler gets values. Arguments that
// came from elsewhere are JSON before.
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

// changesAfter returns the changes of a plan that follows a task. A message for a queue that
// cannot exist stays among them, because the broker sets it aside. Its task fails, with
// all consequences.
func (w *workflow) changesAfter(ctx context.Context, plan *canvas.Plan) (broker.Changes, error) {
	c, err := w.pub.changes(ctx, plan)
	if err != nil || w.namer == nil {
		return c, err
	}
	for i, out := range plan.Messages {
		fault := w.namer.QueueFault(c.Publish[i].Queue)
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

// failUnsent adds the failure of a task that is not published, and its consequences.
func (w *workflow) failUnsent(ctx context.Context, c *broker.Changes, m *protocol.Message, cause error) error {
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
	plan, err := canvas.AfterFailure(m, exc, nil, w.context(m))
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
