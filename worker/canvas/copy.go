package canvas

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// copier turns mappings into signatures and copies signatures. Copies share the same
// parts as in Celery.
type copier struct{ *budget }

func newCopier(b *budget) *copier { return &copier{b} }

// signature turns a mapping into a signature, and returns a signature as it is
// (maybe_signature). The options of a plain task stay shared with the mapping.
func (cp *copier) signature(s *Signature) *Signature {
	if s == nil || !s.mapping {
		return s
	}
	return cp.fromMapping(s)
}

// copyOf turns a mapping into a signature, and clones a signature (canvas.signature).
func (cp *copier) copyOf(s *Signature) *Signature {
	if s == nil || !s.mapping {
		return cp.clone(s)
	}
	return cp.fromMapping(s)
}

// fromMapping turns a mapping into a signature (from_dict of its type). Chains and groups
// keep only their tasks and options.
func (cp *copier) fromMapping(d *Signature) *Signature {
	cp.step()
	switch d.kind {
	case kindChain:
		s := newChain(cp.signatures(d.kw.tasks.items))
		s.opts, s.err = d.opts.copy(), d.err
		return s
	case kindGroup:
		// The mapping gets the new list too, so that other references to the mapping see
		// the group being frozen.
		d.kw.tasks = &list{cp.signatures(d.kw.tasks.items)}
		s := newGroup(d.kw.tasks)
		s.opts, s.err = d.opts.copy(), d.err
		return s
	case kindChord:
		kw := &keywords{fields: d.kw.fields, body: cp.signature(d.kw.body)}
		if d.kw.header != nil {
			kw.tasks = cp.headerList(d.kw.header)
		} else {
			tasks := make([]*Signature, len(d.kw.tasks.items))
			for i, t := range d.kw.tasks.items {
				tasks[i] = cp.copyOf(t)
			}
			kw.tasks = &list{tasks}
		}
		s := newCanvas(kindChord, d.task, "chord", kw)
		s.args, s.tuple, s.opts, s.immutable, s.err = d.args, d.tuple, d.opts.copy(), d.immutable, d.err
		return s
	}
	s := *d
	s.mapping = false
	return &s
}

func (cp *copier) signatures(tasks []*Signature) []*Signature {
	out := make([]*Signature, len(tasks))
	for i, t := range tasks {
		out[i] = cp.signature(t)
	}
	return out
}

// merge combines a signature with further arguments, keyword arguments and options. The
// arguments come first, unless the signature is immutable. The signature keeps its group
// id and stamps, because a change would stall a chord or lose a stamp.
func (cp *copier) merge(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) ([]protocol.Raw, bool, *keywords, *options) {
	opts := s.opts
	if more != nil {
		kept := append([]string{"group_id", "stamped_headers"}, s.opts.names("stamped_headers")...)
		opts = s.opts.copy()
		for _, e := range more.entries {
			if !slices.Contains(kept, e.name) || !s.opts.has(e.name) {
				opts.set(e.name, e.val)
			}
		}
	}
	if s.immutable {
		return s.args, s.tuple, s.kw, opts
	}
	merged, tuple := s.args, s.tuple
	if len(args) > 0 {
		merged, tuple = slices.Concat(args, s.args), true
	}
	kw := s.kw
	if len(kwargs) > 0 {
		kw = s.kw.copy()
		kw.fields = overlay(kw.fields, kwargs)
	}
	return merged, tuple, kw, opts
}

// clone copies a signature as Signature.clone does. Options are copied in depth, and the
// tasks of a chain and the body of a chord are cloned. The tasks of a group stay the
// same.
func (cp *copier) clone(s *Signature) *Signature { return cp.cloneWith(s, nil, nil, nil) }

func (cp *copier) cloneWith(s *Signature, args []protocol.Raw, kwargs []protocol.Field, more *options) *Signature {
	if s == nil {
		return nil
	}
	if s.mapping {
		s = cp.fromMapping(s)
	}
	margs, kw, opts := s.args, s.kw, s.opts
	if len(args) > 0 || len(kwargs) > 0 || (more != nil && len(more.entries) > 0) {
		if more == nil {
			more = &options{}
		}
		margs, _, kw, opts = cp.merge(s, args, kwargs, more)
	}
	d := &Signature{
		task: s.task, args: margs, tuple: true, kw: kw.copy(), kind: s.kind, subtask: s.subtask,
		opts: cp.deepOptions(opts, seen{}), immutable: s.immutable, mapping: true, err: s.err,
	}
	if d.kind == kindMap || d.kind == kindChunks {
		d.kind = kindTask // the dict does not tell its kind
	}
	c := cp.fromMapping(d)
	switch c.kind {
	case kindChain:
		for i, t := range c.kw.tasks.items {
			c.kw.tasks.items[i] = cp.clone(t)
		}
	case kindChord:
		c.kw.body = cp.clone(c.kw.body)
	}
	return c
}

