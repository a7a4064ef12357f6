package canvas

import (
	"slices"
)

// Chain composes signatures so that each runs with the result of the one before. It joins
// the parts as Celery does: chains become one chain, and a group of one becomes its
// member. A group and the task after it become a chord, a task after a chord becomes part
// of its body, and empty groups are left out. So the result may be a group or a chord.
func Chain(tasks ...*Signature) *Signature {
	return compose(tasks, (*composer).fold)
}

// Group composes signatures that run in parallel.
func Group(tasks ...*Signature) *Signature {
	return compose(tasks, func(c *composer, tasks []*Signature) *Signature {
		if len(tasks) == 1 {
			if tasks[0].kind == kindGroup {
				return newGroup(tasks[0].kw.tasks)
			}
			return newGroup(&list{[]*Signature{c.linker.copier.clone(tasks[0])}})
		}
		return newGroup(&list{tasks})
	})
}

// Chord composes a header of signatures that run in parallel and a body that
// runs with the list of their results. The body may be nil only until the chord
// is used.
func Chord(header []*Signature, body *Signature) *Signature {
	all := header
	if body != nil {
		all = append(slices.Clone(header), body)
	}
	return compose(all, func(c *composer, all []*Signature) *Signature {
		tasks := make([]*Signature, len(header))
		for i, t := range all[:len(header)] {
			tasks[i] = c.linker.copier.clone(t)
		}
		chord := c.linker.copier.newChord(newGroup(&list{}), nil)
		chord.kw.tasks = &list{tasks}
		if body != nil {
			chord.kw.body = all[len(header)]
		}
		return chord
	})
}

// compose builds a signature of parts. build gets them as signatures in a new slice. A
// fault of a part becomes the fault of the whole.
func compose(parts []*Signature, build func(*composer, []*Signature) *Signature) (s *Signature) {
	failed := &Signature{task: "celery.chain", kw: &keywords{}, opts: &options{}}
	for _, p := range parts {
		if p == nil {
			failed.err = &SignatureError{"", "nil"}
			return failed
		}
		if p.err != nil {
			failed.err = p.err
			return failed
		}
	}
	failed.build(func(c *composer) {
		for _, p := range parts {
			measure(c.budget, p)
		}
		s = build(c, c.linker.copier.signatures(parts))
	})
	if failed.err != nil {
		return failed
	}
	return s
}

// composer joins signatures as Celery's operator | does.
type composer struct {
	*budget
	linker *linker
}

func newComposer(l *linker) *composer { return &composer{budget: l.budget, linker: l} }

// newBuilder returns a composer for the functions that build signatures.
func newBuilder() *composer { return newComposer(newLinker(newCopier(newBudget(Limits{})), false)) }

// fold joins signatures in one pass over a list of steps. Once the result is no chain,
// then joins the rest.
func (cm *composer) fold(tasks []*Signature) *Signature {
	var steps []*Signature
	for i, t := range tasks {
		var other *Signature
		if steps, other = cm.addStep(steps, t, i < len(tasks)-1); other != nil {
			for _, rest := range tasks[i+1:] {
				other = cm.then(other, rest)
			}
			return other
		}
	}
	for i := range max(len(steps)-1, 0) {
		steps[i] = cm.linker.copier.clone(steps[i])
	}
	return newChain(steps)
}

