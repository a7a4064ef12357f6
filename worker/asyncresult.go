package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// AsyncResult is the handle of a task or of a group that was sent: Celery's
// AsyncResult and GroupResult.
type AsyncResult struct {
	ID string
	// Parent is the preceding task of a chain, or the header of a chord; nil for the first
	// task.
	Parent *AsyncResult
	// Members are the tasks of a group, in order.
	Members []*AsyncResult
	group   bool

	backend broker.Backend
}

// IsGroup reports whether it is the handle of a group.
func (r *AsyncResult) IsGroup() bool { return r.group }

// MarshalJSON writes the result tuple, [[id, parent], members], that Python's
// result_from_tuple reads: a task may return the handle of what it has sent.
func (r *AsyncResult) MarshalJSON() ([]byte, error) { return r.tuple(), nil }

// Get waits until the task has ended and decodes its result into v, a pointer,
// by [protocol.Unmarshal]; nil takes no result. Of a group it is the list of
// the results of its members.
//
// A task that failed or was revoked gives an *[Exception]. A preceding task of the chain
// that failed does so at once, because the rest never runs. The other errors are those of
// ctx and of the broker.
func (r *AsyncResult) Get(ctx context.Context, v any) error {
	raw, err := r.get(ctx)
	if err != nil || v == nil {
		return err
	}
	if err := protocol.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("result of task %s: %w", r.ID, err)
	}
	return nil
}

func (r *AsyncResult) get(ctx context.Context) (protocol.Raw, error) {
	for p := r.Parent; p != nil; p = p.Parent {
		if err := p.failed(ctx); err != nil {
			return nil, err
		}
	}
	if r.group {
		values := make([]protocol.Raw, len(r.Members))
		for i, m := range r.Members {
			var err error
			if values[i], err = m.get(ctx); err != nil {
				return nil, err
			}
		}
		return protocol.Marshal(values)
	}
	res, err := r.backend.Await(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("wait for task %s: %w", r.ID, err)
	}
	return valueOf(res)
}

// failed returns the failure of a task, if there is one now.
func (r *AsyncResult) failed(ctx context.Context) error {
	for _, m := range r.Members {
		if err := m.failed(ctx); err != nil {
			return err
		}
	}
	if r.group {
		return nil
	}
	res, err := r.Result(ctx)
	if err != nil || res == nil {
		return err
	}
	_, err = valueOf(res)
	return err
}

// valueOf returns the value of a SUCCESS, and the exception of the other final states.
func valueOf(res *protocol.Result) (protocol.Raw, error) {
	switch res.Status {
	case protocol.StateFailure, protocol.StateRevoked:
		e := res.Exception
		if e == nil {
			return nil, &Exception{Type: "Exception", Args: []any{"task ended as " + res.Status}}
		}
		return nil, &Exception{Type: e.Type, Module: e.Module, Args: e.Args}
	}
	raw, ok := res.Result.(protocol.Raw)
	if !ok {
		return protocol.Marshal(res.Result)
	}
	return raw, nil
}

// Result returns the result that is stored now; nil for none, which Celery calls PENDING.
func (r *AsyncResult) Result(ctx context.Context) (*protocol.Result, error) {
	all, err := r.backend.Results(ctx, []string{r.ID})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// State returns the state of the task now: "PENDING" when nothing is stored.
func (r *AsyncResult) State(ctx context.Context) (string, error) {
	res, err := r.Result(ctx)
	if err != nil {
		return "", err
	}
	if res == nil {
		return "PENDING", nil
	}
	return res.Status, nil
}

// Children returns the tasks that this one has published, as far as it has ended.
func (r *AsyncResult) Children(ctx context.Context) ([]*AsyncResult, error) {
	res, err := r.Result(ctx)
	if err != nil || res == nil || res.Children.IsNull() {
		return nil, err
	}
	tuples, err := res.Children.Elements()
	if err != nil {
		return nil, fmt.Errorf("children of task %s: %w", r.ID, err)
	}
	children := make([]*AsyncResult, len(tuples))
	for i, t := range tuples {
		if children[i], err = parseHandle(r.backend, t); err != nil {
			return nil, err
		}
	}
	return children, nil
}

// Save stores the structure of a group under its id, for [Client.Group] and for
// GroupResult.restore in Python.
func (r *AsyncResult) Save(ctx context.Context) error {
	if !r.group {
		return errors.New("save: only the handle of a group can be saved")
	}
	value, err := protocol.Marshal(map[string]protocol.Raw{"result": r.tuple()})
	if err != nil {
		return fmt.Errorf("save the group %s: %w", r.ID, err)
	}
	return r.backend.Publish(ctx, broker.Changes{Groups: []canvas.SavedGroup{{GroupID: r.ID, Value: value}}})
}

// Forget removes the stored results of the task, or of the group and its members, and of
// their parents.
func (r *AsyncResult) Forget(ctx context.Context) error {
	var ids []string
	r.collect(&ids)
	return r.backend.Forget(ctx, ids)
}

func (r *AsyncResult) collect(ids *[]string) {
	if r == nil {
		return
	}
	*ids = append(*ids, r.ID)
	for _, m := range r.Members {
		m.collect(ids)
	}
	r.Parent.collect(ids)
}

// tuple is the form that Celery stores: [[id, parent], members or null].
func (r *AsyncResult) tuple() protocol.Raw {
	b := append([]byte("[["), quote(r.ID)...)
	b = append(b, ", "...)
	if r.Parent == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, r.Parent.tuple()...)
	}
	b = append(b, "], "...)
	if !r.group {
		return append(b, "null]"...)
	}
	b = append(b, '[')
	for i, m := range r.Members {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, m.tuple()...)
	}
	return append(b, "]]"...)
}

func quote(s string) []byte {
	b, err := protocol.Marshal(s)
	if err != nil {
		return []byte("null") // a string always has a form
	}
	return b
}

// maxHandleDepth bounds the nesting of a result tuple, because others write results.
const maxHandleDepth = 1000

// parseHandle reads a result tuple.
func parseHandle(b broker.Backend, tuple protocol.Raw) (*AsyncResult, error) {
	r, err := parseTuple(b, tuple, 0)
	if err != nil {
		return nil, fmt.Errorf("read a result tuple: %w", err)
	}
	if r == nil {
		// An empty group or chain was sent.
		return &AsyncResult{backend: b, group: true}, nil
	}
	return r, nil
}

var errTuple = errors.New("want [[id, parent], members]")

func parseTuple(b broker.Backend, tuple protocol.Raw, depth int) (*AsyncResult, error) {
	if tuple.IsNull() {
		return nil, nil
	}
	pair, err := tuple.Elements()
	if err != nil || len(pair) != 2 || depth > maxHandleDepth {
		return nil, errTuple
	}
	r := &AsyncResult{backend: b}
	id := pair[0]
	if head, err := pair[0].Elements(); err == nil {
		if len(head) != 2 {
			return nil, errTuple
		}
		id = head[0]
		if r.Parent, err = parseTuple(b, head[1], depth+1); err != nil {
			return nil, err
		}
	}
	if err := protocol.Unmarshal(id, &r.ID); err != nil {
		return nil, errTuple
	}
	if pair[1].IsNull() {
		return r, nil
	}
	r.group = true
	members, err := pair[1].Elements()
	if err != nil {
		return nil, errTuple
	}
	for _, m := range members {
		member, err := parseTuple(b, m, depth+1)
		if err != nil {
			return nil, err
		}
		if member != nil {
			r.Members = append(r.Members, member)
		}
	}
	return r, nil
}
