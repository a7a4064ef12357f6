package canvas

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// send adds the message of one task to the plan.
func (p *publisher) send(task string, args []protocol.Raw, tuple bool, kwargs []protocol.Field, o *options, route string) *result {
	p.step()
	if len(p.plan.Messages) >= p.limits.Messages {
		abort(&LimitError{"messages", p.limits.Messages})
	}
	m := &protocol.Message{
		Protocol: 2, Task: task, Lang: "py", DeliveryTag: p.ids.next(), Origin: p.Origin, ReplyTo: p.ReplyTo,
		ContentType: "application/json", ContentEncoding: "utf-8",
		Args: arrayRaw(args), Kwargs: fieldsRaw(kwargs),
		ArgsRepr: reprArgs(args, tuple), KwargsRepr: reprKwargs(kwargs),
	}
	out := Outgoing{Message: m, RouteName: route}
	if v := o.text("route_name"); v != "" {
		out.RouteName = v
	}
	if m.ID = o.text("task_id"); m.ID == "" {
		m.ID = p.ids.next()
	}
	m.CorrelationID = m.ID
	p.addHeaders(m, o)
	p.addSignatures(m, o)
	setDestination(&out, o)
	for _, e := range o.entries {
		if raw, ok := e.val.(protocol.Raw); ok && !defined(e.name) && !slices.Contains(m.StampedHeaders, e.name) {
			out.Properties = append(out.Properties, protocol.Field{Name: e.name, Value: raw})
		}
	}
	p.bytes += len(m.Args) + len(m.Kwargs) + len(m.Callbacks) + len(m.Errbacks) + len(m.Chain) + len(m.Chord)
	if p.bytes > p.limits.Bytes {
		abort(&LimitError{"bytes", p.limits.Bytes})
	}
	p.plan.Messages = append(p.plan.Messages, out)
	r := &result{id: m.ID}
	if !isFalse(o.get("add_to_parent")) {
		p.child(r)
	}
	return r
}

// child records a result as a child of the running task.
func (p *publisher) child(r *result) {
	if p.ParentID != "" {
		p.plan.Children = append(p.plan.Children, appendTuple(p.budget, nil, r))
	}
}

// addHeaders sets the headers of a message from its options.
func (p *publisher) addHeaders(m *protocol.Message, o *options) {
	p.setLineage(m, o)
	m.Group = o.text("group_id")
	if o.given("group_index") {
		i := o.integer("group_index")
		m.GroupIndex = &i
	}
	m.Shadow = o.text("shadow")
	m.Retries = o.integer("retries")
	m.ReplacedTaskNesting = o.integer("replaced_task_nesting")
	m.HardTimeLimit, m.SoftTimeLimit = o.duration("time_limit"), o.duration("soft_time_limit")
	m.IgnoreResult = o.flag("ignore_result")
	m.ReplyTo = cmp.Or(o.text("reply_to"), m.ReplyTo)
	m.Origin = cmp.Or(o.text("origin"), m.Origin)
	if o.given("argsrepr") {
		m.ArgsRepr = o.text("argsrepr")
	}
	if o.given("kwargsrepr") {
		m.KwargsRepr = o.text("kwargsrepr")
	}
	p.setTimes(m, o)
	m.Headers = customHeaders(o)
	m.StampedHeaders = o.names("stamped_headers")
	m.Stamps = stampsOf(m.StampedHeaders, o)
}

// setLineage sets root and parent. If one of them is absent, the running task gives it,
// and the priority.
func (p *publisher) setLineage(m *protocol.Message, o *options) {
	root, parent := o.text("root_id"), o.text("parent_id")
	m.Priority = o.integer("priority")
	if (root == "" || parent == "") && p.Priority != nil && !o.has("priority") {
		m.Priority = *p.Priority
	}
	m.RootID = cmp.Or(root, p.root(), m.ID)
	m.ParentID = cmp.Or(parent, p.ParentID)
}

