package canvas

import (
	"errors"
	"fmt"
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// Parse reads a signature as it occurs in messages and results. Absent and null members
// count as empty, and unknown members are kept. Numbers and the order of keys in
// arguments stay as they are.
//
// The error is a *[SignatureError], *[LimitError] or *[protocol.DecodeError]
// and holds nothing of the content.
func Parse(raw protocol.Raw) (s *Signature, err error) {
	defer recovered(&err)
	p := parser{newBudget(Limits{})}
	return p.signature("", raw), nil
}

// ParseList reads an array of signatures, such as the callbacks of a message. Null and an
// absent array are an empty list, and one signature is a list of one.
func ParseList(raw protocol.Raw) (all []*Signature, err error) {
	defer recovered(&err)
	p := parser{newBudget(Limits{})}
	if raw.IsNull() {
		return nil, nil
	}
	return signatures(p.signatures("", raw)), nil
}

type parser struct{ *budget }

func (p *parser) fail(path, detail string) { abort(&SignatureError{path, detail}) }

// mismatch fails with detail, or with a LimitError if the JSON nests too deeply.
func (p *parser) mismatch(path, detail string, err error) {
	if refused, ok := errors.AsType[*protocol.DecodeError](err); ok && refused.Reason == protocol.ReasonTooDeep {
		abort(&LimitError{"depth", p.limits.Depth})
	}
	p.fail(path, detail)
}

func (p *parser) fields(path string, raw protocol.Raw) []protocol.Field {
	if raw.IsNull() {
		return nil
	}
	fields, err := raw.Fields()
	if err != nil {
		p.mismatch(path, "not an object", err)
	}
	return overlay(nil, fields) // the last of equal keys counts
}

func (p *parser) elements(path string, raw protocol.Raw) []protocol.Raw {
	if raw.IsNull() {
		return nil
	}
	elements, err := raw.Elements()
	if err != nil {
		p.mismatch(path, "not an array", err)
	}
	return elements
}

func (p *parser) text(path string, raw protocol.Raw) string {
	var s string
	if raw.IsNull() {
		return ""
	}
	if protocol.Unmarshal(raw, &s) != nil {
		p.fail(path, "not a string")
	}
	return s
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (p *parser) signature(path string, raw protocol.Raw) *Signature {
	p.enter()
	defer p.leave()
	fields, err := raw.Fields()
	if err != nil {
		p.mismatch(path, "not an object", err)
	}
	s := &Signature{opts: &options{}, kw: &keywords{}, mapping: true}
	var kwargs, opts protocol.Raw
	for _, f := range fields {
		switch f.Name {
		case "task":
			s.task = p.text(join(path, "task"), f.Value)
		case "args":
			s.args = p.elements(join(path, "args"), f.Value)
		case "kwargs":
			kwargs = f.Value
		case "options":
			opts = f.Value
		case "subtask_type":
			s.subtask = p.text(join(path, "subtask_type"), f.Value)
		case "immutable":
			s.immutable = string(f.Value) == "true"
		default:
			s.extra = overlay(s.extra, []protocol.Field{f})
		}
	}
	switch s.subtask {
	case "chain":
		s.kind = kindChain
	case "group":
		s.kind = kindGroup
	case "chord":
		s.kind = kindChord
	case "", "xmap", "xstarmap", "chunks":
	default:
		p.fail(join(path, "subtask_type"), "unknown")
	}
	if s.task == "" {
		p.fail(join(path, "task"), "missing")
	}
	p.keywords(join(path, "kwargs"), s, kwargs)
	p.options(join(path, "options"), s.opts, opts)
	return s
}

func (p *parser) keywords(path string, s *Signature, raw protocol.Raw) {
	fields := p.fields(path, raw)
	take := func(name string) protocol.Raw {
		i := slices.IndexFunc(fields, func(f protocol.Field) bool { return f.Name == name })
		if i < 0 {
			return nil
		}
		v := fields[i].Value
		fields = slices.Delete(fields, i, i+1)
		return v
	}
	switch s.kind {
	case kindChain, kindGroup:
		s.kw.tasks = &list{p.tasks(join(path, "tasks"), take("tasks"))}
	case kindChord:
		header, body := take("header"), take("body")
		switch _, err := header.Elements(); {
		case header.IsNull():
			p.fail(join(path, "header"), "missing")
		case err == nil:
			s.kw.tasks = &list{p.tasks(join(path, "header"), header)}
		default:
			s.kw.header = p.signature(join(path, "header"), header)
			if s.kw.header.kind != kindGroup {
				// The header is a single task, or a chain whose elements are the members.
				h := s.kw.header
				s.kw.header = nil
				s.kw.tasks = &list{[]*Signature{h}}
				if h.kind == kindChain {
					s.kw.tasks = h.kw.tasks
				}
			}
		}
		if !body.IsNull() {
			s.kw.body = p.signature(join(path, "body"), body)
		}
	}
	s.kw.fields = fields
}

func (p *parser) tasks(path string, raw protocol.Raw) []*Signature {
	elements := p.elements(path, raw)
	tasks := make([]*Signature, len(elements))
	for i, e := range elements {
		tasks[i] = p.signature(fmt.Sprintf("%s[%d]", path, i), e)
	}
	return tasks
}

// signatures reads one signature or an array of them.
func (p *parser) signatures(path string, raw protocol.Raw) value {
	if _, err := raw.Elements(); err == nil {
		return &list{p.tasks(path, raw)}
	}
	return p.signature(path, raw)
}

func (p *parser) options(path string, o *options, raw protocol.Raw) {
	for _, f := range p.fields(path, raw) {
		var v value = f.Value
		switch f.Name {
		case "link", "link_error", "chain":
			if !f.Value.IsNull() {
				v = p.signatures(join(path, f.Name), f.Value)
			}
		case "chord":
			if !f.Value.IsNull() {
				v = p.signature(join(path, f.Name), f.Value)
			}
		}
		o.set(f.Name, v)
	}
}
