package canvas

import (
	"github.com/evently/workers/worker/protocol"
)

// Builtin returns the plan of the tasks celery.group, celery.chord and celery.chunks,
// which every Celery worker has. ok is false for any other task. The result of the task
// is Plan.Handle; celery.group takes it from its arguments.
func Builtin(m *protocol.Message, c Context) (plan *Plan, ok bool, err error) {
	defer recovered(&err)
	switch m.Task {
	case "celery.chunks":
		g, err := chunked(m.Kwargs)
		if err != nil {
			return nil, true, err
		}
		p := newPublisher(running(m, c))
		return p.done(p.applyGroup(g, nil, nil, &options{})), true, nil
	case "celery.chord":
		plan, err := builtinChord(m, c)
		return plan, true, err
	case "celery.group":
		plan, err := builtinGroup(m, c)
		return plan, true, err
	}
	return nil, false, nil
}

func builtinChord(m *protocol.Message, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	p := newPublisher(running(m, c))
	kwargs := members(m.Kwargs)
	read := parser{p.budget}
	header := &list{}
	if elements, err := kwargs["header"].Elements(); err == nil {
		for _, e := range elements {
			header.items = append(header.items, p.copier.signature(read.signature("header", e)))
		}
	} else {
		h := p.copier.signature(read.signature("header", kwargs["header"]))
		header.items = []*Signature{h}
		if h.kind == kindGroup {
			header = h.kw.tasks
		}
	}
	body := p.copier.signature(read.signature("body", kwargs["body"]))
	group := newGroup(header)
	args := read.elements("partial_args", kwargs["partial_args"])
	var more []protocol.Field
	if raw := kwargs["kwargs"]; !raw.IsNull() {
		more = read.fields("kwargs", raw)
	}
	s := p.copier.newChord(group, body)
	return p.done(p.runChord(s, group, body, args, more, "", &options{}, &options{})), nil
}

func builtinGroup(m *protocol.Message, c Context) (plan *Plan, err error) {
	defer recovered(&err)
	p := newPublisher(running(m, c))
	kwargs := members(m.Kwargs)
	read := parser{p.budget}
	group := read.text("group_id", kwargs["group_id"])
	args := read.elements("partial_args", kwargs["partial_args"])
	for _, e := range read.elements("tasks", kwargs["tasks"]) {
		s := p.copier.cloneWith(p.copier.signature(read.signature("tasks", e)), args, nil, nil)
		p.apply(s, nil, nil, &options{[]option{{"group_id", textOrNull(group)}, {"add_to_parent", protocol.Raw("false")}}})
	}
	p.plan.Handle = kwargs["result"]
	return &p.plan, nil
}

func members(raw protocol.Raw) map[string]protocol.Raw {
	fields, err := raw.Fields()
	if err != nil {
		abort(&SignatureError{"kwargs", "not an object"})
	}
	all := make(map[string]protocol.Raw, len(fields))
	for _, f := range fields {
		all[f.Name] = f.Value
	}
	return all
}

// chunked makes the group that celery.chunks stands for from its arguments.
func chunked(kwargs protocol.Raw) (g *Signature, err error) {
	defer recovered(&err)
	k := members(kwargs)
	items, err := k["it"].Elements()
	if err != nil {
		return nil, &SignatureError{"kwargs.it", "not an array"}
	}
	var n int
	if protocol.Unmarshal(k["n"], &n) != nil || n < 1 {
		return nil, &SignatureError{"kwargs.n", "not a positive number"}
	}
	var parts []*Signature
	for len(items) > 0 {
		size := min(n, len(items))
		part := New("celery.starmap")
		part.kw.fields = []protocol.Field{{Name: "task", Value: k["task"]}, {Name: "it", Value: arrayRaw(items[:size])}}
		part.kind, part.immutable = kindMap, true
		parts, items = append(parts, part), items[size:]
	}
	return newGroup(&list{parts}), nil
}
