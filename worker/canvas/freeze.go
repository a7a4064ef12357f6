package canvas

import (
	"slices"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// result is the handle of one task, or with group set of several tasks.
type result struct {
	id      string
	parent  *result
	group   bool
	members []*result
}

// appendTuple appends the result tuple, [[id, parent], members]. It walks the parents in
// a loop, because a chain has as many of them as steps.
func appendTuple(b *budget, dst protocol.Raw, r *result) protocol.Raw {
	b.enter()
	defer b.leave()
	var line []*result
	for ; r != nil; r = r.parent {
		b.step()
		line = append(line, r)
		dst = append(dst, "[["...)
		dst = append(dst, textOrNull(r.id)...)
		dst = append(dst, ", "...)
	}
	dst = append(dst, null...)
	for _, r := range slices.Backward(line) {
		dst = append(dst, "], "...)
		if !r.group {
			dst = append(append(dst, null...), ']')
			continue
		}
		dst = append(dst, '[')
		for i, m := range r.members {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendTuple(b, dst, m)
		}
		dst = append(dst, "]]"...)
	}
	if len(dst) > b.limits.Bytes {
		abort(&LimitError{"bytes", b.limits.Bytes})
	}
	return dst
}

// frozen holds the options that freezing gives to a signature.
type frozen struct {
	id           string // used when the signature has none
	groupID      string
	groupIndex   protocol.Raw // absent or a number
	chord        value
	root, parent string
}

func index(i int) protocol.Raw { return strconv.AppendInt(nil, int64(i), 10) }

// freezer gives signatures their final ids.
type freezer struct {
	*budget
	ids     idSource
	replyTo string
	copier  *copier
	linker  *linker
}

func newFreezer(l *linker, ids idSource, replyTo string) *freezer {
	return &freezer{budget: l.budget, ids: ids, replyTo: replyTo, copier: l.copier, linker: l}
}

// freeze gives a signature its final id and makes it a member of a group and a chord. A
// signature that has an id keeps it.
func (f *freezer) freeze(s *Signature, as frozen) *result {
	f.enter()
	defer f.leave()
	switch s.kind {
	case kindChain:
		_, results := f.prepare(s, s.kw.tasks.items, s.args, nil, preparation{frozen: as})
		if len(results) == 0 {
			abort(indexError())
		}
		return results[0]
	case kindGroup:
		gid, members := f.freezeGroup(s, as)
		return &result{id: gid, group: true, members: members}
	case kindChord:
		return f.freezeChord(s, as)
	}
	o := s.opts
	id := o.text("task_id")
	if id == "" {
		if id = as.id; id == "" {
			id = f.ids.next()
		}
		o.set("task_id", quote(id))
	}
	if as.root != "" {
		o.set("root_id", quote(as.root))
	}
	if as.parent != "" {
		o.set("parent_id", quote(as.parent))
	}
	if !o.has("reply_to") {
		o.set("reply_to", quote(f.replyTo))
	}
	if as.groupID != "" && !o.has("group_id") {
		o.set("group_id", quote(as.groupID))
	}
	if bodyGiven(as.chord) {
		o.set("chord", as.chord)
	}
	if as.groupIndex != nil {
		o.set("group_index", as.groupIndex)
	}
	return &result{id: id}
}

// freezeGroup freezes the tasks of a group, in place. Groups inside it are dissolved.
// Their order is reversed, because their tasks are put in front one by one.
func (f *freezer) freezeGroup(s *Signature, as frozen) (gid string, results []*result) {
	o := s.opts
	if gid = o.text("task_id"); gid == "" {
		gid = f.ids.next()
		o.set("task_id", quote(gid))
	}
	if as.groupID != "" {
		o.set("group_id", quote(as.groupID))
	}
	if bodyGiven(as.chord) {
		o.set("chord", as.chord)
	}
	if as.groupIndex != nil {
		o.set("group_index", as.groupIndex)
	}
	o.setDefault("root_id", textOrNull(as.root))
	o.setDefault("parent_id", textOrNull(as.parent))
	inner := frozen{groupID: as.groupID, chord: as.chord, root: o.text("root_id"), parent: o.text("parent_id")}
	stack := slices.Clone(s.kw.tasks.items)
	slices.Reverse(stack) // its end is the front of the queue
	var tasks []*Signature
	for len(stack) > 0 {
		t := f.copier.clone(f.copier.signature(stack[len(stack)-1]))
		stack = stack[:len(stack)-1]
		switch {
		case t.kind == kindGroup:
			stack = append(stack, t.kw.tasks.items...)
		case t.emptyChain():
		default:
			inner.groupIndex = index(len(tasks))
			results = append(results, f.freeze(t, inner))
			tasks = append(tasks, t)
		}
	}
	s.kw.tasks.items = tasks
	return gid, results
}

func (f *freezer) freezeChord(s *Signature, as frozen) *result {
	if s.kw.header == nil {
		s.kw.header, s.kw.tasks = newGroup(s.kw.tasks), nil
	}
	header := f.freeze(s.kw.header, frozen{chord: chordOf(s.kw.body), root: as.root, parent: as.parent})
	s.opts.set("task_id", quote(header.id))
	if s.kw.body == nil {
		abort(&SignatureError{"kwargs.body", "missing"})
	}
	body := f.freeze(s.kw.body, frozen{id: as.id, groupID: as.groupID, groupIndex: as.groupIndex, chord: as.chord, root: as.root})
	met := map[string]bool{}
	for node := body; ; node = node.parent {
		if met[node.id] {
			abort(builtinError("RuntimeError", "Recursive result parents"))
		}
		met[node.id] = true
		if node.parent == nil {
			node.parent = header
			return body
		}
	}
}

// bodyGiven reports whether there is a body. An empty group is none.
func bodyGiven(v value) bool {
	s, ok := v.(*Signature)
	return ok && s.present()
}

// chordOf returns a signature as a value, nil for a nil signature.
func chordOf(s *Signature) value {
	if s == nil {
		return nil
	}
	return s
}

// stripHeaderLinks removes the bodies from the headers of chords that have not run yet.
// The chord itself holds its body and puts it back when it runs.
func stripHeaderLinks(b *budget, s *Signature) {
	if s == nil {
		return
	}
	b.enter()
	defer b.leave()
	switch s.kind {
	case kindChord:
		if s.kw.header != nil {
			clearChord(b, s.kw.header)
			stripHeaderLinks(b, s.kw.header)
		}
		stripHeaderLinks(b, s.kw.body)
	case kindGroup, kindChain:
		for _, t := range s.kw.tasks.items {
			stripHeaderLinks(b, t)
		}
	}
}

// clearChord removes the body from the tasks that end a signature.
func clearChord(b *budget, s *Signature) {
	if s == nil {
		return
	}
	b.enter()
	defer b.leave()
	s.opts.take("chord")
	switch s.kind {
	case kindGroup:
		for _, t := range s.kw.tasks.items {
			clearChord(b, t)
		}
	case kindChain:
		if n := len(s.kw.tasks.items); n > 0 {
			clearChord(b, s.kw.tasks.items[n-1])
		}
	case kindChord:
		clearChord(b, s.kw.body)
	}
}
