package canvas

import (
	"fmt"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

// SavedIDs returns the ids of the tasks whose results are needed to join a chord
// with a saved structure, see [SavedGroup] and [ChordBody].
func SavedIDs(saved protocol.Raw) (ids []string, err error) {
	defer recovered(&err)
	tree := building().savedTree(saved)
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

// Joined are the results of the header of a chord.
type Joined struct {
	// Members are the entries that were recorded ([MemberEntry].JSON), in order.
	Members []protocol.Raw
	// Saved is the structure of the results when one was saved; then Results,
	// by the ids of [SavedIDs], take the place of Members.
	Saved   protocol.Raw
	Results map[string]*protocol.Result
	// Failure, when it is set, is the text of the ChordError that the body fails with.
	Failure string
}

// ChordBody says what follows the last member of a chord: m is that member,
// whose field Chord is the body. The body gets the list of the results. When a
// member has failed, the body fails with a ChordError instead: the plan has its
// results and error callbacks.
//
// The keys of the chord are deleted when the body was published; with
// Plan.BodyFailed only the size is.
func ChordBody(m *protocol.Message, joined Joined, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	w := newWork(running(m, c))
	bodies := w.mappings("chord", m.Chord)
	if len(bodies) != 1 {
		abort(&SignatureError{"chord", "missing"})
	}
	body := w.signature(bodies[0])
	values, failure := w.join(joined)
	if failure != nil {
		w.failBody(body, failure)
		return &w.plan, nil
	}
	return w.done(w.apply(body, []protocol.Raw{arrayRaw(values)}, nil, &options{})), nil
}

// ChordError says what follows when a chord cannot be joined or its body cannot
// be published: the body fails with that text, see [ChordBody].
func ChordError(m *protocol.Message, text string, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	w := newWork(running(m, c))
	bodies := w.mappings("chord", m.Chord)
	if len(bodies) != 1 {
		abort(&SignatureError{"chord", "missing"})
	}
	w.failBody(w.signature(bodies[0]), &chordFailure{text: text})
	return &w.plan, nil
}

// chordFailure is why a body cannot run; cause is the failure of a member.
type chordFailure struct {
	text  string
	cause *protocol.Exception
}

func (f *chordFailure) exception() *protocol.Exception {
	return &protocol.Exception{Type: "ChordError", Module: "celery.exceptions", Args: []any{f.text}}
}

func (w *work) join(j Joined) ([]protocol.Raw, *chordFailure) {
	if j.Failure != "" {
		return nil, &chordFailure{text: j.Failure}
	}
	if !j.Saved.IsNull() {
		tree := w.savedTree(j.Saved)
		values := make([]protocol.Raw, len(tree.members))
		for i, m := range tree.members {
			v, f := w.joinSaved(m, j.Results)
			if f != nil {
				return nil, f
			}
			values[i] = v
		}
		return values, nil
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
			return nil, &chordFailure{fmt.Sprintf("Dependency %s raised %s", id, ReprException(exc)), exc}
		}
		values[i] = parts[3]
	}
	return values, nil
}

// joinSaved returns the value of one element of a saved structure.
func (w *work) joinSaved(r *result, results map[string]*protocol.Result) (protocol.Raw, *chordFailure) {
	w.enter()
	defer w.leave()
	if r.group {
		values := make([]protocol.Raw, len(r.members))
		for i, m := range r.members {
			v, f := w.joinSaved(m, results)
			if f != nil {
				return nil, f
			}
			values[i] = v
		}
		return arrayRaw(values), nil
	}
	res := results[r.id]
	if res == nil {
		return nil, &chordFailure{text: "Join error: TimeoutError('The operation timed out.')"}
	}
	if res.Status == protocol.StateFailure || res.Status == protocol.StateRevoked {
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

func (w *work) savedTree(saved protocol.Raw) *result {
	fields, err := saved.Fields()
	if err == nil {
		for _, f := range fields {
			if f.Name == "result" {
				return w.parseTuple(f.Value)
			}
		}
	}
	abort(&SignatureError{"result", "missing in the saved group"})
	return nil
}

func (w *work) parseTuple(raw protocol.Raw) *result {
	w.enter()
	defer w.leave()
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
		r.members = append(r.members, w.parseTuple(m))
	}
	return r
}

// exceptionOf reads an exception as it is stored.
func exceptionOf(raw protocol.Raw) *protocol.Exception {
	if raw.IsNull() {
		return nil
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil
	}
	e := &protocol.Exception{}
	for _, f := range fields {
		switch f.Name {
		case "exc_type":
			if protocol.Unmarshal(f.Value, &e.Type) != nil {
				return nil
			}
		case "exc_module":
			if !f.Value.IsNull() && protocol.Unmarshal(f.Value, &e.Module) != nil {
				return nil
			}
		case "exc_message":
			args, err := f.Value.Elements()
			if err != nil {
				args = []protocol.Raw{f.Value}
			}
			for _, a := range args {
				e.Args = append(e.Args, a)
			}
		}
	}
	return e
}

// ExceptionArg returns an argument of an exception as JSON: one that is an error is
// its text. The error says that it has no form in JSON.
func ExceptionArg(a any) (protocol.Raw, error) {
	switch a := a.(type) {
	case protocol.Raw:
		return a, nil
	case error:
		return protocol.Marshal(a.Error())
	}
	return protocol.Marshal(a)
}

// ReprException returns an exception as Python shows it: ValueError('no').
func ReprException(e *protocol.Exception) string {
	if e == nil {
		return "None"
	}
	name := e.Type[strings.LastIndexByte(e.Type, '.')+1:]
	if e.Module == "celery.exceptions" {
		switch { // their own __repr__
		case name == "NotRegistered" && len(e.Args) == 1:
			return "Task of kind " + exceptionArg(e.Args[0]) + " never registered, please make sure it's imported."
		case name == "Reject" && len(e.Args) == 2:
			return "reject requeue=" + exceptionArg(e.Args[1]) + ": " + ExceptionText(&protocol.Exception{Args: e.Args[:1]})
		}
	}
	return name + exceptionArgs(e, false)
}

// textOf is the text of a value that has no form in JSON.
func textOf(a any) string { return fmt.Sprint(a) }
