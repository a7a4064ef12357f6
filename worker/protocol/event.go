package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is one event of a worker or of a task (celery.events).
type Event struct {
	Type      string // such as "task-received"
	Hostname  string // node name of the sender
	UTCOffset int    // hours west of UTC
	PID       int
	Clock     int64 // logical clock
	Timestamp time.Time

	// Fields holds the other fields of the event.
	Fields []Field
	// Members holds further fields as JSON text, for callers that write many events. It
	// is copied as it is, so each member must begin with a comma and a space.
	Members []byte
}

// EventRoutingKey returns the routing key of events of a type.
func EventRoutingKey(eventType string) string { return strings.ReplaceAll(eventType, "-", ".") }

// MultiRoutingKey is the key of a batch of task events.
const MultiRoutingKey = "task.multi"

// AppendEvent appends the body of e, an object with its fields in Celery's order.
func AppendEvent(dst []byte, e *Event) ([]byte, error) {
	w := writer{buf: dst}
	w.text(`{"hostname": `)
	w.str(e.Hostname)
	w.text(`, "utcoffset": `)
	w.buf = strconv.AppendInt(w.buf, int64(e.UTCOffset), 10)
	w.text(`, "pid": `)
	w.buf = strconv.AppendInt(w.buf, int64(e.PID), 10)
	w.text(`, "clock": `)
	w.buf = strconv.AppendInt(w.buf, e.Clock, 10)
	for _, f := range e.Fields {
		w.text(", ")
		w.str(f.Name)
		w.text(": ")
		w.raw(f.Value)
	}
	w.buf = append(w.buf, e.Members...)
	w.text(`, "timestamp": `)
	w.buf = appendSeconds(w.buf, e.Timestamp)
	w.text(`, "type": `)
	w.str(e.Type)
	w.text("}")
	if w.err != nil {
		return dst, fmt.Errorf("encode event %s: %w", e.Type, w.err)
	}
	return w.buf, nil
}

// EncodeEvents writes a message with events: one body, or a batch of them under
// [MultiRoutingKey]. See [AppendEvents].
func EncodeEvents(routingKey, hostname, deliveryTag string, bodies ...[]byte) ([]byte, error) {
	if routingKey == MultiRoutingKey && len(bodies) > 0 {
		return AppendEvents(nil, routingKey, hostname, deliveryTag, slices.Concat([]byte("["), bytes.Join(bodies, []byte(", ")), []byte("]")))
	}
	if len(bodies) != 1 {
		return nil, errors.New("encode events: a body is required, and only " + MultiRoutingKey + " takes more than one")
	}
	return AppendEvents(nil, routingKey, hostname, deliveryTag, bodies[0])
}

// AppendEvents appends a message with events: a body, or under [MultiRoutingKey] an
// array of them.
//
// Every field of the envelope is needed: a missing routing key of a worker event ends a
// Python worker that gossips.
func AppendEvents(dst []byte, routingKey, hostname, deliveryTag string, body []byte) ([]byte, error) {
	if routingKey == "" || hostname == "" || deliveryTag == "" || len(body) == 0 {
		return nil, errors.New("encode events: routing key, host name, delivery tag and a body are required")
	}
	headers := writer{}
	headers.text(`{"hostname": `)
	headers.str(hostname)
	headers.text("}")
	return broadcast{
		body: body, headers: headers.buf, mode: 1, exchange: "celeryev", routingKey: routingKey, deliveryTag: deliveryTag,
	}.append(dst, EncodeOptions{})
}

// DecodeEvent reads a message with one event, as workers gossip them. Absent fields are
// left zero. The error is a *[DecodeError].
func (d *Decoder) DecodeEvent(raw []byte) (*Event, error) {
	_, body, err := d.object(raw)
	if err != nil {
		return nil, err
	}
	var e Event
	for _, f := range body {
		switch f.Name {
		case "type":
			e.Type = text(f.Value)
		case "hostname":
			e.Hostname = text(f.Value)
		case "utcoffset":
			e.UTCOffset = wholeNumber(f.Value)
		case "pid":
			e.PID = wholeNumber(f.Value)
		case "clock":
			e.Clock = int64(max(wholeNumber(f.Value), 0))
		case "timestamp":
			var seconds float64
			if Unmarshal(f.Value, &seconds) == nil && seconds > 0 && seconds < 1e11 {
				e.Timestamp = time.UnixMicro(int64(seconds * 1e6))
			}
		default:
			e.Fields = append(e.Fields, f)
		}
	}
	if e.Type == "" {
		return nil, refuse(ReasonBadBody, "no type")
	}
	return &e, nil
}

// EachEvent reads a message with one event or a batch of them, and calls fn for each, an
// object. The error is a *[DecodeError]; fn was called for the events before it.
func (d *Decoder) EachEvent(raw []byte, fn func(Raw)) error {
	lim := d.Limits.withDefaults()
	var e envelope
	_, body, err := d.open(&e, raw, lim)
	if err != nil {
		return err
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 || body[0] != '[' {
		k, err := Raw(body).kind()
		if err == nil && k != kindObject {
			err = refuse(ReasonBadBody, "body is %v, expected object or array", k)
		}
		if err != nil {
			return inBody(err)
		}
		fn(body)
		return nil
	}
	s, err := newScanner(body, lim)
	if err != nil {
		return inBody(err)
	}
	if _, err = s.enter('['); err != nil {
		return inBody(err)
	}
	for {
		more, err := s.next()
		if err != nil {
			return inBody(err)
		}
		if !more {
			return nil
		}
		v, k, err := s.value()
		if err != nil {
			return inBody(err)
		}
		if k != kindObject {
			return refuse(ReasonBadBody, "event is %v, expected object", k)
		}
		fn(v)
	}
}

// Field returns the value of a field, nil if it is absent.
func (e *Event) Field(name string) Raw {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// appendSeconds appends a time as Python writes it: a float of seconds since 1970, to the
// microsecond. These digits are the shortest text of that float.
func appendSeconds(dst []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	if micros < 1e15 || micros >= 4e15 { // 2001 to 2096
		return appendFloat(dst, unixSeconds(t), 64)
	}
	dst = strconv.AppendInt(dst, micros/1e6, 10)
	fraction := strconv.AppendInt(make([]byte, 0, 8), 1e6+micros%1e6, 10)
	fraction[0] = '.'
	for len(fraction) > 2 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	return append(dst, fraction...)
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// broadcast is an envelope that is published and never queued.
type broadcast struct {
	body, headers        []byte
	mode                 int // 1: not persistent
	exchange, routingKey string
	deliveryTag          string
}

func (b broadcast) append(dst []byte, o EncodeOptions) ([]byte, error) {
	p, err := o.pack(b.body)
	if err != nil {
		return nil, err
	}
	w := writer{buf: slices.Grow(dst, len(p.body)*4/3+512)}
	w.packed(p)
	w.text(`, "headers": `)
	w.buf = append(w.buf, b.headers...)
	w.text(`, "properties": {"delivery_mode": `)
	w.buf = strconv.AppendInt(w.buf, int64(b.mode), 10)
	w.text(`, "delivery_info": {"exchange": `)
	w.str(b.exchange)
	w.text(`, "routing_key": `)
	w.str(b.routingKey)
	w.text(`}, "priority": 0, "body_encoding": "base64", "delivery_tag": `)
	w.str(b.deliveryTag)
	w.text("}}")
	return w.buf, w.err
}
