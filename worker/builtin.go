package worker

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// withBuiltins adds the tasks that every Celery worker has, unless tasks has its own of
// that name.
func withBuiltins(tasks map[string]Definition) map[string]Definition {
	all := map[string]Definition{
		"celery.accumulate":      {Handler: HandlerFunc(accumulate)},
		"celery.backend_cleanup": {Handler: HandlerFunc(backendCleanup)},
		"celery.chain":           {Handler: HandlerFunc(chainTask)},
		"celery.chord":           {Handler: HandlerFunc(canvasTask)},
		"celery.chord_unlock":    {Handler: HandlerFunc(chordUnlock), MaxRetries: UnlimitedRetries, IgnoreResult: true},
		"celery.chunks":          {Handler: HandlerFunc(canvasTask)},
		"celery.group":           {Handler: HandlerFunc(canvasTask)},
		"celery.map":             {Handler: HandlerFunc(mapTask)},
		"celery.starmap":         {Handler: HandlerFunc(mapTask)},
	}
	maps.Copy(all, tasks)
	return all
}

// accumulate returns its arguments, or one of them. A task that is replaced by a group is
// replaced by this one.
func accumulate(_ context.Context, t *Task) (any, error) {
	var in struct {
		Index *int `json:"index"`
	}
	if err := protocol.Unmarshal(t.Message.Kwargs, &in); err != nil {
		return nil, TypeError("celery.accumulate() argument 'index' is not a number")
	}
	if in.Index == nil {
		return t.Message.Args, nil
	}
	args, err := t.Message.Args.Elements()
	i := *in.Index
	if i < 0 {
		i += len(args)
	}
	if err != nil || i < 0 || i >= len(args) {
		return nil, &Exception{Type: "IndexError", Args: []any{"tuple index out of range"}}
	}
	return args[i], nil
}

// backendCleanup does nothing, because Redis expires results by itself.
func backendCleanup(context.Context, *Task) (any, error) { return nil, nil }

func chainTask(context.Context, *Task) (any, error) {
	return nil, &Exception{Type: "NotImplementedError", Args: []any{"chain is not a real task"}}
}

// canvasTask publishes the workflow of celery.group, celery.chord or celery.chunks, and
// returns its result tuple.
func canvasTask(ctx context.Context, t *Task) (any, error) {
	plan, _, err := canvas.Builtin(t.Message, t.workflow.context(t.Message))
	if err == nil {
		var changes broker.Changes
		if changes, err = t.workflow.pub.changes(ctx, plan); err == nil {
			err = t.workflow.publish(ctx, changes)
		}
	}
	if e, ok := errors.AsType[*canvas.TaskError](err); ok {
		return nil, &Exception{Type: e.Exception.Type, Module: e.Exception.Module, Args: e.Exception.Args}
	}
	if err != nil {
		return nil, err
	}
	t.addChildren(plan.Children)
	return &resultHandle{plan.Handle}, nil
}

// resultHandle is the result of a task that has published a workflow: its result tuple.
// Python stores it in the same way, but cannot send it to another task.
type resultHandle struct{ tuple protocol.Raw }

// MarshalJSON returns the result tuple.
func (h *resultHandle) MarshalJSON() ([]byte, error) {
	if h.tuple.IsNull() {
		return []byte("null"), nil
	}
	return h.tuple, nil
}

// isArgument reports whether a plan sends the handle. Its ids occur nowhere else in
// arguments.
func (h *resultHandle) isArgument(plan *canvas.Plan) bool {
	return !h.tuple.IsNull() && slices.ContainsFunc(plan.Messages, func(out canvas.Outgoing) bool {
		return bytes.Contains(out.Message.Args, h.tuple)
	})
}

// encodeError returns the failure of a task whose handle another task was to get.
func (h *resultHandle) encodeError() error {
	class := "AsyncResult"
	if pair, err := h.tuple.Elements(); err == nil && len(pair) == 2 && !pair[1].IsNull() {
		class = "GroupResult"
	}
	return &canvas.TaskError{Exception: &protocol.Exception{
		Type: "EncodeError", Module: "kombu.exceptions",
		Args: []any{"TypeError('Object of type " + class + " is not JSON serializable')"},
	}}
}

// mapTask calls a task of this worker for each item, one after the other.
func mapTask(ctx context.Context, t *Task) (any, error) {
	var in struct {
		Task protocol.Raw   `json:"task"`
		It   []protocol.Raw `json:"it"`
	}
	if err := protocol.Unmarshal(t.Message.Kwargs, &in); err != nil {
		return nil, TypeError("%s() arguments are not of the type that the task takes", t.Name)
	}
	s, err := canvas.Parse(in.Task)
	if err != nil {
		return nil, TypeError("%s() argument 'task' is no signature", t.Name)
	}
	d, ok := t.workflow.tasks.lookup(s.Task())
	if !ok {
		return nil, &Exception{Type: "NotRegistered", Module: "celery.exceptions", Args: []any{s.Task()}}
	}
	results := make([]any, len(in.It))
	for i, item := range in.It {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		args := item
		if t.Name == "celery.map" {
			if args, err = protocol.Marshal([]protocol.Raw{item}); err != nil {
				return nil, err
			}
		}
		// Without the middleware, which sees the map as one task.
		one := t.inner(d, args)
		if results[i], err = d.Handler.Run(NewContext(ctx, one), one); err != nil {
			return nil, err
		}
		t.addChildren(one.children)
	}
	return results, nil
}

