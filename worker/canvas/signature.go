package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// kind is the type of a signature, which decides how it is applied.
type kind uint8

const (
	kindTask kind = iota
	kindChain
	kindGroup
	kindChord
	kindMap    // celery.map and celery.starmap, routed by the task inside
	kindChunks // a group of celery.starmap
)

// Signature is a task to run with its arguments and options, or a composition of tasks.
// [New], [Chain], [Group], [Chord], [Map], [Starmap], [Chunks] and [Parse] make one; the
// zero value cannot be used.
//
// A Signature is not safe for concurrent use. Its methods change and return it. [Apply]
// and the other functions of this package work on a copy, so that a signature can be
// applied again with new ids.
type Signature struct {
	task      string
	args      []protocol.Raw
	tuple     bool // a tuple in Python, and so not equal to a list
	kw        *keywords
	opts      *options
	kind      kind
	subtask   string
	immutable bool
	extra     []protocol.Field // of a mapping: members that Celery does not define
	// mapping is set if Celery has only a dict here, as in messages and copies of
	// options. It becomes a signature when it is used.
	mapping bool
	err     error // fault of construction, reported when the signature is used
}

// keywords holds the keyword arguments. In chains, groups and chords they hold the
// composed signatures, and may be shared.
type keywords struct {
	fields []protocol.Field // in a chord: all but header and body
	tasks  *list            // of a chain or group; header of a chord, unless it is a group
	header *Signature       // header of a chord that is a group
	body   *Signature       // of a chord; may be nil
}

func (k *keywords) copy() *keywords {
	c := *k
	return &c
}

// Task returns the name of the task: "celery.chain", "celery.group" or "celery.chord" for
// a composition.
func (s *Signature) Task() string { return s.task }

// TaskID returns the option task_id, "" if it is absent.
func (s *Signature) TaskID() string {
	var id string
	if raw, ok := s.opts.get("task_id").(protocol.Raw); ok && protocol.Unmarshal(raw, &id) != nil {
		return ""
	}
	return id
}

// Args returns the positional arguments of a task, an array.
func (s *Signature) Args() protocol.Raw { return arrayRaw(s.args) }

// Kwargs returns the keyword arguments of a task, an object. Chains, groups and chords
// leave out the composed signatures.
func (s *Signature) Kwargs() protocol.Raw { return fieldsRaw(s.kw.fields) }

// IsGroup reports whether the signature is a group.
func (s *Signature) IsGroup() bool { return s.kind == kindGroup }

// IsImmutable reports whether the arguments leave out the results of earlier tasks.
func (s *Signature) IsImmutable() bool { return s.immutable }

// Err returns the first fault of construction, such as an argument that has no
// form in JSON. Functions that use the signature return the same error.
func (s *Signature) Err() error { return s.err }

func (s *Signature) keep(err error) {
	if s.err == nil {
		s.err = err
	}
}

// emptyGroup reports whether s is a group without members, which chains skip.
func (s *Signature) emptyGroup() bool { return s.kind == kindGroup && len(s.kw.tasks.items) == 0 }

// present reports whether s counts as true in Python. An empty group counts as false,
// unless it is still a mapping.
func (s *Signature) present() bool { return s != nil && (s.mapping || !s.emptyGroup()) }

func (s *Signature) emptyChain() bool { return s.kind == kindChain && len(s.kw.tasks.items) == 0 }

// headerTasks returns the members of the header of a chord.
func (s *Signature) headerTasks() []*Signature {
	if s.kw.header != nil {
		return s.kw.header.kw.tasks.items
	}
	return s.kw.tasks.items
}

// unroll returns the only member of a group of one, and any other signature as it is.
func unroll(s *Signature) *Signature {
	if s.kind == kindGroup && len(s.kw.tasks.items) == 1 {
		return s.kw.tasks.items[0]
	}
	return s
}

func newCanvas(k kind, name, subtask string, kw *keywords) *Signature {
	return &Signature{task: name, tuple: true, kw: kw, opts: &options{}, kind: k, subtask: subtask}
}

func newChain(tasks []*Signature) *Signature {
	return newCanvas(kindChain, "celery.chain", "chain", &keywords{tasks: &list{tasks}})
}

// newGroup makes a group that shares the list.
func newGroup(tasks *list) *Signature {
	return newCanvas(kindGroup, "celery.group", "group", &keywords{tasks: tasks})
}

// newChord makes a chord with a copy of the header.
func (cp *copier) newChord(header, body *Signature) *Signature {
	return newCanvas(kindChord, "celery.chord", "chord", &keywords{
		fields: []protocol.Field{{Name: "kwargs", Value: protocol.Raw("{}")}},
		tasks:  cp.headerList(header), body: body,
	})
}

// headerList returns the members of a signature that is the header of a chord.
func (cp *copier) headerList(header *Signature) *list {
	h := cp.copyOf(header)
	if h.kind == kindGroup || h.kind == kindChain {
		return h.kw.tasks
	}
	return &list{[]*Signature{h}}
}

// measure walks a signature, so that one that nests too deeply or without end is refused
// before it is copied.
func measure(b *budget, s *Signature) {
	if s == nil {
		return
	}
	b.enter()
	defer b.leave()
	each := func(l *list) {
		if l != nil {
			for _, t := range l.items {
				measure(b, t)
			}
		}
	}
	each(s.kw.tasks)
	measure(b, s.kw.header)
	measure(b, s.kw.body)
	for _, e := range s.opts.entries {
		switch v := e.val.(type) {
		case *Signature:
			measure(b, v)
		case *list:
			each(v)
		}
	}
}

// checked returns a copy of a signature, which the caller may change afterwards.
func checked(b *budget, s *Signature) *Signature {
	if s == nil {
		abort(&SignatureError{"", "nil"})
	}
	if s.err != nil {
		abort(s.err)
	}
	return snapshot(b, s)
}

// input returns a copy of the caller's signature, which this package may change.
func input(b *budget, s *Signature) *Signature {
	switch {
	case s == nil:
		abort(&SignatureError{"", "nil"})
	case s.err != nil:
		abort(s.err)
	}
	measure(b, s)
	return snapshot(b, s)
}

// snapshot copies a signature with everything that it refers to.
func snapshot(b *budget, s *Signature) *Signature {
	if s == nil {
		return nil
	}
	b.enter()
	defer b.leave()
	all := func(l *list) *list {
		if l == nil {
			return nil
		}
		c := &list{make([]*Signature, len(l.items))}
		for i, t := range l.items {
			c.items[i] = snapshot(b, t)
		}
		return c
	}
	c := *s
	c.kw = &keywords{fields: s.kw.fields, tasks: all(s.kw.tasks), header: snapshot(b, s.kw.header), body: snapshot(b, s.kw.body)}
	c.opts = s.opts.copy()
	for i, e := range c.opts.entries {
		switch v := e.val.(type) {
		case *Signature:
			c.opts.entries[i].val = snapshot(b, v)
		case *list:
			c.opts.entries[i].val = all(v)
		}
	}
	return &c
}
