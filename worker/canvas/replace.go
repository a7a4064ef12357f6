package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// Replace returns the plan that replaces the task of m by a signature (Task.replace). The
// signature takes over its id, group, chord, callbacks, errbacks and the rest of its
// chain. The task itself ends without a result.
//
// The error is a *[TaskError] if the signature is an empty chain or belongs to a chord.
func Replace(m *protocol.Message, s *Signature, c Context) (*Plan, error) {
	return ReplaceStamped(m, s, nil, c)
}

// ReplaceStamped does what [Replace] does and stamps the complete signature, as a task
// with its own on_replace does.
func ReplaceStamped(m *protocol.Message, s *Signature, stamper Stamper, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	r := newReplacer(newPublisher(running(m, c)))
	s = r.replacement(m, input(r.budget, s))
	if stamper != nil {
		newStampVisitor(r.copier, stamper).visit(s, stampSet{})
	}
	return r.done(r.apply(s, nil, nil, &options{})), nil
}

// replacer publishes the replacement of a task.
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
		// Callbacks of a chain run after its last task, even if more tasks follow.
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

// accumulate returns the signature of the task that returns its first argument, here the
// list of the results of a group.
func accumulate() *Signature {
	return New("celery.accumulate").Kwarg("index", 0)
}

// AddToChord returns the plan that adds a signature to the chord of m
// (Task.add_to_chord). The chord waits for one more member. The error is a *[TaskError]
// if m belongs to no chord.
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