// cloneWithMembers clones a signature and the parts that link changes: the tasks of a
// group and the body of a chord.
func (cp *copier) cloneWithMembers(s *Signature) *Signature {
	s = cp.copyOf(s)
	if s == nil {
		return nil
	}
	switch s.kind {
	case kindGroup:
		tasks := make([]*Signature, len(s.kw.tasks.items))
		for i, t := range s.kw.tasks.items {
			tasks[i] = cp.cloneWithMembers(t)
		}
		s.kw.tasks = &list{tasks}
	case kindChord:
		s.kw.body = cp.cloneWithMembers(s.kw.body)
	}
	return s
}

// seen maps the originals of one deep copy to their copies, so that parts shared in the
// original are shared in the copy.
type seen map[any]value

func (cp *copier) deepOptions(o *options, memo seen) *options {
	c := &options{make([]option, len(o.entries))}
	for i, e := range o.entries {
		c.entries[i] = option{e.name, cp.deepValue(e.val, memo)}
	}
	return c
}

func (cp *copier) deepValue(v value, memo seen) value {
	switch v := v.(type) {
	case *Signature:
		return cp.deepSignature(v, memo)
	case *list:
		return cp.deepList(v, memo)
	}
	return v
}

func (cp *copier) deepList(l *list, memo seen) *list {
	if l == nil {
		return nil
	}
	if c, ok := memo[l]; ok {
		return c.(*list)
	}
	c := &list{make([]*Signature, len(l.items))}
	memo[l] = c
	for i, s := range l.items {
		c.items[i] = cp.deepSignature(s, memo)
	}
	return c
}

// deepSignature copies a signature into a mapping. The keyword arguments of a signature
// stay shared, because they may be large; those of a mapping are copied.
func (cp *copier) deepSignature(s *Signature, memo seen) *Signature {
	if s == nil {
		return nil
	}
	if c, ok := memo[s]; ok {
		return c.(*Signature)
	}
	cp.enter()
	defer cp.leave()
	c := *s
	memo[s] = &c
	c.mapping = true
	c.opts = cp.deepOptions(s.opts, memo)
	if s.mapping {
		c.kw = s.kw.copy()
		c.kw.tasks = cp.deepList(s.kw.tasks, memo)
		c.kw.header = cp.deepSignature(s.kw.header, memo)
		c.kw.body = cp.deepSignature(s.kw.body, memo)
	}
	if c.kind == kindMap || c.kind == kindChunks {
		c.kind = kindTask
	}
	return &c
}

// comparer compares signatures as Python compares dicts.
type comparer struct{ *budget }

// equal compares signatures as Python compares dicts. linker.appendTo uses it to skip
// errbacks that are present.
func (c comparer) equal(a, b *Signature) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	c.enter()
	defer c.leave()
	return a.task == b.task && a.subtask == b.subtask && a.immutable == b.immutable &&
		a.tuple == b.tuple && slices.EqualFunc(a.args, b.args, sameJSON) &&
		sameFields(a.kw.fields, b.kw.fields) && sameFields(a.extra, b.extra) &&
		c.sameList(a.kw.tasks, b.kw.tasks) && c.equal(a.kw.header, b.kw.header) && c.equal(a.kw.body, b.kw.body) &&
		c.sameOptions(a.opts, b.opts)
}

func (c comparer) sameList(a, b *list) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.items, b.items, c.equal)
}

func (c comparer) sameOptions(a, b *options) bool {
	if len(a.entries) != len(b.entries) {
		return false
	}
	for _, e := range a.entries {
		if !b.has(e.name) || !c.sameValue(e.val, b.get(e.name)) {
			return false
		}
	}
	return true
}

func (c comparer) sameValue(a, b value) bool {
	switch a := a.(type) {
	case *Signature:
		b, ok := b.(*Signature)
		return ok && c.equal(a, b)
	case *list:
		b, ok := b.(*list)
		return ok && c.sameList(a, b)
	case protocol.Raw:
		b, ok := b.(protocol.Raw)
		return ok && sameJSON(a, b)
	}
	return a == nil && b == nil
}

func sameFields(a, b []protocol.Field) bool {
	if len(a) != len(b) {
		return false
	}
	for _, f := range a {
		i := slices.IndexFunc(b, func(g protocol.Field) bool { return g.Name == f.Name })
		if i < 0 || !sameJSON(f.Value, b[i].Value) {
			return false
		}
	}
	return true
}

func sameJSON(a, b protocol.Raw) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return protocol.Unmarshal(a, &x) == nil && protocol.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
