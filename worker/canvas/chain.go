package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// preparation says how the steps of a chain are prepared.
type preparation struct {
	frozen          // of the last step
	clone     bool  // prepare copies, as for running; otherwise freeze in place
	linkError value // errbacks of every step
}

// prepare turns the tasks of a chain into steps: nested chains are spliced, a
// group before another step becomes a chord with that step as its body, and
// every step is frozen. Steps and results are in reverse order, as in the field
// chain of messages.
func (w *work) prepare(s *Signature, tasks []*Signature, args []protocol.Raw, kwargs []protocol.Field, p preparation) ([]*Signature, []*result) {
	steps := w.head(tasks, p.clone)
	var (
		out      []*Signature
		results  []*result
		prev     *Signature
		prevRes  *result
		prepared int
	)
	for len(steps) > 0 {
		w.step()
		t := steps[len(steps)-1]
		steps = steps[:len(steps)-1]
		first, last := len(steps) == 0, prepared == 0
		t = w.signature(t)
		if t.kind == kindGroup {
			t = w.signature(unroll(t))
			if t.emptyGroup() && (!first || prev.present()) {
				continue
			}
		}
		if p.clone && t.kind == kindChord && ledByTask(t.kw.body) {
			steps = append(steps, w.unrollBody(t)...)
			continue
		}
		switch {
		case p.clone && first:
			t = w.cloneWith(t, args, kwargs, nil)
		case p.clone:
			t = w.clone(t)
		case first:
			t.args, t.tuple = slices.Concat(args, t.args), true
		}
		if t.kind == kindChain {
			steps = append(steps, t.kw.tasks.items...)
			continue
		}
		if t.kind == kindGroup && prev.present() {
			out = out[:len(out)-1]
			bodyRes := results[len(results)-1]
			results = results[:len(results)-1]
			t = w.newChord(t, prev)
			if !prevRes.group {
				t.opts.set("task_id", quote(prevRes.id))
			}
			t.opts.set("root_id", textOrNull(p.root))
			prev = nil
			if n := len(out); n > 0 {
				prev = out[n-1]
			}
			// What follows was linked to the result of the body; it is to be
			// linked to that of the chord.
			var node *result
			if n := len(results); n > 0 {
				node = results[n-1]
			}
			for node != nil && node.parent != bodyRes {
				node = node.parent
			}
			if node != nil {
				node.parent = nil
				prevRes = node
			}
		}
		var res *result
		if last {
			res = w.freeze(t, frozen{id: p.id, root: p.root, groupID: p.groupID, chord: p.chord, groupIndex: p.groupIndex})
		} else {
			res = w.freeze(t, frozen{root: p.root})
		}
		prepared++
		if prev.present() && prevRes != nil && prevRes.parent == nil {
			prevRes.parent = res
		}
		for _, errback := range signatures(p.linkError) {
			w.linkError(t, errback)
			if t.kind == kindChord && t.kw.body.present() {
				w.linkError(t.kw.body, errback)
			}
		}
		out, results = append(out, t), append(results, res)
		prev, prevRes = t, res
		if t.kind == kindChord {
			for prevRes.parent != nil { // down to the group
				prevRes = prevRes.parent
			}
		}
	}
	id := textOrNull(p.id)
	if len(results) > 0 {
		id = textOrNull(results[0].id)
	}
	s.opts.set("task_id", id)
	if p.clone {
		for _, t := range out {
			w.stripHeaderLinks(t)
		}
	}
	return out, results
}

// head makes sure that a task comes first: partial arguments go to the first
// step, and must not end in an empty group or a nested chain.
func (w *work) head(tasks []*Signature, clone bool) []*Signature {
	steps := slices.Clone(tasks)
	var stripped *Signature
	for len(steps) > 0 {
		w.step()
		h := w.signature(steps[0])
		steps[0] = h
		if h.kind == kindChain {
			if clone {
				h = w.clone(h)
			}
			steps = slices.Concat(h.kw.tasks.items, steps[1:])
			continue
		}
		if h.kind == kindGroup {
			h = unroll(h)
			steps[0] = h
			if len(steps) > 1 && h.emptyGroup() {
				stripped, steps = h, steps[1:]
				continue
			}
		}
		break
	}
	if stripped != nil && len(steps) == 0 {
		steps = []*Signature{stripped}
	}
	return steps
}

// ledByTask reports whether a body is a chain that does not begin with a group.
// A group must stay inside of the body: what follows it runs once per member.
func ledByTask(body *Signature) bool {
	return body != nil && body.kind == kindChain && len(body.kw.tasks.items) > 0 && body.kw.tasks.items[0].kind != kindGroup
}

// consumed are the options of a chain that do not go to its first task.
var consumed = [...]string{"chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"}

// unrollBody splits a chord into itself with the first task of its body, and the
// rest of the body as steps behind it: every member of the header carries a copy
// of the body, which is to be short.
func (w *work) unrollBody(s *Signature) []*Signature {
	c := w.clone(s)
	tasks := w.unchain(c.kw.body)
	c.kw.body = w.cloneWith(tasks[0], nil, nil, c.kw.body.opts.without(consumed[:]...))
	return append([]*Signature{c}, tasks[1:]...)
}

// unrollChords does so for all chords in a chain, in place.
func (w *work) unrollChords(s *Signature) {
	w.enter()
	defer w.leave()
	pending := slices.Clone(s.kw.tasks.items)
	var tasks []*Signature
	for len(pending) > 0 {
		w.step()
		t := pending[0]
		pending = pending[1:]
		if t.kind == kindChain {
			t = w.clone(t)
			w.unrollChords(t)
		}
		if t.kind == kindChord && ledByTask(t.kw.body) {
			pending = append(w.unrollBody(t), pending...)
		} else {
			tasks = append(tasks, t)
		}
	}
	s.kw.tasks = &list{tasks}
}

// applyChain publishes the first step; the others travel with it. more are
// options of this call, which may be null.
func (w *work) applyChain(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *result {
	o := s.opts.with(more)
	if len(args) > 0 && !s.immutable {
		args = slices.Concat(args, s.args)
	} else {
		args = s.args
	}
	link := o.take("link")
	p := preparation{clone: true, linkError: o.take("link_error"), frozen: frozen{
		id: o.text("task_id"), groupID: o.text("group_id"), chord: o.get("chord"),
		root: o.text("root_id"),
	}}
	if raw, ok := o.get("group_index").(protocol.Raw); ok && !raw.IsNull() {
		p.groupIndex = raw
	}
	o = o.without(consumed[:]...)
	tasks, results := w.prepare(s, s.kw.tasks.items, args, kwargs, p)
	if len(results) == 0 {
		return nil
	}
	if !isNull(link) {
		w.extend(tasks[0].opts, "link", signatures(link))
	}
	n := len(tasks) - 1
	first := tasks[n]
	tasks = slices.Clip(tasks[:n])
	if o.has("chain") {
		tasks = append(slices.Clone(signatures(o.get("chain"))), tasks...)
	}
	o.set("chain", &list{tasks})
	res := w.apply(first, nil, nil, o)
	if n == 0 {
		return res
	}
	return results[0]
}
