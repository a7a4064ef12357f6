package canvas

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// send adds the message of one task to the plan.
func (w *work) send(task string, args []protocol.Raw, tuple bool, kwargs []protocol.Field, o *options, route string) *result {
	w.step()
	if len(w.plan.Messages) >= w.Limits.Messages {
		abort(&LimitError{"messages", w.Limits.Messages})
	}
	m := &protocol.Message{
		Protocol: 2, Task: task, Lang: "py", DeliveryTag: w.newID(), Origin: w.Origin, ReplyTo: w.ReplyTo,
		ContentType: "application/json", ContentEncoding: "utf-8",
		Args: arrayRaw(args), Kwargs: fieldsRaw(kwargs),
		ArgsRepr: reprArgs(args, tuple), KwargsRepr: reprKwargs(kwargs),
	}
	out := Outgoing{Message: m, RouteName: route}
	if v := o.text("route_name"); v != "" {
		out.RouteName = v
	}
	if m.ID = o.text("task_id"); m.ID == "" {
		m.ID = w.newID()
	}
	m.CorrelationID = m.ID
	w.headers(m, o)
	w.embed(m, o)
	w.delivery(&out, o)
	for _, e := range o.entries {
		if raw, ok := e.val.(protocol.Raw); ok && !defined(e.name) && !slices.Contains(m.StampedHeaders, e.name) {
			out.Properties = append(out.Properties, protocol.Field{Name: e.name, Value: raw})
		}
	}
	w.bytes += len(m.Args) + len(m.Kwargs) + len(m.Callbacks) + len(m.Errbacks) + len(m.Chain) + len(m.Chord)
	if w.bytes > w.Limits.Bytes {
		abort(&LimitError{"bytes", w.Limits.Bytes})
	}
	w.plan.Messages = append(w.plan.Messages, out)
	r := &result{id: m.ID}
	if !isFalse(o.get("add_to_parent")) {
		w.child(r)
	}
	return r
}

// child adds to what the running task has published.
func (w *work) child(r *result) {
	if w.ParentID != "" {
		w.plan.Children = append(w.plan.Children, w.tuple(nil, r))
	}
}

func (w *work) headers(m *protocol.Message, o *options) {
	m.RootID, m.ParentID = o.text("root_id"), o.text("parent_id")
	m.Priority = o.integer("priority")
	if m.RootID == "" || m.ParentID == "" {
		if m.RootID == "" {
			m.RootID = w.root()
		}
		if m.ParentID == "" {
			m.ParentID = w.ParentID
		}
		if w.Priority != nil && !o.has("priority") {
			m.Priority = *w.Priority
		}
	}
	if m.RootID == "" {
		m.RootID = m.ID
	}
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
	if v := o.text("reply_to"); v != "" {
		m.ReplyTo = v
	}
	if v := o.text("origin"); v != "" {
		m.Origin = v
	}
	for _, e := range []struct {
		option string
		repr   *string
	}{{"argsrepr", &m.ArgsRepr}, {"kwargsrepr", &m.KwargsRepr}} {
		if o.given(e.option) {
			*e.repr = o.text(e.option)
		}
	}
	if d := o.duration("countdown"); d != 0 {
		m.ETA = w.Now.Add(d)
	} else {
		m.ETA = o.time("eta")
	}
	if raw, ok := o.get("expires").(protocol.Raw); ok && !raw.IsNull() {
		if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
			m.Expires = w.Now.Add(o.duration("expires"))
		} else {
			m.Expires = o.time("expires")
		}
		m.Expiration = strconv.FormatInt(max(m.Expires.Sub(w.Now).Milliseconds(), 0), 10)
	}
	if raw, ok := o.get("headers").(protocol.Raw); ok && !raw.IsNull() {
		fields, err := raw.Fields()
		if err != nil {
			abort(&OptionError{"headers", "not an object"})
		}
		for _, f := range overlay(nil, fields) {
			m.Headers = append(m.Headers, protocol.Header(f))
		}
	}
	m.StampedHeaders = o.names("stamped_headers")
	var stamps []protocol.Field
	for _, name := range m.StampedHeaders {
		if raw, ok := o.get(name).(protocol.Raw); ok {
			stamps = overlay(stamps, []protocol.Field{{Name: name, Value: raw}})
		}
	}
	m.Stamps = fieldsRaw(stamps)
}

// root is what the running task gives as the root of what it publishes.
func (w *work) root() string {
	if w.RootID != "" {
		return w.RootID
	}
	return w.ParentID
}

func (w *work) embed(m *protocol.Message, o *options) {
	m.Callbacks = w.encodeList(o.get("link"))
	m.Errbacks = w.encodeList(o.get("link_error"))
	m.Chain = w.encodeList(o.get("chain"))
	m.Chord = w.encodeValue(o.get("chord"))
}

func (w *work) delivery(out *Outgoing, o *options) {
	out.Queue, out.Exchange, out.RoutingKey = o.text("queue"), o.text("exchange"), o.text("routing_key")
	out.Serializer, out.Compression = o.text("serializer"), o.text("compression")
	switch {
	case out.Queue != "":
		out.Message.Exchange, out.Message.RoutingKey = "", out.Queue
	case out.Exchange != "" || out.RoutingKey != "":
		out.Message.Exchange, out.Message.RoutingKey = out.Exchange, out.RoutingKey
	}
}

// defined reports whether Celery or kombu gives an option its meaning; any other
// becomes a property of the message.
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

// integer returns a whole number, 0 when the option is absent or null.
func (o *options) integer(name string) int {
	v := o.get(name)
	if isNull(v) {
		return 0
	}
	var n int
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &n) != nil {
		abort(&OptionError{name, "not a whole number"})
	}
	return n
}

// duration returns an option in seconds, 0 when it is absent or null.
func (o *options) duration(name string) time.Duration {
	v := o.get(name)
	if isNull(v) {
		return 0
	}
	var n float64
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &n) != nil {
		abort(&OptionError{name, "not a number of seconds"})
	}
	const most = math.MaxInt64 / float64(time.Second) / 2
	if math.IsNaN(n) || math.Abs(n) > most {
		abort(&OptionError{name, "out of range"})
	}
	return time.Duration(n * float64(time.Second))
}

// time returns a time of ISO 8601, also as kombu's typed object; zero when the
// option is absent or null.
func (o *options) time(name string) time.Time {
	v := o.get(name)
	var t time.Time
	if isNull(v) {
		return t
	}
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &t) != nil {
		abort(&OptionError{name, "not a time of ISO 8601"})
	}
	return t
}

func (o *options) flag(name string) *bool {
	v := o.get(name)
	if isNull(v) {
		return nil
	}
	var b bool
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &b) != nil {
		abort(&OptionError{name, "not true or false"})
	}
	return &b
}
