package canvas

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// Link adds callbacks: signatures that run after a success, with the result as their
// first argument. It keeps copies of them. The callback of a chord is linked to its body.
// The callback of a group is linked to its first member and immutable, because no member
// knows the results of the others.
func (s *Signature) Link(callbacks ...*Signature) *Signature {
	s.build(func(c *composer) {
		for _, callback := range callbacks {
			c.linker.link(s, checked(c.budget, callback))
		}
	})
	return s
}

// LinkError adds error callbacks: signatures that run after a failure, with the id of the
// failed task. It keeps copies of them. The errback of a group is linked to each of its
// members, the errback of a chord to its body. The members of the header have separate
// errbacks.
func (s *Signature) LinkError(errbacks ...*Signature) *Signature {
	s.build(func(c *composer) {
		for _, e := range errbacks {
			c.linker.linkError(s, checked(c.budget, e))
		}
	})
	return s
}

// Immutable sets whether the arguments leave out the results of earlier tasks. Groups and
// chords set it on their members.
func (s *Signature) Immutable(immutable bool) *Signature {
	s.setImmutable(immutable)
	return s
}

// build runs a step of construction and keeps its error for later.
func (s *Signature) build(step func(*composer)) {
	var err error
	func() {
		defer recovered(&err)
		step(newBuilder())
	}()
	if err != nil {
		s.keep(err)
	}
}

// linker adds callbacks and errbacks to signatures, in place.
type linker struct {
	*budget
	copier           *copier
	comparer         comparer
	errbacksOnHeader bool // see [Context]
}

func newLinker(c *copier, errbacksOnHeader bool) *linker {
	return &linker{budget: c.budget, copier: c, comparer: comparer{c.budget}, errbacksOnHeader: errbacksOnHeader}
}

func (l *linker) link(s, callback *Signature) {
	switch s.kind {
	case kindGroup:
		if len(s.kw.tasks.items) == 0 {
			abort(indexError())
		}
		c := l.copier.clone(callback)
		c.setImmutable(true)
		l.link(s.kw.tasks.items[0], c)
	case kindChord:
		if s.kw.body == nil {
			abort(&SignatureError{"kwargs.body", "missing"})
		}
		l.link(s.kw.body, callback)
	default:
		l.appendTo(s.opts, "link", callback)
	}
}

func (l *linker) linkError(s, errback *Signature) {
	l.enter()
	defer l.leave()
	switch s.kind {
	case kindGroup:
		errback = l.copier.signature(errback)
		for _, t := range s.kw.tasks.items {
			l.linkError(t, l.copier.clone(errback))
		}
	case kindChord:
		errback = l.copier.signature(errback)
		l.linkErrorToHeader(s, errback)
		if s.kw.body == nil {
			abort(&SignatureError{"kwargs.body", "missing"})
		}
		l.linkError(s.kw.body, errback)
	default:
		l.appendTo(s.opts, "link_error", errback)
	}
}

// linkErrorToHeader links an errback to the chords inside the header, and to its members
// if errbacksOnHeader is set. A header that is a group counts as one member here.
func (l *linker) linkErrorToHeader(s, errback *Signature) {
	members := s.headerTasks()
	if s.kw.header != nil {
		members = []*Signature{s.kw.header}
	}
	if l.errbacksOnHeader {
		// Celery sets an option of that name, which makes only chains and
		// groups immutable.
		flag := &options{[]option{{"immutable", protocol.Raw("true")}}}
		for _, t := range members {
			l.linkError(t, l.copier.cloneWith(errback, nil, nil, flag))
		}
	}
	for _, t := range members {
		if t.kind == kindChord {
			l.linkError(t, errback)
		}
	}
}

// linkErrorToBody links an errback to each task of a group that is the body of a chord. A
// group that runs as one and has errbacks gets it itself, because its errbacks replace
// those of its tasks.
func (l *linker) linkErrorToBody(s, errback *Signature, runsAsGroup bool) {
	l.enter()
	defer l.leave()
	switch s.kind {
	case kindGroup:
		if runsAsGroup && s.opts.given("link_error") {
			l.appendTo(s.opts, "link_error", l.copier.clone(errback))
			return
		}
		for _, t := range s.kw.tasks.items {
			l.linkErrorToBody(t, errback, false)
		}
	case kindChord:
		l.linkErrorToBody(s.kw.body, errback, true)
	default:
		l.linkError(s, l.copier.clone(errback))
	}
}

func (s *Signature) setImmutable(immutable bool) {
	switch s.kind {
	case kindGroup:
		for _, t := range s.kw.tasks.items {
			t.setImmutable(immutable)
		}
	case kindChord:
		for _, t := range s.headerTasks() {
			t.setImmutable(immutable)
		}
	default:
		s.immutable = immutable
	}
}

// appendTo adds a signature to an option, unless the option holds an equal one.
func (l *linker) appendTo(o *options, name string, s *Signature) {
	there := o.list(name)
	if !slices.ContainsFunc(there.items, func(t *Signature) bool { return l.comparer.equal(t, s) }) {
		there.items = append(there.items, s)
	}
}
