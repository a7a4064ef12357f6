package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// unrollChords splits all chords in a chain with unrollBody, in place.
func (f *freezer) unrollChords(s *Signature) {
	f.enter()
	defer f.leave()
	pending := slices.Clone(s.kw.tasks.items)
	var tasks []*Signature
	for len(pending) > 0 {
		f.step()
		t := pending[0]
		pending = pending[1:]
		if t.kind == kindChain {
			t = f.copier.clone(t)
			f.unrollChords(t)
		}
		if t.kind == kindChord && ledByTask(t.kw.body) {
			pending = append(f.unrollBody(t), pending...)
		} else {
			tasks = append(tasks, t)
		}
	}
	s.kw.tasks = &list{tasks}
}

// applyChain publishes the first step; the others travel with it. more holds the options
// of this call, which may be null.
func (p *publisher) applyChain(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *result {
	o := s.opts.with(more)
	if len(args) > 0 && !s.immutable {
		args = slices.Concat(args, s.args)
	} else {
		args = s.args
	}
	link := o.take("link")
	how := preparation{clone: true, linkError: o.take("link_error"), frozen: frozen{
		id: o.text("task_id"), groupID: o.text("group_id"), chord: o.get("chord"),
		root: o.text("root_id"),
	}}
	if raw, ok := o.get("group_index").(protocol.Raw); ok && !raw.IsNull() {
		how.groupIndex = raw
	}
	o = o.without(consumed[:]...)
	tasks, results := p.freezer.prepare(s, s.kw.tasks.items, args, kwargs, how)
	if len(results) == 0 {
		return nil
	}
	if !isNull(link) {
		tasks[0].opts.extend("link", signatures(link))
	}
	n := len(tasks) - 1
	first := tasks[n]
	tasks = slices.Clip(tasks[:n])
	if o.has("chain") {
		tasks = append(slices.Clone(signatures(o.get("chain"))), tasks...)
	}
	o.set("chain", &list{tasks})
	res := p.apply(first, nil, nil, o)
	if n == 0 {
		return res
	}
	return results[0]
}
