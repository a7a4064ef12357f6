package canvas_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// engine carries out plans in memory: what a worker and Redis do.
type engine struct {
	t       testing.TB
	ids     int
	queue   [][]byte
	steps   []step
	results map[string]*protocol.Result
	chords  map[string]*chordState
	saved   map[string]protocol.Raw
	taken   []protocol.Raw // children of the running task

	settings bool // that change messages are on
	priority *int // of the running task
}

type chordState struct {
	size, more    int
	known         bool
	members       map[string]float64
	order         []string // of arrival
	claimed, done bool
}

var noon = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// carryOut applies a signature and runs all that comes of it.
func (e engine) carryOut(t testing.TB, sig *canvas.Signature) []step {
	t.Helper()
	e.t, e.results, e.chords, e.saved = t, map[string]*protocol.Result{}, map[string]*chordState{}, map[string]protocol.Raw{}
	e.steps = append(e.steps, step{})
	plan, err := canvas.Apply(sig, nil, nil, e.context())
	must(t, err)
	e.carry(plan)
	e.steps[0]["handle"] = plan.Handle
	for n := 0; len(e.queue) > 0 && n < 120; n++ {
		next := e.queue[0]
		e.queue = e.queue[1:]
		e.steps = append(e.steps, step{})
		m, err := protocol.Decode(next, protocol.Limits{})
		must(t, err)
		e.taken = nil
		if e.settings {
			e.priority = &m.Priority
		}
		e.run(m)
	}
	return e.steps
}

func (e *engine) context() canvas.Context {
	return canvas.Context{
		NewID:    func() string { e.ids++; return fmt.Sprintf("go-%04d", e.ids) },
		Children: e.taken,
		Now:      noon,
		Origin:   "test", ReplyTo: "go-0000", Priority: e.priority, ErrbacksOnHeader: e.settings,
		Errback: func(task string) canvas.ErrbackStyle {
			if task == "t.err3" {
				return canvas.ErrbackCall
			}
			return canvas.ErrbackMessage
		},
	}
}

func (e *engine) log(what string, entry any) {
	s := e.steps[len(e.steps)-1]
	l, _ := s[what].([]any)
	s[what] = append(l, entry)
}

func (e *engine) chord(gid string) *chordState {
	if e.chords[gid] == nil {
		e.chords[gid] = &chordState{members: map[string]float64{}}
	}
	return e.chords[gid]
}

func (e *engine) carry(p *canvas.Plan) {
	for _, s := range p.Sizes {
		c := e.chord(s.GroupID)
		c.size, c.known, c.claimed, c.done = s.Size, true, false, false
		e.log("sizes", []any{s.GroupID, s.Size})
	}
	for _, g := range p.Groups {
		e.saved[g.GroupID] = g.Value
		e.log("groups", []any{g.GroupID, g.Value})
	}
	for _, j := range p.Joins {
		e.chord(j.GroupID).more += j.Members
		e.log("joins", []any{"celery-taskset-meta-" + j.GroupID + ".t", j.Members})
	}
	failed := map[string]bool{}
	for _, part := range p.ChordParts {
		r := e.results[part.Entry.TaskID]
		failed[part.Entry.TaskID] = part.UnlessFailed && r != nil && r.Status == protocol.StateFailure
	}
	for _, r := range p.Results {
		e.store(r)
	}
	for _, part := range p.ChordParts {
		if !failed[part.Entry.TaskID] {
			e.count(part.Message, part.Entry)
		}
	}
	for _, o := range p.Messages {
		e.publish(o)
	}
	for _, c := range p.Calls {
		e.log("calls", []any{c.TaskID, canvas.ReprException(c.Exception)})
	}
	if len(p.Revoke) > 0 {
		e.log("revoked", p.Revoke)
	}
	e.taken = append(e.taken, p.Children...)
}