// setTimes sets when a message is due and when it expires.
func (p *publisher) setTimes(m *protocol.Message, o *options) {
	if d := o.duration("countdown"); d != 0 {
		m.ETA = p.Now.Add(d)
	} else {
		m.ETA = o.time("eta")
	}
	if raw, ok := o.get("expires").(protocol.Raw); ok && !raw.IsNull() {
		if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
			m.Expires = p.Now.Add(o.duration("expires"))
		} else {
			m.Expires = o.time("expires")
		}
		m.Expiration = strconv.FormatInt(max(m.Expires.Sub(p.Now).Milliseconds(), 0), 10)
	}
}

// customHeaders returns the option headers.
func customHeaders(o *options) (headers []protocol.Header) {
	raw, ok := o.get("headers").(protocol.Raw)
	if !ok || raw.IsNull() {
		return nil
	}
	fields, err := raw.Fields()
	if err != nil {
		abort(&OptionError{"headers", "not an object"})
	}
	for _, f := range overlay(nil, fields) {
		headers = append(headers, protocol.Header(f))
	}
	return headers
}

// stampsOf returns an object of the stamps of these names.
func stampsOf(names []string, o *options) protocol.Raw {
	var stamps []protocol.Field
	for _, name := range names {
		if raw, ok := o.get(name).(protocol.Raw); ok {
			stamps = overlay(stamps, []protocol.Field{{Name: name, Value: raw}})
		}
	}
	return fieldsRaw(stamps)
}

// root returns the root that the running task gives to what it publishes.
func (p *publisher) root() string {
	if p.RootID != "" {
		return p.RootID
	}
	return p.ParentID
}

func (p *publisher) addSignatures(m *protocol.Message, o *options) {
	m.Callbacks = encodeList(p.budget, o.get("link"))
	m.Errbacks = encodeList(p.budget, o.get("link_error"))
	m.Chain = encodeList(p.budget, o.get("chain"))
	m.Chord = encodeValue(p.budget, o.get("chord"))
}

func setDestination(out *Outgoing, o *options) {
	out.Queue, out.Exchange, out.RoutingKey = o.text("queue"), o.text("exchange"), o.text("routing_key")
	out.Serializer, out.Compression = o.text("serializer"), o.text("compression")
	switch {
	case out.Queue != "":
		out.Message.Exchange, out.Message.RoutingKey = "", out.Queue
	case out.Exchange != "" || out.RoutingKey != "":
		out.Message.Exchange, out.Message.RoutingKey = out.Exchange, out.RoutingKey
	}
}

// defined reports whether Celery or kombu defines an option. Any other option becomes a
// property of the message.
func defined(option string) bool {
	switch option {
	case "task_id", "countdown", "eta", "expires", "queue", "exchange", "routing_key", "priority",
		"serializer", "compression", "headers", "link", "link_error", "time_limit", "soft_time_limit",
		"group_id", "group_index", "root_id", "parent_id", "chord", "chain", "shadow", "ignore_result",
		"retries", "reply_to", "stamped_headers", "stamps", "add_to_parent", "route_name", "origin",
		"replaced_task_nesting", "argsrepr", "kwargsrepr", "immutable",
		"retry", "retry_policy", "declare", "exchange_type", "delivery_mode", "timeout", "confirm_timeout",
		"event_dispatcher", "mandatory", "immediate", "connection", "producer", "publisher", "router",
		"result_cls", "task_type", "now", "timezone", "create_sent_event", "callbacks", "errbacks":
		return true
	}
	return false
}

// publisher makes the plan of one call of an exported function.
type publisher struct {
	Context
	*budget
	ids     idSource
	copier  *copier
	linker  *linker
	freezer *freezer
	plan    Plan
}

func newPublisher(c Context) *publisher {
	b := newBudget(c.Limits)
	copier := newCopier(b)
	linker := newLinker(copier, c.ErrbacksOnHeader)
	freezer := newFreezer(linker, c.NewID, c.ReplyTo)
	return &publisher{Context: c, budget: b, ids: c.NewID, copier: copier, linker: linker, freezer: freezer}
}