// addStep adds a signature to the steps of a chain. If the result is no chain, it returns
// that result instead.
func (cm *composer) addStep(steps []*Signature, t *Signature, clone bool) ([]*Signature, *Signature) {
	cm.enter()
	defer cm.leave()
	own := func() *Signature {
		if clone {
			return cm.linker.copier.clone(t)
		}
		return t
	}
	if t.emptyGroup() {
		return steps, nil
	}
	if u := unroll(t); u != t {
		return cm.addStep(steps, u, clone)
	}
	var last *Signature
	if len(steps) > 0 {
		last = steps[len(steps)-1]
	}
	switch {
	case t.kind == kindChain:
		inner := cm.linker.unchain(t)
		for i, s := range inner {
			var other *Signature
			if steps, other = cm.addStep(steps, s, clone || i < len(inner)-1); other != nil {
				for _, rest := range inner[i+1:] {
					other = cm.then(other, rest)
				}
				return nil, other
			}
		}
		return steps, nil
	case t.kind == kindGroup && last == nil:
		return nil, t
	case last != nil && last.kind == kindChord && t.kind != kindChord:
		last.kw.body = cm.then(last.kw.body, t)
		return steps, nil
	case last != nil && last.kind == kindGroup && t.kind != kindGroup:
		steps[len(steps)-1] = cm.linker.copier.newChord(last, own())
		return steps, nil
	}
	return append(steps, own()), nil
}

// then joins two signatures as Celery's operator | does.
func (cm *composer) then(s, next *Signature) *Signature {
	cm.enter()
	defer cm.leave()
	if s == nil || next == nil {
		abort(&SignatureError{"kwargs.body", "missing"})
	}
	switch s.kind {
	case kindChain:
		return cm.chainThen(s, next)
	case kindGroup:
		if next.emptyGroup() {
			return s
		}
		return cm.linker.copier.newChord(s, cm.linker.copier.signature(next))
	case kindChord:
		one := next.kind == kindGroup && len(next.kw.tasks.items) == 1
		if one || next.kind != kindGroup && next.kind != kindChain {
			c := cm.linker.copier.clone(s)
			c.kw.body = cm.then(c.kw.body, unroll(next))
			return c
		}
	}
	if next.kind == kindChain {
		return newChain(append([]*Signature{s}, cm.linker.unchain(next)...))
	}
	return newChain([]*Signature{s, unroll(next)})
}

func (cm *composer) chainThen(s, next *Signature) *Signature {
	switch next.kind {
	case kindGroup:
		if next.emptyGroup() {
			return s
		}
		if u := unroll(next); u != next {
			return cm.then(s, u)
		}
		tasks := cm.linker.unchain(s)
		if len(tasks) == 0 {
			return next
		}
		if last := tasks[len(tasks)-1]; last.kind == kindChord {
			last.kw.body = cm.then(last.kw.body, next)
			return newChain(tasks)
		}
		return newChain(append(tasks, next))
	case kindChain:
		for _, t := range cm.linker.unchain(next) {
			s = cm.then(s, t)
		}
		return s
	}
	if n := len(s.kw.tasks.items); n > 0 {
		switch last := s.kw.tasks.items[n-1]; {
		case last.kind == kindGroup:
			c := cm.linker.copier.clone(s)
			tasks := c.kw.tasks.items
			tasks[n-1] = cm.linker.copier.newChord(tasks[n-1], next)
			if n > 1 && tasks[n-2].kind == kindChord {
				// Of two chords in a row, the second belongs to the body of the first.
				tasks[n-2].kw.body = cm.then(tasks[n-2].kw.body, tasks[n-1])
				c.kw.tasks.items = tasks[:n-1]
			}
			return c
		case last.kind == kindChord && next.kind != kindChord:
			c := cm.linker.copier.clone(s)
			last := c.kw.tasks.items[n-1]
			last.kw.body = cm.then(last.kw.body, next)
			return c
		}
	}
	return newChain(append(cm.linker.unchain(s), next))
}

// unchain returns clones of the tasks of a chain. The last one gets the callbacks of the
// chain, and all of them its errbacks.
func (l *linker) unchain(s *Signature) []*Signature {
	tasks := make([]*Signature, len(s.kw.tasks.items))
	for i, t := range s.kw.tasks.items {
		tasks[i] = l.copier.clone(t)
	}
	for _, c := range signatures(s.opts.get("link")) {
		if len(tasks) == 0 {
			abort(indexError())
		}
		l.link(tasks[len(tasks)-1], c)
	}
	for _, e := range signatures(s.opts.get("link_error")) {
		for _, t := range tasks {
			l.linkError(t, e)
		}
	}
	return tasks
}
