package canvas

import (
	"slices"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// result is the handle of something published or to be published: of one task,
// or with group of several.
type result struct {
	id      string
	parent  *result
	group   bool
	members []*result
}

// tuple appends the result tuple, [[id, parent], members]. Parents are as many
// as a chain has steps, so they are no recursion.
func (w *work) tuple(b protocol.Raw, r *result) protocol.Raw {
	w.enter()
	defer w.leave()
	var line []*result
	for ; r != nil; r = r.parent {
		w.step()
		line = append(line, r)
		b = append(b, "[["...)
		b = append(b, textOrNull(r.id)...)
		b = append(b, ", "...)
	}
	b = append(b, null...)
	for _, r := range slices.Backward(line) {
		b = append(b, "], "...)
		if !r.group {
			b = append(append(b, null...), ']')
			continue
		}
		b = append(b, '[')
		for i, m := range r.members {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = w.tuple(b, m)
		}
		b = append(b, "]]"...)
	}
	if len(b) > w.Limits.Bytes {
		abort(&LimitError{"bytes", w.Limits.Bytes})
	}
	return b
}

// frozen are the options that freezing gives to a signature.
type frozen struct {
	id           string // used when the signature has none
	groupID      string
	groupIndex   protocol.Raw // absent or a number
	chord        value
	root, parent string
}

func index(i int) protocol.Raw { return strconv.AppendInt(nil, int64(i), 10) }

// freeze gives a signature its final id and makes it a member of a group and a
// chord. What has an id keeps it.
func (w *work) freeze(s *Signature, f frozen) *result {
	w.enter()
	defer w.leave()
	switch s.kind {
	case kindChain:
		_, results := w.prepare(s, s.kw.tasks.items, s.args, nil, preparation{frozen: f})
		if len(results) == 0 {
			abort(indexError())
		}
		return results[0]
	case kindGroup:
		gid, members := w.freezeGroup(s, f)
		return &result{id: gid, group: true, members: members}
	case kindChord:
		return w.freezeChord(s, f)
	}
	o := s.opts
	id := o.text("task_id")
	if id == "" {
		if id = f.id; id == "" {
			id = w.newID()
		}
		o.set("task_id", quote(id))
	}
	if f.root != "" {
		o.set("root_id", quote(f.root))
	}
	if f.parent != "" {
		o.set("parent_id", quote(f.parent))
	}
	if !o.has("reply_to") {
		o.set("reply_to", quote(w.ReplyTo))
	}
	if f.groupID != "" && !o.has("group_id") {
		o.set("group_id", quote(f.groupID))
	}
	if w.bodyGiven(f.chord) {
		o.set("chord", f.chord)
	}
	if f.groupIndex != nil {
		o.set("group_index", f.groupIndex)
	}
	return &result{id: id}
}

// freezeGroup freezes the tasks of a group, in place. Groups inside of it are
// dissolved; as they are put back in front one by one, their order is reversed.
func (w *work) freezeGroup(s *Signature, f frozen) (gid string, results []*result) {
	o := s.opts
	if gid = o.text("task_id"); gid == "" {
		gid = w.newID()
		o.set("task_id", quote(gid))
	}
	if f.groupID != "" {
		o.set("group_id", quote(f.groupID))
	}
	if w.bodyGiven(f.chord) {
		o.set("chord", f.chord)
	}
	if f.groupIndex != nil {
		o.set("group_index", f.groupIndex)
	}
	o.setDefault("root_id", textOrNull(f.root))
	o.setDefault("parent_id", textOrNull(f.parent))
	inner := frozen{groupID: f.groupID, chord: f.chord, root: o.text("root_id"), parent: o.text("parent_id")}
	stack := slices.Clone(s.kw.tasks.items)
	slices.Reverse(stack) // its end is the front of the queue
	var tasks []*Signature
	for len(stack) > 0 {
		t := w.clone(w.signature(stack[len(stack)-1]))
		stack = stack[:len(stack)-1]
		switch {
		case t.kind == kindGroup:
			stack = append(stack, t.kw.tasks.items...)
		case t.emptyChain():
		default:
			inner.groupIndex = index(len(tasks))
			results = append(results, w.freeze(t, inner))
			tasks = append(tasks, t)
		}
	}
	s.kw.tasks.items = tasks
	return gid, results
}

func (w *work) freezeChord(s *Signature, f frozen) *result {
	if s.kw.header == nil {
		s.kw.header, s.kw.tasks = newGroup(s.kw.tasks), nil
	}
	header := w.freeze(s.kw.header, frozen{chord: chordOf(s.kw.body), root: f.root, parent: f.parent})
	s.opts.set("task_id", quote(header.id))
	if s.kw.body == nil {
		abort(&SignatureError{"kwargs.body", "missing"})
	}
	body := w.freeze(s.kw.body, frozen{id: f.id, groupID: f.groupID, groupIndex: f.groupIndex, chord: f.chord, root: f.root})
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

// bodyGiven reports whether there is a body, which an empty group is not.
func (w *work) bodyGiven(v value) bool {
	s, ok := v.(*Signature)
	return ok && s.present()
}

// chordOf keeps a nil signature from becoming a value that is not nil.
func chordOf(s *Signature) value {
	if s == nil {
		return nil
	}
	return s
}

// stripHeaderLinks takes the bodies out of the headers of chords that are still
// to run: the chord holds its body anyway, and puts it back when it runs.
func (w *work) stripHeaderLinks(s *Signature) {
	if s == nil {
		return
	}
	w.enter()
	defer w.leave()
	switch s.kind {
	case kindChord:
		if s.kw.header != nil {
			w.clearChord(s.kw.header)
			w.stripHeaderLinks(s.kw.header)
		}
		w.stripHeaderLinks(s.kw.body)
	case kindGroup, kindChain:
		for _, t := range s.kw.tasks.items {
			w.stripHeaderLinks(t)
		}
	}
}

// clearChord removes the body from the tasks that end a signature.
func (w *work) clearChord(s *Signature) {
	if s == nil {
		return
	}
	w.enter()
	defer w.leave()
	s.opts.take("chord")
	switch s.kind {
	case kindGroup:
		for _, t := range s.kw.tasks.items {
			w.clearChord(t)
		}
	case kindChain:
		if n := len(s.kw.tasks.items); n > 0 {
			w.clearChord(s.kw.tasks.items[n-1])
		}
	case kindChord:
		w.clearChord(s.kw.body)
	}
}
