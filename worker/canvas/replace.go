package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// Replace says what is published when the task of m is replaced by a signature
// (Task.replace). The signature takes over its id, group, chord, callbacks,
// errbacks and the rest of its chain; the task itself ends without a result.
//
// The error is a *[TaskError] when the signature is an empty chain or belongs to
// a chord itself.
func Replace(m *protocol.Message, s *Signature, c Context) (*Plan, error) {
	return ReplaceStamped(m, s, nil, c)
}

// ReplaceStamped is [Replace] for a task that stamps what it is replaced by:
// the stamps are put on it when it is complete, as an own on_replace does.
func ReplaceStamped(m *protocol.Message, s *Signature, stamper Stamper, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	r := newReplacer(newPublisher(running(m, c)))
	s = r.replacement(m, input(r.budget, s))
	if stamper != nil {
		newStampVisitor(r.copier, stamper).visit(s, stampSet{})
	}
	return r.done(r.apply(s, nil, nil, &options{})), nil
}

// replacer publishes what a task is replaced by.
type replacer struct {
	*publisher
	composer *composer
}

func newReplacer(p *publisher) *replacer {
	return &replacer{publisher: p, composer: newComposer(p.linker)}
}

func (r *replacer) replacement(m *protocol.Message, s *Signature) *Signature {
	s = r.copier.signature(s)
	if s.opts.has("chord") {
		abort(improperlyConfigured("A signature replacing a task must not be part of a chord"))
	}
	if s.emptyChain() {
		abort(improperlyConfigured("Cannot replace with an empty chain"))
	}
	if s.kind == kindGroup {
		s = r.composer.then(s, accumulate())
	}
	if s.kind == kindChain {
		last := &s.kw.tasks.items[len(s.kw.tasks.items)-1]
		if *last = r.copier.signature(*last); (*last).kind == kindGroup {
			*last = r.composer.then(*last, accumulate())
		}
	}
	for _, callback := range mappings(r.budget, "callbacks", m.Callbacks) {
		r.linker.link(s, callback)
	}
	for _, errback := range mappings(r.budget, "errbacks", m.Errbacks) {
		r.linker.linkError(s, errback)
	}
	if s.kind == kindChain && s.opts.has("link") {
		// Callbacks of a chain are due after its last task, also if more follows.
		last := s.kw.tasks.items[len(s.kw.tasks.items)-1]
		last.opts.extend("link", signatures(s.opts.take("link")))
	}
	r.freezer.freeze(s, frozen{id: m.ID})
	nesting := index(m.ReplacedTaskNesting + 1)
	chord := value(null)
	if !m.Chord.IsNull() {
		chord = mappings(r.budget, "chord", m.Chord)[0]
	}
	groupIndex := null
	if m.GroupIndex != nil {
		groupIndex = index(*m.GroupIndex)
	}
	s.opts.update(&options{[]option{
		{"chord", chord}, {"group_id", textOrNull(m.Group)}, {"group_index", groupIndex},
		{"root_id", textOrNull(m.RootID)}, {"replaced_task_nesting", nesting},
	}})
	if s.kind == kindChain {
		for _, t := range s.kw.tasks.items {
			t.opts.set("replaced_task_nesting", nesting)
		}
	}
	rest := r.parse("chain", m.Chain)
	for i := len(rest) - 1; i >= 0; i-- {
		rest[i].opts.set("replaced_task_nesting", nesting)
		s = r.composer.then(s, rest[i])
	}
	return s
}

// accumulate is the task that returns its arguments, here the first of them: the
// list of the results of a group.
func accumulate() *Signature {
	return New("celery.accumulate").Kwarg("index", 0)
}

// AddToChord says what is published when the task of m adds a signature to the
// chord that it belongs to (Task.add_to_chord); the chord waits for one more
// member. The error is a *[TaskError] when it belongs to none.
func AddToChord(m *protocol.Message, s *Signature, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	p := newPublisher(running(m, c))
	s = p.copier.signature(input(p.budget, s))
	if m.Chord.IsNull() {
		abort(builtinError("ValueError", "Current task is not member of any chord"))
	}
	groupIndex := null
	if m.GroupIndex != nil {
		groupIndex = index(*m.GroupIndex)
	}
	s.opts.update(&options{[]option{
		{"group_id", textOrNull(m.Group)}, {"group_index", groupIndex},
		{"chord", mappings(p.budget, "chord", m.Chord)[0]}, {"root_id", textOrNull(m.RootID)},
	}})
	p.freezer.freeze(s, frozen{})
	p.plan.Joins = append(p.plan.Joins, GroupJoin{m.Group, 1})
	return p.done(p.apply(s, nil, nil, &options{})), nil
}
