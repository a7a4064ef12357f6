package canvas

import (
	"slices"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/protocol"
)

// Stamps holds the stamps that a [Stamper] gives to one signature, by name.
type Stamps map[string]any

// Stamper returns the stamps of a task, as on_signature of Celery's StampingVisitor does.
type Stamper func(*Signature) Stamps

// Stamp puts a stamp on every task of the signature and on their callbacks and errbacks.
// As in Celery, the body of a chord gets none. It replaces a stamp of the same name. The
// value is written by [protocol.Marshal].
func (s *Signature) Stamp(name string, v any) *Signature {
	raw, err := protocol.Marshal(v)
	if err != nil {
		s.keep(err)
		return s
	}
	s.build(func(c *composer) {
		newStampVisitor(c.linker.copier, nil).visit(s, stampSet{fields: []protocol.Field{{Name: name, Value: raw}}})
	})
	return s
}

// StampWith puts the stamps of stamper on every task of the signature, including the
// bodies of chords, callbacks and errbacks.
func (s *Signature) StampWith(stamper Stamper) *Signature {
	s.build(func(c *composer) { newStampVisitor(c.linker.copier, stamper).visit(s, stampSet{}) })
	return s
}

// stampSet holds the stamps for a signature and its parts. names is nil until they were
// collected once.
type stampSet struct {
	fields []protocol.Field
	names  []string
}

// collect merges inherited stamps with the stamps of a stamper and the present stamps of
// a signature. Inherited stamps take precedence.
func (st stampSet) collect(chosen []protocol.Field, own *options) stampSet {
	out := stampSet{fields: slices.Clone(st.fields), names: slices.Clone(st.names)}
	if st.names == nil {
		out.names = []string{}
		for _, f := range st.fields {
			out.names = append(out.names, f.Name)
		}
	}
	add := func(f protocol.Field) {
		if i := slices.IndexFunc(out.fields, func(g protocol.Field) bool { return g.Name == f.Name }); i < 0 {
			out.fields = append(out.fields, f)
		} else {
			out.fields[i].Value = joined(out.fields[i].Value, f.Value)
		}
		if !slices.Contains(out.names, f.Name) {
			out.names = append(out.names, f.Name)
		}
	}
	for _, f := range chosen {
		add(f)
	}
	if own == nil {
		return out
	}
	for _, n := range own.names("stamped_headers") {
		if !slices.Contains(out.names, n) {
			out.names = append(out.names, n)
		}
	}
	for _, n := range out.names {
		if raw, ok := own.get(n).(protocol.Raw); ok && n != "stamped_headers" {
			add(protocol.Field{Name: n, Value: raw})
		}
	}
	return out
}

// joined merges two values of one stamp. Two lists become one; otherwise the first value
// stays. Celery repeats a value that is in both lists at each visit; here each value
// occurs once.
func joined(first, second protocol.Raw) protocol.Raw {
	a, err := first.Elements()
	if err != nil {
		return first
	}
	b, err := second.Elements()
	if err != nil {
		return first
	}
	for _, v := range b {
		if !slices.ContainsFunc(a, func(u protocol.Raw) bool { return sameJSON(u, v) }) {
			a = append(a, v)
		}
	}
	return arrayRaw(a)
}

// stampVisitor puts stamps on a signature and its callbacks.
type stampVisitor struct {
	*budget
	copier  *copier
	stamper Stamper // nil: only inherited stamps
}

func newStampVisitor(c *copier, stamper Stamper) *stampVisitor {
	return &stampVisitor{budget: c.budget, copier: c, stamper: stamper}
}

func (v *stampVisitor) visit(s *Signature, st stampSet) {
	if s == nil {
		return
	}
	v.enter()
	defer v.leave()
	switch s.kind {
	case kindChain, kindGroup:
		st = st.collect(nil, s.opts)
		v.visitLinks(s, st)
		for i, t := range s.kw.tasks.items {
			t = v.copier.signature(t)
			if s.kind == kindGroup {
				s.kw.tasks.items[i] = t
			}
			v.visit(t, st)
		}
	case kindChord:
		tasks := s.headerTasks()
		if v.stamper != nil && s.kw.header == nil {
			s.kw.header, s.kw.tasks = newGroup(s.kw.tasks), nil
		}
		st = st.collect(nil, s.opts)
		v.visitLinks(s, st)
		for _, t := range tasks {
			v.visit(v.copier.signature(t), st)
		}
		if v.stamper != nil {
			v.visit(v.copier.signature(s.kw.body), st.collect(nil, s.opts))
		}
	default:
		v.visitLinks(s, st)
		st = st.collect(v.chosen(s), s.opts)
		for _, f := range st.fields {
			s.opts.set(f.Name, f.Value)
		}
		s.opts.set("stamped_headers", quoteAll(st.names))
	}
}

func (v *stampVisitor) visitLinks(s *Signature, st stampSet) {
	for _, option := range []string{"link", "link_error"} {
		links := st
		for _, l := range signatures(s.opts.get(option)) {
			links = links.collect(nil, nil)
			v.visit(v.copier.signature(l), links)
		}
	}
}

// chosen returns the stamps of the stamper for a signature, sorted by name.
func (v *stampVisitor) chosen(s *Signature) []protocol.Field {
	if v.stamper == nil {
		return nil
	}
	var fields []protocol.Field
	for name, value := range v.stamper(s) {
		raw, err := protocol.Marshal(value)
		if err != nil {
			abort(err)
		}
		fields = append(fields, protocol.Field{Name: name, Value: raw})
	}
	sorting.By(fields, func(a, b protocol.Field) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return fields
}
