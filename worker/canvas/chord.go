package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// applyChord publishes the header of a chord, each member with the body, or the body at
// once when the header is empty. more holds the options of this call. Options that are
// null are given to the body as null.
func (p *publisher) applyChord(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *result {
	more = more.copy()
	taskID := more.take("task_id")
	if len(args) > 0 && !s.immutable {
		args = slices.Concat(args, s.args)
	} else {
		args = s.args
	}
	if s.kw.body == nil {
		abort(&SignatureError{"kwargs.body", "missing"})
	}
	kwargs = overlay(chordKwargs(s), kwargs)
	delay := &options{}
	for _, name := range []string{"countdown", "eta"} {
		if more.given(name) {
			delay.set(name, more.take(name))
		}
	}
	callbacks := &options{}
	for _, name := range []string{"link", "link_error"} {
		if more.has(name) {
			callbacks.set(name, more.take(name))
		}
	}
	body := p.copier.cloneWith(s.kw.body, nil, nil, more.without("parent_id"))
	var header *Signature
	if s.kw.header != nil {
		header = p.copier.clone(s.kw.header)
	} else {
		header = newGroup(&list{slices.Clone(s.kw.tasks.items)})
		id := s.opts.text("task_id")
		if id == "" {
			id = p.ids.next()
		}
		header.opts.set("task_id", quote(id))
	}
	o := s.opts.with(more)
	o.update(callbacks)
	o.take("countdown")
	o.take("eta")
	own := o.take("task_id")
	if isNull(taskID) {
		taskID = own
	}
	id := ""
	if !isNull(taskID) {
		id = (&options{[]option{{"task_id", taskID}}}).text("task_id")
	}
	return p.runChord(s, header, body, args, kwargs, id, o, delay)
}

// chordKwargs returns the keyword arguments for the members of the header.
func chordKwargs(s *Signature) []protocol.Field {
	for _, f := range s.kw.fields {
		if f.Name == "kwargs" && !f.Value.IsNull() {
			fields, err := f.Value.Fields()
			if err != nil {
				abort(&SignatureError{"kwargs.kwargs", "not an object"})
			}
			return overlay(nil, fields)
		}
	}
	return nil
}

func (p *publisher) runChord(s, header, body *Signature, args []protocol.Raw, kwargs []protocol.Field, id string, o, delay *options) *result {
	// These options belong to the fallback for backends that cannot count.
	o = o.without("interval", "countdown", "max_retries", "eager", "app")
	gid := header.opts.text("task_id")
	if gid == "" {
		gid = p.ids.next()
	}
	root := body.opts.text("root_id")
	o = s.opts.with(o)
	for _, name := range []string{"countdown", "eta"} {
		if v := o.take(name); !isNull(v) && !delay.has(name) {
			delay.set(name, v)
		}
	}
	if len(o.entries) > 0 {
		o.take("task_id")
		body = p.addCallbacks(body, o)
		body.opts.update(o.without("parent_id"))
	}
	if body.kind == kindChain {
		p.freezer.unrollChords(body)
	}
	if id == "" {
		id = p.ids.next()
	}
	res := p.freezer.freeze(body, frozen{id: id, groupID: gid, root: root})
	stripHeaderLinks(p.budget, body)
	o.take("chain")
	o.take("chord")
	header.opts.set("task_id", quote(gid))
	_, results := p.freezer.freezeGroup(header, frozen{groupID: gid, chord: body, root: root})
	group := &result{id: gid, group: true, members: results}
	if len(header.kw.tasks.items) > 0 {
		if slices.ContainsFunc(results, func(r *result) bool { return r.group }) {
			value := append(protocol.Raw(`{"result": `), appendTuple(p.budget, nil, group)...)
			p.plan.Groups = append(p.plan.Groups, SavedGroup{gid, append(value, '}')})
		}
		o.set("task_id", quote(gid))
		o.update(delay)
		group = p.applyGroup(header, args, kwargs, o)
	} else {
		p.apply(body, []protocol.Raw{protocol.Raw("[]")}, nil, &options{})
	}
	res.parent = group
	return res
}

// addCallbacks moves the options link and link_error to the body, because they must not
// reach the header. It copies the body if there are any.
func (p *publisher) addCallbacks(body *Signature, o *options) *Signature {
	callbacks, errbacks := signatures(o.take("link")), signatures(o.take("link_error"))
	if len(callbacks) > 0 || len(errbacks) > 0 {
		body = p.copier.cloneWithMembers(body)
	}
	for _, c := range callbacks {
		c = p.copier.cloneWithMembers(c)
		if body.emptyGroup() {
			p.linker.appendTo(body.opts, "link", c)
		} else {
			p.linker.link(body, c)
		}
	}
	for _, e := range errbacks {
		if body.kind == kindGroup {
			p.linker.linkErrorToBody(body, p.copier.signature(e), true)
		} else {
			p.linker.appendTo(body.opts, "link_error", e)
		}
	}
	return body
}
