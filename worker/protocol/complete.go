package protocol

import (
	"bytes"
	"slices"
)

// Complete adds the parts of a message that kombu requires and producers in other
// languages leave out or empty: properties, delivery tag, exchange, routing key, and
// headers that are null or an empty array. The delivery tag becomes tag, and the routing
// key the name of the queue that held the message. Every other value stays as it is, to
// the last byte.
//
// A part of another type stays too, because it was not left out. The error is a
// *[DecodeError] if the message is no object or not [Restorable] with these parts.
func Complete(raw []byte, queue, tag string) ([]byte, error) {
	fields, err := Raw(raw).Fields()
	if err != nil {
		return nil, err
	}
	if last := find(fields, "headers"); last >= 0 && isFalse(trim(fields[last].Value)) {
		fields[last].Value = Raw("{}")
	}
	last := find(fields, "properties")
	if last < 0 {
		fields, last = append(fields, Field{Name: "properties"}), len(fields)
	}
	if fields[last].Value, err = completeProperties(fields[last].Value, queue, tag); err != nil {
		return nil, err
	}
	out := appendFields(make([]byte, 0, len(raw)+256), fields)
	return out, Restorable(out)
}

// find returns the last member of a name, which counts, or -1.
func find(fields []Field, name string) int {
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].Name == name {
			return i
		}
	}
	return -1
}

func lacks(fields []Field, name string) bool {
	i := find(fields, name)
	return i < 0 || fields[i].Value.IsNull()
}

func completeProperties(r Raw, queue, tag string) (Raw, error) {
	var fields []Field
	if r = trim(r); !isFalse(r) {
		var err error
		if fields, err = r.Fields(); err != nil {
			return nil, err
		}
	}
	if lacks(fields, "delivery_tag") {
		fields = append(without(fields, "delivery_tag"), Field{"delivery_tag", quote(tag)})
	}
	i := find(fields, "delivery_info")
	if i < 0 {
		fields, i = append(fields, Field{Name: "delivery_info"}), len(fields)
	}
	info := trim(fields[i].Value)
	var parts []Field
	if !isFalse(info) {
		var err error
		if parts, err = info.Fields(); err != nil {
			return nil, err
		}
	}
	if lacks(parts, "exchange") || lacks(parts, "routing_key") {
		parts = append(without(without(parts, "exchange"), "routing_key"), Field{"exchange", quote("")}, Field{"routing_key", quote(queue)})
		fields[i].Value = appendFields(nil, parts)
	}
	return appendFields(nil, fields), nil
}

func without(fields []Field, name string) []Field {
	return slices.DeleteFunc(fields, func(f Field) bool { return f.Name == name })
}

func quote(s string) Raw { return appendQuoted(nil, s) }

func appendFields(b []byte, fields []Field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendQuoted(b, f.Name), ": "...)
		b = append(b, f.Value...)
	}
	return append(b, '}')
}

// Salvage returns the readable parts of a message that [Decoder.Decode] refuses, so that
// the caller of its task can get an answer. It returns nil if there is no id. The message
// must not be run. The limits are four times those of Decode, except for a compressed
// body. If the message is no JSON, such as the end of one, Salvage reads the headers.
func (d *Decoder) Salvage(raw []byte) *Message {
	var e envelope
	lim := d.Limits.withDefaults()
	within := Limits{Size: 4 * lim.Size, Depth: tolerant(0).Depth, Elements: 4 * lim.Size}
	if e.read(raw, within) != nil && !e.readEnd(raw, within) {
		return nil
	}
	m := &Message{Headers: e.headers, Args: Raw("[]"), Kwargs: Raw("{}")}
	e.fill(m)
	if s, err := d.accepts(contentType(m.ContentType)); err == nil {
		d.salvageBody(&e, m, s, lim, within)
	}
	e.known.salvage(m)
	if m.ID == "" {
		return nil
	}
	return m
}

// readEnd reads the headers of a message whose beginning is missing.
func (e *envelope) readEnd(raw []byte, lim Limits) bool {
	const name = `"headers"`
	*e = envelope{}
	at := bytes.LastIndex(raw, []byte(name))
	if at < 0 {
		return false
	}
	s, err := newScanner(raw[at+len(name):], lim)
	if err != nil {
		return false
	}
	if s.space(); s.peek() != ':' {
		return false
	}
	s.pos++
	return e.readHeaders(&s) == nil && e.headersKind == kindObject
}

func (d *Decoder) salvageBody(e *envelope, m *Message, s serializer, lim, within Limits) {
	if !e.known.compression.IsNull() || s.unpack != nil {
		within.Size = lim.Size
	}
	body, err := e.unpack(m, within)
	if err == nil && s.unpack != nil {
		body, err = s.unpack(body, Limits{Size: unpacked(len(body), within.Size), Depth: within.Depth, Elements: within.Elements})
	}
	if err != nil {
		return
	}
	// The members before a fault count.
	_ = e.known.readBody(m, body, within, e.headersKind)
	if kind, err := m.Args.kind(); err != nil || kind != kindArray {
		m.Args = Raw("[]")
	}
	if kind, err := m.Kwargs.kind(); err != nil || kind != kindObject {
		m.Kwargs = Raw("{}")
	}
}

// salvage fills the fields that an answer needs and ignores their faults. The correlation
// id defaults to the id, as in Celery.
func (f *fields) salvage(m *Message) {
	m.Task, _ = name(f.task)
	var ok bool
	if m.ID, ok = name(f.id); !ok {
		m.ID = m.CorrelationID
	}
	if len(m.ID) > maxName {
		m.ID = ""
	}
	f.fillIDs(m)
	m.ETA, _ = when(f.eta)
	m.Expires, _ = when(f.expires)
	f.fillRest(m)
}
