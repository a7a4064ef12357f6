package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// AfterSuccess returns the plan that follows the success of m: its callbacks, and the
// next element of its chain with the rest of it. It must be published before the result
// is stored, whose children are Plan.Children.
//
// An error fails the task, as in Celery: its callbacks or its chain cannot be applied.
// Celery stores the exception of a *[TaskError].
//
// Several callbacks run as one group, except groups among them. The ids in c are taken
// from m. c.Priority is the priority of m if messages inherit it.
func AfterSuccess(m *protocol.Message, result protocol.Raw, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	p := newPublisher(running(m, c))
	if len(result) == 0 {
		result = null
	}
	args := []protocol.Raw{result}
	callbacks, chain := p.parse("callbacks", m.Callbacks), p.parse("chain", m.Chain)
	var plain []*Signature
	switch {
	case len(callbacks) == 1:
		p.apply(callbacks[0], args, nil, p.descent())
	default:
		for _, s := range callbacks {
			if s.kind == kindGroup {
				p.apply(s, args, nil, p.descent())
			} else {
				plain = append(plain, s)
			}
		}
		if len(plain) > 0 {
			p.apply(newGroup(&list{plain}), args, nil, p.descent())
		}
	}
	if n := len(chain) - 1; n >= 0 {
		// Each element stays a mapping until it is the next one.
		rest := mappings(p.budget, "chain", m.Chain)[:n]
		o := &options{[]option{{"chain", &list{rest}}}}
		o.update(p.descent())
		return p.done(p.apply(chain[n], args, nil, o)), nil
	}
	return &p.plan, nil
}

// running returns the context of the messages that a task publishes.
func running(m *protocol.Message, c Context) Context {
	c.ParentID = m.ID
	if c.RootID = m.RootID; c.RootID == "" {
		c.RootID = m.ID
	}
	return c
}

// descent returns the options that callbacks and chain elements get from the task that
// has ended.
func (p *publisher) descent() *options {
	priority := null
	if p.Priority != nil {
		priority = index(*p.Priority)
	}
	return &options{[]option{
		{"parent_id", quote(p.ParentID)}, {"root_id", quote(p.RootID)}, {"priority", priority},
	}}
}

// parse reads the signatures of a field of a message.
func (p *publisher) parse(path string, raw protocol.Raw) []*Signature {
	return p.copier.signatures(mappings(p.budget, path, raw))
}

func mappings(b *budget, path string, raw protocol.Raw) []*Signature {
	if raw.IsNull() {
		return nil
	}
	p := parser{b}
	return signatures(p.signatures(path, raw))
}

// AfterFailure returns the plan that follows the failure of m with exc. It fails the rest
// of the chain of m and the chords that wait for these tasks, and calls the error
// callbacks. It must be carried out after the result of m was stored and m was counted in
// its chord, see [Member].
//
// Error callbacks for which c.Errback returns [ErrbackCall] are listed in Plan.Calls. The
// others are published as a group, with the id of m as first argument.
func AfterFailure(m *protocol.Message, exc *protocol.Exception, traceback *string, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	f := newFailures(newPublisher(running(m, c)))
	f.failChain(mappings(f.budget, "chain", m.Chain), exc, traceback)
	f.callErrbacks(m.ID, m.RootID, mappings(f.budget, "errbacks", m.Errbacks), exc, traceback)
	return &f.plan, nil
}

// failures makes the plan that follows the failure of a task.
type failures struct{ *publisher }

func newFailures(p *publisher) *failures { return &failures{p} }

// failChain stores a failure for all elements of a chain that have an id. A chord fails
// with the result of its body.
func (f *failures) failChain(chain []*Signature, exc *protocol.Exception, traceback *string) {
	for pending := slices.Clone(chain); len(pending) > 0; {
		f.step()
		s := pending[0]
		pending = pending[1:]
		m := &protocol.Message{
			Protocol: 2, ID: s.opts.text("task_id"), Task: s.task, Group: s.opts.text("group_id"),
			RootID: s.opts.text("root_id"), ParentID: s.opts.text("parent_id"),
			Args: arrayRaw(s.args), Kwargs: fieldsRaw(s.kw.fields), Chord: encodeValue(f.budget, s.opts.get("chord")),
		}
		if s.opts.given("group_index") {
			i := s.opts.integer("group_index")
			m.GroupIndex = &i
		}
		if m.ID != "" && !f.ErrorsIgnored {
			f.plan.Results = append(f.plan.Results, &protocol.Result{
				TaskID: m.ID, Status: protocol.StateFailure, Exception: exc, Traceback: traceback,
				DateDone: f.Now, GroupID: m.Group, ParentID: m.ParentID, Extended: f.extended(s, m),
			})
		}
		if s.opts.has("chord") {
			f.failMember(m, exc)
		}
		if s.kind == kindChord && s.kw.body != nil {
			pending = append(pending, s.kw.body)
		}
	}
}

// extended returns the fields that Celery stores for a task that will never run. They
// name no worker and no queue.
func (f *failures) extended(s *Signature, m *protocol.Message) *protocol.Extended {
	if !f.ResultExtended {
		return nil
	}
	e := encoder{budget: f.budget}
	e.keywords(s)
	if f.bytes += len(m.Args) + len(e.buf); f.bytes > f.limits.Bytes {
		return nil // the failure matters more, because a producer waits for it
	}
	return &protocol.Extended{Name: s.task, Args: m.Args, Kwargs: e.buf, Retries: s.opts.integer("retries")}
}

func (f *failures) failMember(m *protocol.Message, exc *protocol.Exception) {
	raw, err := ExceptionRaw(exc)
	if err != nil {
		abort(err)
	}
	if entry, ok := Member(m, protocol.StateFailure, raw); ok {
		f.plan.ChordParts = append(f.plan.ChordParts, ChordPart{Message: m, Entry: entry, UnlessFailed: true})
	}
}

// callErrbacks publishes the errbacks of a task, and lists the ones that this worker
// calls itself.
func (f *failures) callErrbacks(id, root string, errbacks []*Signature, exc *protocol.Exception, traceback *string) {
	if root == "" {
		root = id
	}
	var messages []*Signature
	for _, e := range errbacks {
		e = f.copier.copyOf(e)
		if f.Errback != nil && f.Errback(e.task) == ErrbackCall {
			f.plan.Calls = append(f.plan.Calls, Call{Errback: e, TaskID: id, RootID: root, Exception: exc, Traceback: traceback})
		} else {
			messages = append(messages, e)
		}
	}
	if len(messages) == 0 {
		return
	}
	f.apply(newGroup(&list{messages}), []protocol.Raw{quote(id)}, nil, &options{[]option{
		{"parent_id", quote(id)}, {"root_id", quote(root)},
	}})
}
