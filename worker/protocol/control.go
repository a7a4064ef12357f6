package protocol

import (
	"errors"
	"fmt"
	"time"
)

// ControlRequest is one request of remote control (kombu.pidbox.Mailbox): an
// inspect or a control command.
type ControlRequest struct {
	Method    string // name of the command
	Arguments Raw    // object; {} if absent

	// Destination names the nodes that must answer; empty: all nodes that match Pattern.
	Destination []string
	// Pattern selects nodes by name if there is no destination. Matcher is its syntax:
	// "glob" or "pcre".
	Pattern, Matcher string

	// Ticket and ReplyTo are set if the sender wants an answer.
	Ticket  string
	ReplyTo ReplyTo

	Clock int64 // logical clock of the sender; 0: none

	// ContentType is the serializer of the request, which the answer must use too.
	ContentType string
}

// ReplyTo is the destination of the answers to a request.
type ReplyTo struct {
	Exchange   string // "reply.celery.pidbox"
	RoutingKey string // id of the sender
}

// Wanted reports whether the sender waits for an answer.
func (r *ControlRequest) Wanted() bool { return r.ReplyTo.RoutingKey != "" }

// DecodeControl reads a request of remote control. As in kombu, only the name of the
// command is required; absent members are left zero. The error is a *[DecodeError].
func (d *Decoder) DecodeControl(raw []byte) (*ControlRequest, error) {
	m, body, err := d.object(raw)
	if err != nil {
		return nil, err
	}
	r := ControlRequest{Clock: clockOf(m), ContentType: m.ContentType}
	for _, f := range body {
		switch f.Name {
		case "method":
			r.Method = text(f.Value)
		case "arguments":
			r.Arguments = f.Value
		case "destination":
			r.Destination = destination(f.Value)
		case "pattern":
			r.Pattern = text(f.Value)
		case "matcher":
			r.Matcher = text(f.Value)
		case "ticket":
			r.Ticket = text(f.Value)
		case "reply_to":
			to, err := f.Value.Fields()
			if err != nil {
				continue // null, if no answer is wanted
			}
			for _, t := range to {
				switch t.Name {
				case "exchange":
					r.ReplyTo.Exchange = text(t.Value)
				case "routing_key":
					r.ReplyTo.RoutingKey = text(t.Value)
				}
			}
		}
	}
	if r.Method == "" {
		return nil, refuse(ReasonBadBody, "no method")
	}
	if r.Arguments.IsNull() {
		r.Arguments = Raw("{}")
	}
	if k, err := r.Arguments.kind(); err != nil || k != kindObject {
		return nil, refuse(ReasonBadKwargs, "arguments are no object")
	}
	return &r, nil
}

// destination returns a list of names. kombu reads a single name as a list of letters,
// which matches no node.
func destination(r Raw) []string {
	if r.IsNull() {
		return nil
	}
	elements, err := r.Elements()
	if err != nil {
		return []string{""}
	}
	names := make([]string, 0, len(elements))
	for _, e := range elements {
		names = append(names, text(e))
	}
	return names
}

// object reads an envelope whose body is an object.
func (d *Decoder) object(raw []byte) (*Message, []Field, error) {
	lim := d.Limits.withDefaults()
	var e envelope
	m, body, err := d.open(&e, raw, lim)
	if err != nil {
		return nil, nil, err
	}
	s, err := newScanner(body, lim)
	if err != nil {
		return nil, nil, inBody(err)
	}
	var fields []Field
	k, err := s.members(func(key Raw) error {
		v, _, err := s.value()
		fields = append(fields, Field{Name: unquote(key), Value: v})
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, nil, inBody(err)
	}
	if k != kindObject {
		return nil, nil, refuse(ReasonBadBody, "body is %v, expected object", k)
	}
	return m, fields, nil
}

func clockOf(m *Message) int64 { return int64(max(wholeNumber(m.Header("clock")), 0)) }

// EncodeControl writes a request as Mailbox.cast does.
func EncodeControl(r *ControlRequest, deliveryTag string, expires time.Time) ([]byte, error) {
	if r.Method == "" || deliveryTag == "" {
		return nil, errors.New("encode control request: method and delivery tag are required")
	}
	var w writer
	w.text(`{"method": `)
	w.str(r.Method)
	w.text(`, "arguments": `)
	w.container(r.Arguments, '{', "{}")
	w.text(`, "destination": `)
	w.names(r.Destination)
	w.text(`, "pattern": `)
	w.strOrNull(r.Pattern)
	w.text(`, "matcher": `)
	w.strOrNull(r.Matcher)
	if r.Wanted() {
		w.text(`, "ticket": `)
		w.str(r.Ticket)
		w.text(`, "reply_to": {"exchange": `)
		w.str(r.ReplyTo.Exchange)
		w.text(`, "routing_key": `)
		w.str(r.ReplyTo.RoutingKey)
		w.text("}")
	}
	w.text("}")
	if w.err != nil {
		return nil, fmt.Errorf("encode control request: %w", w.err)
	}
	headers := writer{}
	headers.text(`{"clock": `)
	headers.value(r.Clock)
	headers.text(`, "expires": `)
	if expires.IsZero() {
		headers.text("0")
	} else {
		headers.value(unixSeconds(expires))
	}
	headers.text("}")
	return broadcast{
		body: w.buf, headers: headers.buf, mode: 2, exchange: "celery.pidbox", deliveryTag: deliveryTag,
	}.append(nil, EncodeOptions{})
}

// ControlReply is an answer to a [ControlRequest].
type ControlReply struct {
	Ticket string
	Clock  int64
	// Node is the name of the node that answers. Value is its answer.
	Node  string
	Value Raw
}

// EncodeReply writes an answer to r, in the serializer of the request.
func EncodeReply(r *ControlRequest, reply ControlReply, deliveryTag string) ([]byte, error) {
	var w writer
	w.text("{")
	w.str(reply.Node)
	w.text(": ")
	w.verbatim(reply.Value)
	w.text("}")
	if w.err != nil {
		return nil, fmt.Errorf("encode control reply: %w", w.err)
	}
	headers := writer{}
	headers.text(`{"ticket": `)
	headers.str(r.Ticket)
	headers.text(`, "clock": `)
	headers.value(reply.Clock)
	headers.text("}")
	return broadcast{
		body: w.buf, headers: headers.buf, mode: 1,
		exchange: r.ReplyTo.Exchange, routingKey: r.ReplyTo.RoutingKey, deliveryTag: deliveryTag,
	}.append(nil, EncodeOptions{Serializer: r.ContentType})
}

// DecodeReply reads an answer of one node. The error is a *[DecodeError].
func (d *Decoder) DecodeReply(raw []byte) (*ControlReply, error) {
	m, body, err := d.object(raw)
	if err != nil {
		return nil, err
	}
	if len(body) != 1 {
		return nil, refuse(ReasonBadBody, "answer of %d nodes, expected one", len(body))
	}
	return &ControlReply{Ticket: text(m.Header("ticket")), Clock: clockOf(m), Node: body[0].Name, Value: body[0].Value}, nil
}