// inner returns the task for a handler that is called from within another.
func (t *Task) inner(d *definition, args protocol.Raw) *Task {
	m := *t.Message
	m.Task, m.Args, m.Kwargs = d.name, args, protocol.Raw("{}")
	return &Task{
		ID: t.ID, Name: d.name, RootID: t.RootID, ParentID: t.ParentID, CorrelationID: t.CorrelationID,
		Queue: t.Queue, Retries: t.Retries, MaxRetries: t.MaxRetries, Redelivered: t.Redelivered,
		TimeLimit: t.TimeLimit, SoftTimeLimit: t.SoftTimeLimit,
		Message: &m, Logger: t.Logger, workflow: t.workflow, request: t.request, claim: t.claim,
	}
}

// unlockInterval is result_chord_retry_interval.
const unlockInterval = time.Second

// chordUnlock completes chords of producers whose backend cannot count. It looks for the
// results of the header, again and again, and then publishes the body.
func chordUnlock(ctx context.Context, t *Task) (any, error) {
	var in struct {
		Group    string         `celery:"group_id"`
		Callback protocol.Raw   `celery:"callback"`
		Interval *float64       `celery:"interval,optional"`
		Retries  *int           `celery:"max_retries,optional"`
		Result   []protocol.Raw `celery:"result,optional"`
		Type     protocol.Raw   `celery:"_chord_unlock_exchange_type,optional"`
	}
	if err := t.Bind(&in); err != nil {
		return nil, err
	}
	joined := canvas.Joined{Results: map[string]*protocol.Result{}}
	value, err := protocol.Marshal(map[string]any{"result": []any{[]any{in.Group, nil}, in.Result}})
	if err != nil {
		return nil, err
	}
	joined.Saved = value
	ids, err := canvas.SavedIDs(joined.Saved)
	if err != nil {
		return nil, TypeError("celery.chord_unlock() argument 'result' is no list of results")
	}
	results, err := t.workflow.backend.Results(ctx, ids)
	if err != nil {
		return nil, Retry(err)
	}
	ready := true
	for i, r := range results {
		ready = ready && r != nil && slices.Contains(finalStates[:], r.Status)
		joined.Results[ids[i]] = r
	}
	switch {
	case ready:
		joined.Members = failedMember(in.Group, ids, results)
	case in.Retries != nil && t.Retries >= *in.Retries:
		args, kwargs := t.shownForRetry(&RetryError{})
		t.Logger.Error("chord is not complete, its body fails", "group_id", in.Group, "looks", t.Retries)
		joined.Failure = "chord_unlock could not be retried: " + canvas.ReprException(wire(maxRetriesExceeded(t, args, kwargs)))
	default:
		again := &RetryError{Countdown: unlockInterval}
		if in.Interval != nil && *in.Interval > 0 {
			again.Countdown = time.Duration(*in.Interval * float64(time.Second))
		}
		return nil, again
	}
	if len(joined.Members) > 0 {
		joined.Saved = nil
	}
	m := *t.Message
	m.Chord = in.Callback
	body, revoke := t.workflow.chordBody(ctx, t, broker.CompleteChord{Part: canvas.ChordPart{Message: &m, Entry: canvas.MemberEntry{GroupID: in.Group}}, Joined: joined})
	if err := t.workflow.publish(ctx, body.Changes); err != nil {
		return nil, Retry(err)
	}
	t.workflow.revoke(ctx, revoke)
	return nil, nil
}

// finalStates are the states in which a task is over.
var finalStates = [...]string{protocol.StateSuccess, protocol.StateFailure, protocol.StateRevoked}

// failedMember returns the entry of the first task that has failed, in the form that a
// counting chord keeps.
func failedMember(group string, ids []string, results []*protocol.Result) []protocol.Raw {
	for i, r := range results {
		if r.Status == protocol.StateSuccess || r.Exception == nil {
			continue
		}
		raw, err := canvas.ExceptionRaw(r.Exception)
		if err != nil {
			continue
		}
		member := &protocol.Message{ID: ids[i], Group: group, Chord: protocol.Raw("{}")}
		if entry, ok := canvas.Member(member, r.Status, raw); ok {
			return []protocol.Raw{entry.JSON}
		}
	}
	return nil
}
