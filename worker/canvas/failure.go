package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// AfterFailure says what follows the failure of m with exc: the same failure of
// all that would have come after it in its chain, with the chords that wait for
// those tasks, and its error callbacks. It is to be carried out after the result
// of m was stored and m was counted in its chord, see [Member].
//
// Error callbacks for which c.Errback says so are listed in Plan.Calls. The
// others are published as a group, with the id of m as first argument.
func AfterFailure(m *protocol.Message, exc *protocol.Exception, traceback *string, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	w := newWork(running(m, c))
	w.failChain(w.mappings("chain", m.Chain), exc, traceback)
	w.callErrbacks(m.ID, m.RootID, w.mappings("errbacks", m.Errbacks), exc, traceback)
	return &w.plan, nil
}

// failChain stores a failure for all elements of a chain that have an id. The
// result of a chord is that of its body.
func (w *work) failChain(chain []*Signature, exc *protocol.Exception, traceback *string) {
	for pending := slices.Clone(chain); len(pending) > 0; {
		w.step()
		s := pending[0]
		pending = pending[1:]
		m := &protocol.Message{
			Protocol: 2, ID: s.opts.text("task_id"), Task: s.task, Group: s.opts.text("group_id"),
			RootID: s.opts.text("root_id"), ParentID: s.opts.text("parent_id"),
			Args: arrayRaw(s.args), Kwargs: fieldsRaw(s.kw.fields), Chord: w.encodeValue(s.opts.get("chord")),
		}
		if s.opts.given("group_index") {
			i := s.opts.integer("group_index")
			m.GroupIndex = &i
		}
		if m.ID != "" && !w.ErrorsIgnored {
			w.plan.Results = append(w.plan.Results, &protocol.Result{
				TaskID: m.ID, Status: protocol.StateFailure, Exception: exc, Traceback: traceback,
				DateDone: w.Now, GroupID: m.Group, ParentID: m.ParentID, Extended: w.extended(s, m),
			})
		}
		if s.opts.has("chord") {
			w.failMember(m, exc)
		}
		if s.kind == kindChord && s.kw.body != nil {
			pending = append(pending, s.kw.body)
		}
	}
}

// extended returns what Celery stores of a task of a chain that will never run: no
// worker has it and no queue.
func (w *work) extended(s *Signature, m *protocol.Message) *protocol.Extended {
	if !w.ResultExtended {
		return nil
	}
	e := encoder{work: w}
	e.keywords(s)
	if w.bytes += len(m.Args) + len(e.buf); w.bytes > w.Limits.Bytes {
		return nil // the failure is what the caller waits for
	}
	return &protocol.Extended{Name: s.task, Args: m.Args, Kwargs: e.buf, Retries: s.opts.integer("retries")}
}

func (w *work) failMember(m *protocol.Message, exc *protocol.Exception) {
	raw, err := ExceptionRaw(exc)
	if err != nil {
		abort(err)
	}
	if entry, ok := Member(m, protocol.StateFailure, raw); ok {
		w.plan.ChordParts = append(w.plan.ChordParts, ChordPart{Message: m, Entry: entry, UnlessFailed: true})
	}
}

// callErrbacks publishes the errbacks of a task, but for those that are to be
// called in place.
func (w *work) callErrbacks(id, root string, errbacks []*Signature, exc *protocol.Exception, traceback *string) {
	if root == "" {
		root = id
	}
	var messages []*Signature
	for _, e := range errbacks {
		e = w.copyOf(e)
		if w.Errback != nil && w.Errback(e.task) == ErrbackCall {
			w.plan.Calls = append(w.plan.Calls, Call{Errback: e, TaskID: id, RootID: root, Exception: exc, Traceback: traceback})
		} else {
			messages = append(messages, e)
		}
	}
	if len(messages) == 0 {
		return
	}
	w.apply(newGroup(&list{messages}), []protocol.Raw{quote(id)}, nil, &options{[]option{
		{"parent_id", quote(id)}, {"root_id", quote(root)},
	}})
}
