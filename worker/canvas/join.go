package canvas

import (
	"fmt"
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// SavedIDs returns the ids of the tasks whose results are needed to join a chord
// with a saved structure, see [SavedGroup] and [ChordBody].
func SavedIDs(saved protocol.Raw) (ids []string, err error) {
	defer recovered(&err)
	tree := savedTree(newBudget(Limits{}), saved)
	var walk func(r *result)
	walk = func(r *result) {
		if !r.group {
			ids = append(ids, r.id)
		}
		for _, m := range r.members {
			walk(m)
		}
	}
	walk(tree)
	return ids, nil
}

// Joined holds the results of the header of a chord.
type Joined struct {
	// Members holds the recorded entries ([MemberEntry].JSON), in order.
	Members []protocol.Raw
	// Saved is the structure of the results when one was saved. Then Results, by the
	// ids of [SavedIDs], replace Members.
	Saved   protocol.Raw
	Results map[string]*protocol.Result
	// Failure is the text of the ChordError that the body fails with; "": it runs.
	Failure string
}

// ChordBody returns the plan that follows the last member of a chord. m is that member,
// and its field Chord is the body. The body gets the list of the results. If a member has
// failed, the body fails with a ChordError, and the plan holds its results and error
// callbacks.
//
// The keys of the chord are deleted when the body was published. With Plan.BodyFailed
// only the size is deleted.
func ChordBody(m *protocol.Message, joined Joined, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	f := newFailures(newPublisher(running(m, c)))
	bodies := mappings(f.budget, "chord", m.Chord)
	if len(bodies) != 1 {
		abort(&SignatureError{"chord", "missing"})
	}
	body := f.copier.signature(bodies[0])
	values, failure := joinChord(f.budget, joined)
	if failure != nil {
		f.failBody(body, failure)
		return &f.plan, nil
	}
	return f.done(f.apply(body, []protocol.Raw{arrayRaw(values)}, nil, &options{})), nil
}

// ChordError returns the plan for a chord that cannot be joined, or whose body cannot be
// published. The body fails with that text, see [ChordBody].
func ChordError(m *protocol.Message, text string, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	f := newFailures(newPublisher(running(m, c)))
	bodies := mappings(f.budget, "chord", m.Chord)
	if len(bodies) != 1 {
		abort(&SignatureError{"chord", "missing"})
	}
	f.failBody(f.copier.signature(bodies[0]), &chordFailure{text: text})
	return &f.plan, nil
}

// chordFailure is the reason why a body cannot run.
type chordFailure struct {
	text  string
	cause *protocol.Exception // of the member that failed, if it is known
	chord *protocol.Exception // of another chord, handed on as it is, without text; nil: none
}

func (f *chordFailure) exception() *protocol.Exception {
	if f.chord != nil {
		return f.chord
	}
	return &protocol.Exception{Type: "ChordError", Module: "celery.exceptions", Args: []any{f.text}}
}

func joinChord(b *budget, j Joined) ([]protocol.Raw, *chordFailure) {
	if j.Failure != "" {
		return nil, &chordFailure{text: j.Failure}
	}
	if !j.Saved.IsNull() {
		return joinTree(b, savedTree(b, j.Saved), j.Results)
	}
	values := make([]protocol.Raw, len(j.Members))
	for i, entry := range j.Members {
		parts, err := entry.Elements()
		if err != nil || len(parts) != 4 {
			return nil, &chordFailure{text: "Join error: ValueError('invalid member of the chord')"}
		}
		var id, state string
		if protocol.Unmarshal(parts[1], &id) != nil || protocol.Unmarshal(parts[2], &state) != nil {
			return nil, &chordFailure{text: "Join error: ValueError('invalid member of the chord')"}
		}
		if state == protocol.StateFailure || state == protocol.StateRevoked {
			exc := exceptionOf(parts[3])
			return nil, &chordFailure{text: fmt.Sprintf("Dependency %s raised %s", id, ReprException(exc)), cause: exc}
		}
		values[i] = parts[3]
	}
	return values, nil
}

// joinTree returns the values of the members of a saved group. Its groups come first, as
// in Celery, so that their failures hide those of the other members.
func joinTree(b *budget, tree *result, results map[string]*protocol.Result) ([]protocol.Raw, *chordFailure) {
	b.enter()
	defer b.leave()
	values := make([]protocol.Raw, len(tree.members))
	for _, groups := range []bool{true, false} {
		for i, m := range tree.members {
			if m.group != groups {
				continue
			}
			var f *chordFailure
			if m.group {
				values[i], f = joinMembers(b, m, results)
			} else {
				values[i], f = joinSaved(m, results)
			}
			if f != nil {
				return nil, f
			}
		}
	}
	return values, nil
}

// joinMembers returns the value of a group in a saved group. Celery asks its members in
// their order; a group among them is joined like the whole.
func joinMembers(b *budget, group *result, results map[string]*protocol.Result) (protocol.Raw, *chordFailure) {
	b.enter()
	defer b.leave()
	values := make([]protocol.Raw, len(group.members))
	for i, m := range group.members {
		var f *chordFailure
		if m.group {
			var inner []protocol.Raw
			inner, f = joinTree(b, m, results)
			values[i] = arrayRaw(inner)
		} else {
			values[i], f = joinSaved(m, results)
		}
		if f != nil {
			return nil, f
		}
	}
	return arrayRaw(values), nil
}

// joinSaved returns the value of one task of a saved structure.
func joinSaved(r *result, results map[string]*protocol.Result) (protocol.Raw, *chordFailure) {
	res := results[r.id]
	if res == nil {
		return nil, &chordFailure{text: "Join error: TimeoutError('The operation timed out.')"}
	}
	if res.Status == protocol.StateFailure || res.Status == protocol.StateRevoked {
		if e := res.Exception; e != nil && e.Type == "ChordError" && e.Module == "celery.exceptions" {
			return nil, &chordFailure{chord: e}
		}
		return nil, &chordFailure{text: "Join error: " + ReprException(res.Exception)}
	}
	raw, ok := res.Result.(protocol.Raw)
	if !ok {
		b, err := protocol.Marshal(res.Result)
		if err != nil {
			abort(err)
		}
		raw = b
	}
	return raw, nil
}

func savedTree(b *budget, saved protocol.Raw) *result {
	fields, err := saved.Fields()
	if err == nil {
		for _, f := range fields {
			if f.Name == "result" {
				return parseTuple(b, f.Value)
			}
		}
	}
	abort(&SignatureError{"result", "missing in the saved group"})
	return nil
}

func parseTuple(b *budget, raw protocol.Raw) *result {
	b.enter()
	defer b.leave()
	bad := &SignatureError{"result", "not a result tuple"}
	pair, err := raw.Elements()
	if err != nil || len(pair) != 2 {
		abort(bad)
	}
	r := &result{}
	id := pair[0]
	if head, err := id.Elements(); err == nil {
		if len(head) == 0 {
			abort(bad)
		}
		id = head[0]
	}
	if !id.IsNull() && protocol.Unmarshal(id, &r.id) != nil {
		abort(bad)
	}
	if pair[1].IsNull() {
		return r
	}
	r.group = true
	members, err := pair[1].Elements()
	if err != nil {
		abort(bad)
	}
	for _, m := range members {
		r.members = append(r.members, parseTuple(b, m))
	}
	return r
}

// failBody fails the body of a chord and the tasks that follow it in its chain.
func (f *failures) failBody(body *Signature, why *chordFailure) {
	f.plan.BodyFailed = true
	exc := why.exception()
	if body.kind == kindGroup {
		f.failGroupBody(body, why)
	} else {
		id := body.opts.text("task_id")
		if id == "" {
			id = f.ids.next()
			body.opts.set("task_id", quote(id))
		}
		f.callErrbacks(id, "", signatures(body.opts.get("link_error")), exc, nil)
		f.failTask(id, exc, chordTraceback(exc))
	}
	f.failChain(signatures(body.opts.get("chain")), exc, nil)
}

// failGroupBody fails every task of a group with the failure of the member itself, and
// revokes all of them.
func (f *failures) failGroupBody(body *Signature, why *chordFailure) {
	exc := why.cause
	if exc == nil {
		exc = why.exception()
	}
	frozen := f.freezer.freeze(body, frozen{})
	own := map[string][]*Signature{}
	for _, t := range body.kw.tasks.items {
		id, errbacks := f.resultErrbacks(t)
		own[id] = errbacks
	}
	for _, r := range frozen.members {
		var errbacks []*Signature
		for _, e := range slices.Concat(own[r.id], signatures(body.opts.get("link_error"))) {
			if !slices.ContainsFunc(errbacks, func(o *Signature) bool { return f.linker.comparer.equal(o, e) }) {
				errbacks = append(errbacks, e)
			}
		}
		f.callErrbacks(r.id, "", errbacks, exc, nil)
		f.failTask(r.id, exc, chordTraceback(exc))
	}
	f.failTask(frozen.id, exc, nil)
	f.plan.Revoke = append(f.plan.Revoke, leaves(frozen)...)
}

// chordTraceback returns the traceback of a failure at the end of a header.
func chordTraceback(exc *protocol.Exception) *string {
	text := Traceback(exc, GoFrame("celery.chord", ""))
	return &text
}

// resultErrbacks returns the id of the result of a signature and its errbacks. A chord
// includes the errbacks of its body, a group those of its tasks.
func (f *failures) resultErrbacks(s *Signature) (id string, errbacks []*Signature) {
	f.enter()
	defer f.leave()
	s = f.copier.signature(s)
	for s.kind == kindChord && s.kw.body != nil {
		errbacks = append(errbacks, signatures(s.opts.get("link_error"))...)
		s = f.copier.signature(s.kw.body)
	}
	errbacks = append(errbacks, signatures(s.opts.get("link_error"))...)
	if s.kind == kindGroup {
		for _, t := range s.kw.tasks.items {
			_, more := f.resultErrbacks(t)
			errbacks = append(errbacks, more...)
		}
	}
	return s.opts.text("task_id"), errbacks
}

func leaves(r *result) []string {
	if !r.group {
		return []string{r.id}
	}
	var ids []string
	for _, m := range r.members {
		ids = append(ids, leaves(m)...)
	}
	return ids
}

// failTask stores a failure for a task that will never run. It gets the children of the
// running task, so that a producer finds the error callbacks published for it.
func (f *failures) failTask(id string, exc *protocol.Exception, traceback *string) {
	children := arrayRaw(slices.Concat(f.Children, f.plan.Children))
	if f.bytes += len(children); f.bytes > f.limits.Bytes {
		children = nil // the failure matters more, because a producer waits for it
	}
	f.plan.Results = append(f.plan.Results, &protocol.Result{
		TaskID: id, Status: protocol.StateFailure, Exception: exc, Traceback: traceback, DateDone: f.Now, Children: children,
	})
}
