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

// prepare turns the tasks of a chain into steps and freezes them (chain.prepare_steps).
// Nested chains are spliced, and a group before another step becomes a chord with that
// step as its body. Steps and results are in reverse order, as in the field chain of
// messages.
func (f *freezer) prepare(s *Signature, tasks []*Signature, args []protocol.Raw, kwargs []protocol.Field, p preparation) ([]*Signature, []*result) {
	c := chainSteps{freezer: f, preparation: p, args: args, kwargs: kwargs, pending: f.head(tasks, p.clone)}
	for len(c.pending) > 0 {
		f.step()
		c.prepareNext()
	}
	id := textOrNull(p.id)
	if len(c.results) > 0 {
		id = textOrNull(c.results[0].id)
	}
	s.opts.set("task_id", id)
	if p.clone {
		for _, t := range c.steps {
			stripHeaderLinks(f.budget, t)
		}
	}
	return c.steps, c.results
}

// chainSteps holds the steps of a chain while they are prepared, from the last one to
// the first.
type chainSteps struct {
	*freezer
	preparation
	args   []protocol.Raw // of the first step
	kwargs []protocol.Field

	pending  []*Signature // tasks to prepare, in the order of the chain
	steps    []*Signature // prepared, in reverse order
	results  []*result
	prepared int // frozen steps, including bodies of chords

	// after is the step prepared before, which runs after the current one. afterRes is
	// its first result. Celery calls them prev_task and prev_res.
	after    *Signature
	afterRes *result
}

// prepareNext prepares the last pending task, or replaces it by the tasks that it
// consists of.
func (c *chainSteps) prepareNext() {
	n := len(c.pending) - 1
	t := c.copier.signature(c.pending[n])
	c.pending = c.pending[:n]
	first := n == 0
	if t.kind == kindGroup {
		// task = maybe_unroll_group(task)
		t = c.copier.signature(unroll(t))
		if t.emptyGroup() && (!first || c.after.present()) {
			return
		}
	}
	if c.clone && t.kind == kindChord && ledByTask(t.kw.body) {
		c.pending = append(c.pending, c.unrollBody(t)...)
		return
	}
	t = c.withArguments(t, first)
	if t.kind == kindChain {
		// steps_extend(task.tasks)
		c.pending = append(c.pending, t.kw.tasks.items...)
		return
	}
	if t.kind == kindGroup && c.after.present() {
		t = c.upgrade(t)
	}
	res := c.freezeStep(t)
	c.linkResult(res)
	c.addErrbacks(t)
	c.add(t, res)
}

// withArguments copies a task for running. The first one gets the arguments of the chain
// (task.clone(args, kwargs); in place: task.args = tuple(args) + tuple(task.args)).
func (c *chainSteps) withArguments(t *Signature, first bool) *Signature {
	switch {
	case c.clone && first:
		return c.copier.cloneWith(t, c.args, c.kwargs, nil)
	case c.clone:
		return c.copier.clone(t)
	case first:
		t.args, t.tuple = slices.Concat(c.args, t.args), true
	}
	return t
}

// upgrade makes a chord of a group and the step after it
// (task = chord(task, body=prev_task, task_id=prev_res.task_id, root_id=root_id)).
func (c *chainSteps) upgrade(group *Signature) *Signature {
	n := len(c.steps) - 1
	bodyRes := c.results[n]
	c.steps, c.results = c.steps[:n], c.results[:n]
	chord := c.copier.newChord(group, c.after)
	if !c.afterRes.group {
		chord.opts.set("task_id", quote(c.afterRes.id))
	}
	chord.opts.set("root_id", textOrNull(c.root))
	c.after = nil
	if n > 0 {
		c.after = c.steps[n-1]
		c.unlink(c.results[n-1], bodyRes)
	}
	return chord
}

// unlink removes the result of a body as parent of the step after it. That step is linked
// to the result of the chord instead.
func (c *chainSteps) unlink(res, body *result) {
	for res != nil && res.parent != body {
		res = res.parent
	}
	if res != nil {
		res.parent = nil
		c.afterRes = res
	}
}

// freezeStep gives a step its id. Only the last step belongs to the group and chord of
// the chain and has its id (task.freeze(last_task_id, root_id=root_id, ...)).
func (c *chainSteps) freezeStep(t *Signature) *result {
	as := frozen{root: c.root}
	if c.prepared == 0 {
		as = frozen{id: c.id, root: c.root, groupID: c.groupID, chord: c.chord, groupIndex: c.groupIndex}
	}
	c.prepared++
	return c.freeze(t, as)
}

// linkResult makes res the parent of the step after it (prev_res.parent = res).
func (c *chainSteps) linkResult(res *result) {
	if c.after.present() && c.afterRes != nil && c.afterRes.parent == nil {
		c.afterRes.parent = res
	}
}

// addErrbacks links the errbacks of the chain to a step (task.link_error(errback)), and
// to the body of a chord.
func (c *chainSteps) addErrbacks(t *Signature) {
	for _, errback := range signatures(c.linkError) {
		c.linker.linkError(t, errback)
		if t.kind == kindChord && t.kw.body.present() {
			c.linker.linkError(t.kw.body, errback)
		}
	}
}

// add appends a prepared step. The step before a chord becomes the parent of the header
// (while node.parent: node = node.parent).
func (c *chainSteps) add(t *Signature, res *result) {
	c.steps, c.results = append(c.steps, t), append(c.results, res)
	c.after, c.afterRes = t, res
	if t.kind == kindChord {
		for c.afterRes.parent != nil {
			c.afterRes = c.afterRes.parent
		}
	}
}

// head returns the tasks with a task in front, because the first step gets the partial
// arguments. An empty group or a nested chain would lose them.
func (f *freezer) head(tasks []*Signature, clone bool) []*Signature {
	steps := slices.Clone(tasks)
	var stripped *Signature
	for len(steps) > 0 {
		f.step()
		h := f.copier.signature(steps[0])
		steps[0] = h
		if h.kind == kindChain {
			if clone {
				h = f.copier.clone(h)
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

// ledByTask reports whether a body is a chain that does not begin with a group. A group
// must stay inside the body, because the tasks after it run once per member.
func ledByTask(body *Signature) bool {
	return body != nil && body.kind == kindChain && len(body.kw.tasks.items) > 0 && body.kw.tasks.items[0].kind != kindGroup
}

// consumed lists the options of a chain that do not go to its first task.
var consumed = [...]string{"chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"}

// unrollBody splits a chord into a chord with the first task of its body, and the rest of
// the body as steps after it. This keeps the body short, because every member of the
// header carries a copy of it.
func (f *freezer) unrollBody(s *Signature) []*Signature {
	c := f.copier.clone(s)
	tasks := f.linker.unchain(c.kw.body)
	c.kw.body = f.copier.cloneWith(tasks[0], nil, nil, c.kw.body.opts.without(consumed[:]...))
	return append([]*Signature{c}, tasks[1:]...)
}
