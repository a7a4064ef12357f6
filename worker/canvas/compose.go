package canvas

import (
	"slices"
)

// Chain composes signatures so that each runs with the result of the one
// before. As in Celery the parts are joined: chains become one chain, a group of
// one is that one, a group and what follows it become a chord, what follows a
// chord becomes part of its body, and empty groups are left out. So the result
// may be a group or a chord.
func Chain(tasks ...*Signature) *Signature {
	return compose(tasks, (*work).fold)
}

// Group composes signatures that run in parallel.
func Group(tasks ...*Signature) *Signature {
	return compose(tasks, func(w *work, tasks []*Signature) *Signature {
		if len(tasks) == 1 {
			if tasks[0].kind == kindGroup {
				return newGroup(tasks[0].kw.tasks)
			}
			return newGroup(&list{[]*Signature{w.clone(tasks[0])}})
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
	return compose(all, func(w *work, all []*Signature) *Signature {
		tasks := make([]*Signature, len(header))
		for i, t := range all[:len(header)] {
			tasks[i] = w.clone(t)
		}
		c := w.newChord(newGroup(&list{}), nil)
		c.kw.tasks = &list{tasks}
		if body != nil {
			c.kw.body = all[len(header)]
		}
		return c
	})
}

// compose builds a signature of parts, which it hands over as signatures in a
// slice of their own; a fault of a part becomes that of the whole.
func compose(parts []*Signature, build func(*work, []*Signature) *Signature) (s *Signature) {
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
	failed.build(func(w *work) {
		for _, p := range parts {
			w.measure(p)
		}
		s = build(w, w.signatures(parts))
	})
	if failed.err != nil {
		return failed
	}
	return s
}

// measure walks a signature so that what nests without end, or too much, is
// refused before it is copied.
func (w *work) measure(s *Signature) {
	if s == nil {
		return
	}
	w.enter()
	defer w.leave()
	each := func(l *list) {
		if l != nil {
			for _, t := range l.items {
				w.measure(t)
			}
		}
	}
	each(s.kw.tasks)
	w.measure(s.kw.header)
	w.measure(s.kw.body)
	for _, e := range s.opts.entries {
		switch v := e.val.(type) {
		case *Signature:
			w.measure(v)
		case *list:
			each(v)
		}
	}
}

// fold joins signatures in one pass over a list of steps; what cannot be a
// chain any more is joined by then.
func (w *work) fold(tasks []*Signature) *Signature {
	var steps []*Signature
	for i, t := range tasks {
		var other *Signature
		if steps, other = w.addStep(steps, t, i < len(tasks)-1); other != nil {
			for _, rest := range tasks[i+1:] {
				other = w.then(other, rest)
			}
			return other
		}
	}
	for i := range max(len(steps)-1, 0) {
		steps[i] = w.clone(steps[i])
	}
	return newChain(steps)
}

// addStep adds a signature to the steps of a chain. When the result is no chain
// it is returned instead.
func (w *work) addStep(steps []*Signature, t *Signature, clone bool) ([]*Signature, *Signature) {
	w.enter()
	defer w.leave()
	own := func() *Signature {
		if clone {
			return w.clone(t)
		}
		return t
	}
	if t.emptyGroup() {
		return steps, nil
	}
	if u := unroll(t); u != t {
		return w.addStep(steps, u, clone)
	}
	var last *Signature
	if len(steps) > 0 {
		last = steps[len(steps)-1]
	}
	switch {
	case t.kind == kindChain:
		inner := w.unchain(t)
		for i, s := range inner {
			var other *Signature
			if steps, other = w.addStep(steps, s, clone || i < len(inner)-1); other != nil {
				for _, rest := range inner[i+1:] {
					other = w.then(other, rest)
				}
				return nil, other
			}
		}
		return steps, nil
	case t.kind == kindGroup && last == nil:
		return nil, t
	case last != nil && last.kind == kindChord && t.kind != kindChord:
		last.kw.body = w.then(last.kw.body, t)
		return steps, nil
	case last != nil && last.kind == kindGroup && t.kind != kindGroup:
		steps[len(steps)-1] = w.newChord(last, own())
		return steps, nil
	}
	return append(steps, own()), nil
}

// then is the operator | of signatures.
func (w *work) then(s, next *Signature) *Signature {
	w.enter()
	defer w.leave()
	if s == nil || next == nil {
		abort(&SignatureError{"kwargs.body", "missing"})
	}
	switch s.kind {
	case kindChain:
		return w.chainThen(s, next)
	case kindGroup:
		if next.emptyGroup() {
			return s
		}
		return w.newChord(s, w.signature(next))
	case kindChord:
		one := next.kind == kindGroup && len(next.kw.tasks.items) == 1
		if one || next.kind != kindGroup && next.kind != kindChain {
			c := w.clone(s)
			c.kw.body = w.then(c.kw.body, unroll(next))
			return c
		}
	}
	if next.kind == kindChain {
		return newChain(append([]*Signature{s}, w.unchain(next)...))
	}
	return newChain([]*Signature{s, unroll(next)})
}

func (w *work) chainThen(s, next *Signature) *Signature {
	switch next.kind {
	case kindGroup:
		if next.emptyGroup() {
			return s
		}
		if u := unroll(next); u != next {
			return w.then(s, u)
		}
		tasks := w.unchain(s)
		if len(tasks) == 0 {
			return next
		}
		if last := tasks[len(tasks)-1]; last.kind == kindChord {
			last.kw.body = w.then(last.kw.body, next)
			return newChain(tasks)
		}
		return newChain(append(tasks, next))
	case kindChain:
		for _, t := range w.unchain(next) {
			s = w.then(s, t)
		}
		return s
	}
	if n := len(s.kw.tasks.items); n > 0 {
		switch last := s.kw.tasks.items[n-1]; {
		case last.kind == kindGroup:
			c := w.clone(s)
			tasks := c.kw.tasks.items
			tasks[n-1] = w.newChord(tasks[n-1], next)
			if n > 1 && tasks[n-2].kind == kindChord {
				// Two chords in a row: the second belongs into the first one's body.
				tasks[n-2].kw.body = w.then(tasks[n-2].kw.body, tasks[n-1])
				c.kw.tasks.items = tasks[:n-1]
			}
			return c
		case last.kind == kindChord && next.kind != kindChord:
			c := w.clone(s)
			last := c.kw.tasks.items[n-1]
			last.kw.body = w.then(last.kw.body, next)
			return c
		}
	}
	return newChain(append(w.unchain(s), next))
}

// unchain returns clones of the tasks of a chain, the last with the callbacks
// of the chain and all of them with its errbacks.
func (w *work) unchain(s *Signature) []*Signature {
	tasks := make([]*Signature, len(s.kw.tasks.items))
	for i, t := range s.kw.tasks.items {
		tasks[i] = w.clone(t)
	}
	for _, c := range signatures(s.opts.get("link")) {
		if len(tasks) == 0 {
			abort(indexError())
		}
		w.link(tasks[len(tasks)-1], c)
	}
	for _, e := range signatures(s.opts.get("link_error")) {
		for _, t := range tasks {
			w.linkError(t, e)
		}
	}
	return tasks
}
