package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// Apply returns the plan that publishes a signature, as its apply_async does. args come
// before its own arguments, and kwargs, an object, override its own ones, unless it is
// immutable. The running task in c is its parent, and the root of c its root.
func Apply(s *Signature, args []protocol.Raw, kwargs protocol.Raw, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	p := newPublisher(c)
	s = input(p.budget, s)
	var fields []protocol.Field
	if !kwargs.IsNull() {
		if fields, err = kwargs.Fields(); err != nil {
			return nil, err
		}
		fields = overlay(nil, fields)
	}
	return p.done(p.apply(p.copier.signature(s), args, fields, &options{})), nil
}

// done returns the plan with the handle of what was applied last.
func (p *publisher) done(r *result) *Plan {
	if r != nil {
		p.plan.Handle = appendTuple(p.budget, nil, r)
	}
	return &p.plan
}

// apply publishes a signature of any type. more holds the options of this call.
func (p *publisher) apply(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *result {
	p.enter()
	defer p.leave()
	if s.err != nil {
		abort(s.err)
	}
	switch s.kind {
	case kindChain:
		return p.applyChain(s, args, kwargs, more)
	case kindGroup:
		return p.applyGroup(s, args, kwargs, more)
	case kindChord:
		return p.applyChord(s, args, kwargs, more)
	case kindChunks:
		return p.applyGroup(chunksGroup(s), args, kwargs, more)
	case kindMap:
		_, _, _, o := p.copier.merge(s, nil, nil, more.known())
		return p.send(s.task, nil, true, s.kw.fields, o, innerTask(s))
	}
	more = more.known()
	margs, tuple, kw, o := s.args, s.tuple, s.kw, s.opts
	if len(args) > 0 || len(kwargs) > 0 || len(more.entries) > 0 {
		margs, tuple, kw, o = p.copier.merge(s, args, kwargs, more)
	}
	return p.send(s.task, margs, tuple, kw.fields, o, s.task)
}

// innerTask returns the name of the task that a map runs, by which the map is routed.
func innerTask(s *Signature) string {
	for _, f := range s.kw.fields {
		if f.Name == "task" {
			if inner, err := Parse(f.Value); err == nil {
				return inner.task
			}
		}
	}
	return s.task
}

// chunksGroup makes the group that a signature of celery.chunks stands for.
func chunksGroup(s *Signature) *Signature {
	g, err := chunked(fieldsRaw(s.kw.fields))
	if err != nil {
		abort(err)
	}
	return g
}

// member is one task of a group that is about to be published.
type member struct {
	sig *Signature
	res *result
}

// applyGroup publishes each task of a group.
func (p *publisher) applyGroup(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *result {
	if more.given("link") || more.given("link_error") {
		abort(builtinError("TypeError", "Cannot add link to group: use a chord"))
	}
	more = more.without("link", "link_error")
	trail := !isFalse(more.take("add_to_parent"))
	if len(s.kw.tasks.items) == 0 {
		return p.freezer.freeze(s, frozen{})
	}
	o := s.opts.copy()
	for _, e := range more.entries {
		if !slices.Contains([]string{"group_id", "stamped_headers"}, e.name) || !s.opts.has(e.name) {
			o.set(e.name, e.val)
		}
	}
	gid := o.text("task_id")
	o.take("task_id")
	if gid == "" {
		gid = p.ids.next()
	}
	o.set("group_id", quote(gid))
	members := p.members(s, nil, gid, o.text("root_id"))
	chord := o.take("chord")
	o.take("add_to_parent")
	o.take("group_index")
	o.set("add_to_parent", protocol.Raw("false"))
	group := &result{id: gid, group: true}
	size := 0
	for i, m := range members {
		body := chord
		if isNull(body) {
			body = m.sig.opts.get("chord")
		}
		size += completions(p.budget, m.sig)
		if !isNull(body) && i == len(members)-1 {
			p.plan.Sizes = append(p.plan.Sizes, GroupSize{gid, size})
		}
		call := o.copy()
		if body == nil {
			body = null
		}
		call.set("chord", body)
		p.apply(m.sig, args, kwargs, call)
		group.members = append(group.members, m.res)
	}
	// A chain that is the only member and ends in a group is that group.
	if len(group.members) == 1 && group.members[0].group {
		group = group.members[0]
	}
	if trail {
		p.child(group)
	}
	return group
}

// members returns frozen copies of the tasks of a group and of the groups in it.
func (p *publisher) members(s *Signature, all []member, gid, root string) []member {
	p.enter()
	defer p.leave()
	for i, t := range s.kw.tasks.items {
		if t.mapping {
			t = p.copier.fromMapping(t)
		} else {
			t = p.copier.clone(t)
		}
		switch {
		case t.kind == kindGroup:
			all = p.members(t, all, gid, root)
		case t.emptyChain():
		default:
			all = append(all, member{t, p.freezer.freeze(t, frozen{groupID: gid, root: root, groupIndex: index(i)})})
		}
	}
	return all
}

// completions counts the completions that a chord waits for: each task of a
// group, the last step of a chain, the body of a chord.
func completions(b *budget, s *Signature) int {
	if s == nil {
		return 0
	}
	b.enter()
	defer b.leave()
	switch s.kind {
	case kindGroup:
		n := 0
		for _, t := range s.kw.tasks.items {
			n += completions(b, t)
		}
		return n
	case kindChain:
		for _, t := range slices.Backward(s.kw.tasks.items) {
			if n := completions(b, t); n > 0 {
				return n
			}
		}
		return 0
	case kindChord:
		return completions(b, s.kw.body)
	}
	return 1
}

func isFalse(v value) bool {
	raw, ok := v.(protocol.Raw)
	return ok && string(raw) == "false"
}