func (e *engine) store(r *protocol.Result) {
	if old := e.results[r.TaskID]; old != nil && old.Status == protocol.StateSuccess {
		return
	}
	b, err := protocol.EncodeResult(r)
	must(e.t, err)
	stored, err := protocol.DecodeResult(b)
	must(e.t, err)
	e.results[r.TaskID] = stored
	e.log("results", map[string]any{
		"task_id": stored.TaskID, "status": stored.Status, "result": stored.Result, "children": stored.Children,
		"group_id": orNil(stored.GroupID), "parent_id": orNil(stored.ParentID),
	})
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (e *engine) publish(o canvas.Outgoing) {
	m := o.Message
	if m.RoutingKey == "" {
		m.RoutingKey = "celery"
	}
	b, err := protocol.Encode(m)
	must(e.t, err)
	e.queue = append(e.queue, b)
	sent, err := protocol.Decode(b, protocol.Limits{Elements: 1 << 20})
	must(e.t, err)
	entry := entryOf(e.t, b, sent, o.Queue)
	if o.Exchange != "" {
		entry["exchange"] = o.Exchange
	}
	if len(o.Properties) > 0 {
		options := map[string]any{}
		for _, f := range o.Properties {
			options[f.Name] = f.Value
		}
		entry["options"] = options
	}
	e.log("messages", entry)
}

// entryOf shows a message as record.py does.
func entryOf(t testing.TB, raw []byte, sent *protocol.Message, queue string) map[string]any {
	headers := map[string]any{}
	custom := map[string]any{}
	envelope, err := protocol.Raw(raw).Fields()
	must(t, err)
	for _, part := range envelope {
		if part.Name == "headers" {
			all, err := part.Value.Fields()
			must(t, err)
			for _, h := range all {
				headers[h.Name] = h.Value
			}
		}
	}
	for _, h := range sent.Headers {
		delete(headers, h.Name)
		custom[h.Name] = h.Value
	}
	if sent.Task == "celery.map" || sent.Task == "celery.starmap" {
		delete(headers, "kwargsrepr")
	}
	delete(headers, "lang")
	delete(headers, "origin")
	return map[string]any{
		"headers": headers, "custom": custom, "reply_to": sent.ReplyTo, "queue": cmp.Or(queue, "celery"), "priority": sent.Priority,
		"body": []any{sent.Args, sent.Kwargs, map[string]any{
			"callbacks": sent.Callbacks, "errbacks": sent.Errbacks, "chain": sent.Chain, "chord": sent.Chord,
		}},
	}
}

// count adds a member to its chord, and with the last one comes the body.
func (e *engine) count(m *protocol.Message, entry canvas.MemberEntry) {
	c := e.chord(entry.GroupID)
	if c.done {
		return
	}
	e.log("parts", []any{entry.GroupID, entry.TaskID, entry.Score, entry.JSON})
	score, err := strconv.ParseFloat(entry.Score, 64)
	must(e.t, err)
	if _, again := c.members[string(entry.JSON)]; !again {
		c.order = append(c.order, string(entry.JSON))
	}
	c.members[string(entry.JSON)] = score
	if !c.known || c.claimed || len(c.members) != c.size+c.more {
		return
	}
	c.claimed = true
	joined := canvas.Joined{Saved: e.saved[entry.GroupID]}
	for _, text := range c.order {
		joined.Members = append(joined.Members, protocol.Raw(text))
	}
	slices.SortStableFunc(joined.Members, func(a, b protocol.Raw) int {
		return cmp.Compare(c.members[string(a)], c.members[string(b)])
	})
	if joined.Saved != nil {
		ids, err := canvas.SavedIDs(joined.Saved)
		must(e.t, err)
		joined.Results = map[string]*protocol.Result{}
		for _, id := range ids {
			joined.Results[id] = e.results[id]
		}
	}
	plan, err := canvas.ChordBody(m, joined, e.context())
	must(e.t, err)
	e.carry(plan)
	if plan.BodyFailed {
		c.known = false
	} else {
		c.done, c.members = true, map[string]float64{}
	}
}

var errReplaced = errors.New("replaced")

func (e *engine) run(m *protocol.Message) {
	result, exc, err := e.call(m.Task, m, m.Args, m.Kwargs)
	if errors.Is(err, errReplaced) {
		return
	}
	must(e.t, err)
	r := &protocol.Result{TaskID: m.ID, Status: protocol.StateSuccess, Result: result, DateDone: noon, GroupID: m.Group, ParentID: m.ParentID}
	var plan *canvas.Plan
	if exc == nil {
		plan, err = canvas.AfterSuccess(m, result, e.context())
		if failed, ok := errors.AsType[*canvas.TaskError](err); ok {
			exc = failed.Exception
		} else {
			must(e.t, err)
		}
	}
	if exc == nil {
		e.carry(plan)
		r.Children = array(e.taken)
		if m.IgnoreResult == nil || !*m.IgnoreResult {
			e.store(r)
		}
		if entry, ok := canvas.Member(m, r.Status, result); ok {
			e.count(m, entry)
		}
		return
	}
	r.Status, r.Exception, r.Result = protocol.StateFailure, exc, nil
	r.Children = array(e.taken)
	c := e.context()
	if c.ErrorsIgnored = m.IgnoreResult != nil && *m.IgnoreResult; !c.ErrorsIgnored {
		e.store(r)
	}
	raw, err := canvas.ExceptionRaw(exc)
	must(e.t, err)
	if entry, ok := canvas.Member(m, r.Status, raw); ok {
		e.count(m, entry)
	}
	plan, err = canvas.AfterFailure(m, exc, nil, c)
	must(e.t, err)
	e.carry(plan)
}

func array(raws []protocol.Raw) protocol.Raw {
	b := []byte("[")
	for i, r := range raws {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, ']')
}

// call runs a task as record.py defines it.
func (e *engine) call(task string, m *protocol.Message, args, kwargs protocol.Raw) (protocol.Raw, *protocol.Exception, error) {
	elements, err := args.Elements()
	must(e.t, err)
	named := map[string]protocol.Raw{}
	for _, f := range fields(e.t, kwargs) {
		named[f.Name] = f.Value
	}
	inner := func() *canvas.Signature {
		var s spec
		must(e.t, protocol.Unmarshal(named["spec"], &s))
		return build(e.t, s)
	}
	outcome := func(p *canvas.Plan, err error) (protocol.Raw, *protocol.Exception, error) {
		if failed, ok := errors.AsType[*canvas.TaskError](err); ok {
			return nil, failed.Exception, nil
		}
		must(e.t, err)
		e.carry(p)
		return protocol.Raw(`"added"`), nil, nil
	}
	switch task {
	case "t.boom":
		return nil, &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{"it's \"boom\"\n", len(elements)}}, nil
	case "t.rep", "t.repstamped":
		s := inner()
		var p *canvas.Plan
		if stamps := named["stamps"]; stamps != nil {
			p, err = canvas.ReplaceStamped(m, s, stamper(e.t, stamps), e.context())
		} else {
			p, err = canvas.Replace(m, s, e.context())
		}
		if failed, ok := errors.AsType[*canvas.TaskError](s.Err()); ok {
			return nil, failed.Exception, nil
		}
		_, exc, err := outcome(p, err)
		if exc == nil {
			err = errReplaced
		}
		return nil, exc, err
	case "t.addto":
		return outcome(canvas.AddToChord(m, inner(), e.context()))
	case "celery.chunks", "celery.group", "celery.chord":
		p, ok, err := canvas.Builtin(m, e.context())
		must(e.t, err)
		if !ok {
			e.t.Fatalf("%s is not built in", task)
		}
		e.carry(p)
		return p.Handle, nil, nil
	case "celery.accumulate":
		if index := named["index"]; index != nil {
			i, err := strconv.Atoi(string(index))
			must(e.t, err)
			return elements[i], nil, nil
		}
		return args, nil, nil
	case "celery.map", "celery.starmap":
		s, err := canvas.Parse(named["task"])
		must(e.t, err)
		items, err := named["it"].Elements()
		must(e.t, err)
		var out []protocol.Raw
		for _, item := range items {
			if task == "celery.map" {
				item = array([]protocol.Raw{item})
			}
			r, _, err := e.call(s.Task(), m, item, nil)
			must(e.t, err)
			out = append(out, r)
		}
		return array(out), nil, nil
	}
	out := []protocol.Raw{protocol.Raw(strconv.Quote(strings.TrimPrefix(task, "t.")))}
	out = append(out, elements...)
	if len(named) > 0 {
		out = append(out, kwargs)
	}
	return array(out), nil, nil
}
