package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// Raw returns the signature as it is sent inside messages, with its members in Celery's
// order. The error is that of [Signature.Err] or a *[LimitError].
func (s *Signature) Raw() (raw protocol.Raw, err error) {
	defer recovered(&err)
	return encode(newBudget(Limits{}), s), nil
}

// MarshalJSON returns [Signature.Raw], so that a signature can be an argument.
func (s *Signature) MarshalJSON() ([]byte, error) { return s.Raw() }

// encode returns the JSON of a signature.
func encode(b *budget, s *Signature) protocol.Raw {
	e := encoder{budget: b}
	e.signature(s)
	return e.buf
}

// encodeValue returns the value of an option as JSON, nil for an absent one.
func encodeValue(b *budget, v value) protocol.Raw {
	if isNull(v) {
		return nil
	}
	e := encoder{budget: b}
	e.value(v)
	return e.buf
}

// encodeList returns one signature or several as a JSON array.
func encodeList(b *budget, v value) protocol.Raw {
	if s, ok := v.(*Signature); ok && s != nil {
		v = &list{[]*Signature{s}}
	}
	return encodeValue(b, v)
}

// encoder writes with the separators of Python's json.dumps.
type encoder struct {
	*budget
	buf protocol.Raw
}

func (e *encoder) text(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) raw(r protocol.Raw) {
	if len(r) == 0 {
		r = null
	}
	e.buf = append(e.buf, r...)
	if len(e.buf) > e.limits.Bytes {
		abort(&LimitError{"bytes", e.limits.Bytes})
	}
}

func (e *encoder) signature(s *Signature) {
	if s == nil {
		e.text("null")
		return
	}
	if s.err != nil {
		abort(s.err)
	}
	e.enter()
	defer e.leave()
	e.text(`{"task": `)
	e.raw(quote(s.task))
	e.text(`, "args": [`)
	for i, a := range s.args {
		if i > 0 {
			e.text(", ")
		}
		e.raw(a)
	}
	e.text(`], "kwargs": `)
	e.keywords(s)
	e.text(`, "options": {`)
	for i, o := range s.opts.entries {
		e.key(i, o.name)
		e.value(o.val)
	}
	e.text(`}, "subtask_type": `)
	e.raw(textOrNull(s.subtask))
	e.text(`, "immutable": `)
	if s.immutable {
		e.text("true")
	} else {
		e.text("false")
	}
	for _, f := range s.extra {
		e.key(1, f.Name)
		e.raw(f.Value)
	}
	e.text("}")
}

func (e *encoder) key(i int, name string) {
	if i > 0 {
		e.text(", ")
	}
	e.raw(quote(name))
	e.text(": ")
}

func (e *encoder) keywords(s *Signature) {
	e.text("{")
	n := 0
	for _, f := range s.kw.fields {
		e.key(n, f.Name)
		e.raw(f.Value)
		n++
	}
	switch s.kind {
	case kindChain, kindGroup:
		e.key(n, "tasks")
		e.value(s.kw.tasks)
	case kindChord:
		e.key(n, "header")
		if s.kw.header != nil {
			e.signature(s.kw.header)
		} else {
			e.value(s.kw.tasks)
		}
		e.text(`, "body": `)
		e.signature(s.kw.body)
	}
	e.text("}")
}

func (e *encoder) value(v value) {
	switch v := v.(type) {
	case protocol.Raw:
		e.raw(v)
	case *Signature:
		e.signature(v)
	case *list:
		if v == nil {
			e.text("null")
			return
		}
		e.text("[")
		for i, s := range v.items {
			if i > 0 {
				e.text(", ")
			}
			e.signature(s)
		}
		e.text("]")
	default:
		e.text("null")
	}
}

// fieldsRaw returns an object of the members.
func fieldsRaw(fields []protocol.Field) protocol.Raw {
	b := protocol.Raw("{")
	for i, f := range fields {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, quote(f.Name)...)
		b = append(b, ": "...)
		if len(f.Value) == 0 {
			b = append(b, null...)
		}
		b = append(b, f.Value...)
	}
	return append(b, '}')
}

// arrayRaw returns an array of the elements.
func arrayRaw(elements []protocol.Raw) protocol.Raw {
	b := protocol.Raw("[")
	for i, v := range elements {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, v...)
	}
	return append(b, ']')
}
