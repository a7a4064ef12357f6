package protocol

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Encode writes m as a message of protocol 2, as Celery 5.6 does: all headers, null for
// absent ones, then custom headers, and a base64 body. The text is ASCII. The body is
// JSON and not compressed; [EncodeAs] writes other forms. Redelivered is not written.
//
// ID, Task and DeliveryTag must be set. Absent Args and Kwargs are written as empty, an
// absent RootID or CorrelationID as the id.
func Encode(m *Message) ([]byte, error) {
	return encode(m, "", EncodeOptions{})
}

// RetryOptions holds the values that are new in the message of another attempt.
type RetryOptions struct {
	ETA         time.Time // not before; zero: at once
	DeliveryTag string    // a new UUID; required
	Origin      string    // publisher, such as "gen123@host"
	Queue       string    // queue that held the message; "" keeps exchange and routing key
	Retries     *int      // nil: one more than before
	// Headers are added to those of the message, or replace headers of the same names.
	// Headers that Celery defines are refused.
	Headers []Header
	// IgnoreResult is the effective value of the attempt before, from the message or its
	// task. Celery before 5.7 writes the one of the task.
	IgnoreResult bool
	// Encoding is the form of the new body; zero: JSON, not compressed, even if the
	// message had another form.
	Encoding EncodeOptions
	// Now is the time of publishing. With it, properties.expiration is written
	// for a message that expires; brokers on Redis ignore that property.
	Now time.Time
}

// EncodeRetry writes the message that a Celery worker publishes for another attempt of m
// (Task.retry): the same task, with the same id, arguments, callbacks, limits, priority
// and custom headers, byte for byte. Retries, eta, delivery tag and origin are new. The
// old origin becomes a property, and a task without parent becomes its own parent.
//
// Compression and redelivery belong to one publishing and are not copied.
func EncodeRetry(m *Message, o RetryOptions) ([]byte, error) {
	next := *m
	var err error
	if next.Headers, err = withHeaders(m.Headers, o.Headers); err != nil {
		return nil, fmt.Errorf("encode retry: %w", err)
	}
	next.ETA = o.ETA
	next.DeliveryTag = o.DeliveryTag
	next.Origin = o.Origin
	next.Retries = m.Retries + 1
	if o.Retries != nil {
		next.Retries = *o.Retries
	}
	if next.ParentID == "" {
		next.ParentID = m.ID
	}
	if o.Queue != "" {
		next.Exchange, next.RoutingKey = "", o.Queue
	}
	next.Expiration = ""
	if !o.Now.IsZero() && !m.Expires.IsZero() {
		next.Expiration = strconv.FormatInt(max(m.Expires.Sub(o.Now).Milliseconds(), 0), 10)
	}
	next.IgnoreResult = &o.IgnoreResult
	next.Properties = nil // Celery drops the options that it does not know
	return encode(&next, m.Origin, o.Encoding)
}

func encode(m *Message, oldOrigin string, o EncodeOptions) ([]byte, error) {
	if m.ID == "" || m.Task == "" || m.DeliveryTag == "" {
		return nil, errors.New("encode message: id, task and delivery tag are required")
	}
	body, err := encodeBody(m)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	p, err := o.pack(body)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	w := writer{buf: make([]byte, 0, len(p.body)*4/3+1024)}
	w.packed(p)
	w.text(`, "headers": `)
	w.headers(m, string(p.compression))
	w.text(`, "properties": {"correlation_id": `)
	w.str(or(m.CorrelationID, m.ID))
	if m.ReplyTo != "" {
		w.text(`, "reply_to": `)
		w.str(m.ReplyTo)
	}
	if oldOrigin != "" {
		w.text(`, "origin": `)
		w.str(oldOrigin)
	}
	for _, p := range m.Properties {
		if !kombuProperty(p.Name) && (p.Name != "origin" || oldOrigin == "") {
			w.text(", ")
			w.str(p.Name)
			w.text(": ")
			w.raw(p.Value)
		}
	}
	w.text(`, "delivery_mode": 2`)
	if m.Expiration != "" {
		w.text(`, "expiration": `)
		w.str(m.Expiration)
	}
	w.text(`, "delivery_info": {"exchange": `)
	w.str(m.Exchange)
	w.text(`, "routing_key": `)
	w.str(m.RoutingKey)
	w.text(`}, "priority": `)
	w.buf = strconv.AppendInt(w.buf, int64(m.Priority), 10)
	w.text(`, "body_encoding": "base64", "delivery_tag": `)
	w.str(m.DeliveryTag)
	w.text(`}}`)
	if w.err != nil {
		return nil, fmt.Errorf("encode message: %w", w.err)
	}
	return w.buf, nil
}

// kombuProperty reports whether Encode writes the property anyway.
func kombuProperty(name string) bool {
	switch name {
	case "correlation_id", "reply_to", "delivery_mode", "expiration", "delivery_info",
		"priority", "body_encoding", "delivery_tag":
		return true
	}
	return false
}

