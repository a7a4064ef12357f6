package protocol

import (
	"errors"
	"fmt"
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

	// Fields are what else the event has to say, in JSON.
	Fields []Field
}

// EventRoutingKey returns the key that an event of that type is published under.
func EventRoutingKey(eventType string) string { return strings.ReplaceAll(eventType, "-", ".") }

// MultiRoutingKey is the key of a batch of task events.
const MultiRoutingKey = "task.multi"

// AppendEvent appends the body of e: an object with the fields in the order of
// Celery's.
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
	w.text(`, "timestamp": `)
	w.value(unixSeconds(e.Timestamp))
	w.text(`, "type": `)
	w.str(e.Type)
	w.text("}")
	if w.err != nil {
		return dst, fmt.Errorf("encode event %s: %w", e.Type, w.err)
	}
	return w.buf, nil
}

// EncodeEvents writes a message with events: one body, or a batch of them under
// [MultiRoutingKey].
//
// Every field of the envelope is needed: a Python worker that gossips ends when
// the routing key of a worker event is missing.
func EncodeEvents(routingKey, hostname, deliveryTag string, bodies ...[]byte) ([]byte, error) {
	if routingKey == "" || hostname == "" || deliveryTag == "" || len(bodies) == 0 {
		return nil, errors.New("encode events: routing key, host name, delivery tag and a body are required")
	}
	var body []byte
	if routingKey == MultiRoutingKey {
		size := 2
		for _, b := range bodies {
			size += len(b) + 2
		}
		body = append(make([]byte, 0, size), '[')
		for i, b := range bodies {
			if i > 0 {
				body = append(body, ", "...)
			}
			body = append(body, b...)
		}
		body = append(body, ']')
	} else if body = bodies[0]; len(bodies) > 1 {
		return nil, errors.New("encode events: only " + MultiRoutingKey + " takes more than one")
	}
	headers := writer{}
	headers.text(`{"hostname": `)
	headers.str(hostname)
	headers.text("}")
	return broadcast{
		body: body, headers: headers.buf, mode: 1, exchange: "celeryev", routingKey: routingKey, deliveryTag: deliveryTag,
	}.encode(EncodeOptions{})
}

// DecodeEvent reads a message with one event, as workers gossip them. What may be
// missing is left zero. The error is a *[DecodeError].
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

// Field returns the value of a field, nil when there is none.
func (e *Event) Field(name string) Raw {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// broadcast is an envelope that is published and not queued.
type broadcast struct {
	body, headers        []byte
	mode                 int // 1: not persistent
	exchange, routingKey string
	deliveryTag          string
}

func (b broadcast) encode(o EncodeOptions) ([]byte, error) {
	p, err := o.pack(b.body)
	if err != nil {
		return nil, err
	}
	w := writer{buf: make([]byte, 0, len(p.body)*4/3+512)}
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
