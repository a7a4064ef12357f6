package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// Link adds callbacks: signatures that run after a success, with the result as
// their first argument. A copy of the callback is kept. The callback of a chord
// is that of its body; that of a group is linked to its first member, immutable,
// as no member knows the results of the others.
func (s *Signature) Link(callbacks ...*Signature) *Signature {
	s.build(func(w *work) {
		for _, c := range callbacks {
			w.link(s, w.checked(c))
		}
	})
	return s
}

// LinkError adds error callbacks: signatures that run after a failure, with the
// id of the failed task. A copy of the errback is kept. That of a group is
// linked to each of its members, that of a chord to its body; the members of
// the header have errbacks of their own.
func (s *Signature) LinkError(errbacks ...*Signature) *Signature {
	s.build(func(w *work) {
		for _, e := range errbacks {
			w.linkError(s, w.checked(e))
		}
	})
	return s
}

// Immutable sets whether results of earlier tasks are kept out of the
// arguments. Of groups and chords it sets the members.
func (s *Signature) Immutable(immutable bool) *Signature {
	s.build(func(w *work) { w.setImmutable(s, immutable) })
	return s
}

// build runs a step of construction and keeps its error for later.
func (s *Signature) build(step func(*work)) {
	var err error
	func() {
		defer recovered(&err)
		step(building())
	}()
	if err != nil {
		s.keep(err)
	}
}

// checked returns a copy of a signature that the caller may go on to change.
func (w *work) checked(s *Signature) *Signature {
	if s == nil {
		abort(&SignatureError{"", "nil"})
	}
	if s.err != nil {
		abort(s.err)
	}
	return w.snapshot(s)
}

func (w *work) link(s, callback *Signature) {
	switch s.kind {
	case kindGroup:
		if len(s.kw.tasks.items) == 0 {
			abort(indexError())
		}
		c := w.clone(callback)
		w.setImmutable(c, true)
		w.link(s.kw.tasks.items[0], c)
	case kindChord:
		if s.kw.body == nil {
			abort(&SignatureError{"kwargs.body", "missing"})
		}
		w.link(s.kw.body, callback)
	default:
		w.appendTo(s.opts, "link", callback)
	}
}

func (w *work) linkError(s, errback *Signature) {
	w.enter()
	defer w.leave()
	switch s.kind {
	case kindGroup:
		errback = w.signature(errback)
		for _, t := range s.kw.tasks.items {
			w.linkError(t, w.clone(errback))
		}
	case kindChord:
		errback = w.signature(errback)
		w.linkErrorToHeader(s, errback)
		if s.kw.body == nil {
			abort(&SignatureError{"kwargs.body", "missing"})
		}
		w.linkError(s.kw.body, errback)
	default:
		w.appendTo(s.opts, "link_error", errback)
	}
}

// linkErrorToHeader links to the chords inside of the header, and to its
// members only where the setting says so. A header that is a group counts as
// one member here.
func (w *work) linkErrorToHeader(s, errback *Signature) {
	members := s.headerTasks()
	if s.kw.header != nil {
		members = []*Signature{s.kw.header}
	}
	if w.ErrbacksOnHeader {
		// Celery sets an option of that name, which makes only chains and
		// groups immutable.
		flag := &options{[]option{{"immutable", protocol.Raw("true")}}}
		for _, t := range members {
			w.linkError(t, w.cloneWith(errback, nil, nil, flag))
		}
	}
	for _, t := range members {
		if t.kind == kindChord {
			w.linkError(t, errback)
		}
	}
}

// linkErrorToBody links an errback to each task of a group that is the body of
// a chord. A group that runs as one and has errbacks gets it there: they
// replace those of its tasks when it runs.
func (w *work) linkErrorToBody(s, errback *Signature, runsAsGroup bool) {
	w.enter()
	defer w.leave()
	switch s.kind {
	case kindGroup:
		if runsAsGroup && s.opts.given("link_error") {
			w.appendTo(s.opts, "link_error", w.clone(errback))
			return
		}
		for _, t := range s.kw.tasks.items {
			w.linkErrorToBody(t, errback, false)
		}
	case kindChord:
		w.linkErrorToBody(s.kw.body, errback, true)
	default:
		w.linkError(s, w.clone(errback))
	}
}

func (w *work) setImmutable(s *Signature, immutable bool) {
	switch s.kind {
	case kindGroup:
		for _, t := range s.kw.tasks.items {
			w.setImmutable(t, immutable)
		}
	case kindChord:
		for _, t := range s.headerTasks() {
			w.setImmutable(t, immutable)
		}
	default:
		s.immutable = immutable
	}
}

// listOption returns an option as a list that can be added to.
func (w *work) listOption(o *options, name string) *list {
	switch v := o.get(name).(type) {
	case *list:
		return v
	case *Signature:
		l := &list{[]*Signature{v}}
		o.set(name, l)
		return l
	}
	l := &list{}
	o.set(name, l)
	return l
}

// appendTo adds a signature to an option, unless there is an equal one.
func (w *work) appendTo(o *options, name string, s *Signature) {
	l := w.listOption(o, name)
	if !slices.ContainsFunc(l.items, func(t *Signature) bool { return w.equal(t, s) }) {
		l.items = append(l.items, s)
	}
}

func (w *work) extend(o *options, name string, more []*Signature) {
	l := w.listOption(o, name)
	l.items = append(l.items, more...)
}