// encodeBody writes [args, kwargs, embed] from the texts as they are.
func encodeBody(m *Message) ([]byte, error) {
	var w writer
	w.text("[")
	w.container(m.Args, '[', "[]")
	w.text(", ")
	w.container(m.Kwargs, '{', "{}")
	w.text(`, {"callbacks": `)
	w.verbatim(m.Callbacks)
	w.text(`, "errbacks": `)
	w.verbatim(m.Errbacks)
	w.text(`, "chain": `)
	w.verbatim(m.Chain)
	w.text(`, "chord": `)
	w.verbatim(m.Chord)
	w.text("}]")
	return w.buf, w.err
}

// writer appends JSON text and keeps the first error.
type writer struct {
	buf []byte
	err error
}

func (w *writer) text(s string) { w.buf = append(w.buf, s...) }
func (w *writer) str(s string)  { w.buf = appendQuoted(w.buf, s) }

func (w *writer) strOrNull(s string) {
	if s == "" {
		w.text("null")
		return
	}
	w.str(s)
}

func (w *writer) time(t time.Time) {
	if t.Truncate(time.Microsecond).IsZero() { // as it would be written
		w.text("null")
		return
	}
	w.buf = append(appendTime(append(w.buf, '"'), t), '"')
}

func (w *writer) seconds(d time.Duration) {
	switch {
	case d <= 0:
		w.text("null")
	case d%time.Second == 0:
		w.buf = strconv.AppendInt(w.buf, int64(d/time.Second), 10)
	default:
		w.buf = appendFloat(w.buf, d.Seconds(), 64)
	}
}

// raw appends a value and escapes characters that are not ASCII.
func (w *writer) raw(r Raw) {
	if w.err != nil {
		return
	}
	if r.IsNull() {
		w.text("null")
		return
	}
	w.buf, w.err = appendRaw(w.buf, r)
}

// verbatim appends a text as it is, after checking that it is a value.
func (w *writer) verbatim(r Raw) {
	if w.err != nil {
		return
	}
	if r.IsNull() {
		w.text("null")
		return
	}
	if _, w.err = r.kind(); w.err == nil {
		w.buf = append(w.buf, r...)
	}
}

func (w *writer) container(r Raw, bracket byte, empty string) {
	if len(r) == 0 {
		w.text(empty)
		return
	}
	if s := trim(r); len(s) == 0 || s[0] != bracket {
		if w.err == nil {
			w.err = errors.New("args must be an array and kwargs an object")
		}
		return
	}
	w.verbatim(r)
}

func (w *writer) headers(m *Message, compression string) {
	w.text(`{"lang": `)
	w.str(or(m.Lang, "py"))
	w.text(`, "task": `)
	w.str(m.Task)
	w.text(`, "id": `)
	w.str(m.ID)
	w.text(`, "shadow": `)
	w.strOrNull(m.Shadow)
	w.text(`, "eta": `)
	w.time(m.ETA)
	w.text(`, "expires": `)
	w.time(m.Expires)
	w.text(`, "group": `)
	w.strOrNull(m.Group)
	w.text(`, "group_index": `)
	if m.GroupIndex == nil {
		w.text("null")
	} else {
		w.buf = strconv.AppendInt(w.buf, int64(*m.GroupIndex), 10)
	}
	w.text(`, "retries": `)
	w.buf = strconv.AppendInt(w.buf, int64(m.Retries), 10)
	w.text(`, "timelimit": [`)
	w.seconds(m.HardTimeLimit)
	w.text(", ")
	w.seconds(m.SoftTimeLimit)
	w.text(`], "root_id": `)
	w.str(or(m.RootID, m.ID))
	w.text(`, "parent_id": `)
	w.strOrNull(m.ParentID)
	w.text(`, "argsrepr": `)
	w.str(m.ArgsRepr)
	w.text(`, "kwargsrepr": `)
	w.str(m.KwargsRepr)
	w.text(`, "origin": `)
	w.str(m.Origin)
	w.text(`, "ignore_result": `)
	w.buf = strconv.AppendBool(w.buf, m.IgnoreResult != nil && *m.IgnoreResult)
	w.text(`, "replaced_task_nesting": `)
	w.buf = strconv.AppendInt(w.buf, int64(m.ReplacedTaskNesting), 10)
	w.text(`, "stamped_headers": `)
	w.names(m.StampedHeaders)
	w.text(`, "stamps": `)
	if m.Stamps.IsNull() {
		w.text("{}")
	} else {
		w.raw(m.Stamps)
	}
	for _, h := range m.Headers {
		if celeryHeader(h.Name) {
			continue
		}
		w.text(", ")
		w.str(h.Name)
		w.text(": ")
		w.raw(h.Value)
	}
	if compression != "" {
		w.text(`, "compression": `)
		w.str(compression)
	}
	w.text("}")
}

func (w *writer) names(names []string) {
	if names == nil {
		w.text("null")
		return
	}
	w.text("[")
	for i, n := range names {
		if i > 0 {
			w.text(", ")
		}
		w.str(n)
	}
	w.text("]")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
