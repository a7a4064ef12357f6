package protocol

import (
	"bytes"
	"math"
	"strconv"
)

// Entry is one value of the hash "unacked", in which kombu keeps messages that were
// fetched and not acknowledged.
type Entry struct {
	Raw        []byte // the message, exactly as it was in the queue
	Exchange   string
	RoutingKey string
}

// ParseEntry reads [message, exchange, routing key]. Raw is a span of b. The message must
// be an object; it need not be decodable. The error is a *[DecodeError].
func ParseEntry(b []byte) (Entry, error) {
	parts, err := Raw(b).Elements()
	if err != nil {
		return Entry{}, err
	}
	if len(parts) != 3 {
		return Entry{}, refuse(ReasonBadBody, "entry of %d elements, expected message, exchange and routing key", len(parts))
	}
	if parts[0][0] != '{' {
		return Entry{}, refuse(ReasonNotObject, "message of the entry is no object")
	}
	for _, p := range parts[1:] {
		if !isText(p) && !p.IsNull() {
			return Entry{}, refuse(ReasonBadBody, "exchange or routing key of the entry is no string")
		}
	}
	return Entry{Raw: parts[0], Exchange: text(parts[1]), RoutingKey: text(parts[2])}, nil
}

// EncodeEntry writes an entry around the unchanged text of the message. It has exactly
// three elements, because a fourth makes Python workers fail at every scan.
func EncodeEntry(e Entry) []byte {
	return AppendEntry(make([]byte, 0, len(e.Raw)+len(e.RoutingKey)+len(e.Exchange)+16), e)
}

// AppendEntry appends what [EncodeEntry] returns to b.
func AppendEntry(b []byte, e Entry) []byte {
	b = append(b, '[')
	b = append(b, e.Raw...)
	b = append(b, ", "...)
	b = appendQuoted(b, e.Exchange)
	b = append(b, ", "...)
	b = appendQuoted(b, e.RoutingKey)
	return append(b, ']')
}

// MarkRedelivered sets headers.redelivered and properties.delivery_info.redelivered to
// true, as kombu does when it puts a message back. Every other byte stays as it is. A
// container that is missing or no object is skipped. The error is a *[DecodeError].
func MarkRedelivered(raw []byte) ([]byte, error) {
	s, err := newScanner(raw, tolerant(len(raw)))
	if err != nil {
		return nil, err
	}
	// Python takes the last of equal members, so the last one is marked.
	var headers, info *mark
	k, err := s.members(func(key Raw) (err error) {
		switch string(bare(key)) {
		case "headers":
			headers, err = s.findMark()
		case "properties":
			info = nil
			_, err = s.members(func(key Raw) (err error) {
				if string(bare(key)) == "delivery_info" {
					info, err = s.findMark()
					return err
				}
				_, _, err = s.value()
				return err
			})
		default:
			_, _, err = s.value()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if k != kindObject {
		return nil, refuse(ReasonNotObject, "message is %v, expected object", k)
	}
	if headers != nil && info != nil && info.start < headers.start {
		headers, info = info, headers
	}
	out := make([]byte, 0, len(raw)+64)
	done := 0
	for _, m := range []*mark{headers, info} {
		if m == nil {
			continue
		}
		out = append(out, raw[done:m.start]...)
		out = append(out, m.text...)
		done = m.end
	}
	return append(out, raw[done:]...), nil
}

// WithoutETA sets headers.eta to null, so that the task may run at once. Every other byte stays
// as it is. The error is a *[DecodeError]. A message of protocol 1, which has its eta in the
// body, is refused.
func WithoutETA(raw []byte) ([]byte, error) {
	s, err := newScanner(raw, tolerant(len(raw)))
	if err != nil {
		return nil, err
	}
	var spans []mark
	k, err := s.members(func(key Raw) (err error) {
		if string(bare(key)) != "headers" {
			_, _, err = s.value()
			return err
		}
		spans = spans[:0] // the last one of equal members counts
		_, err = s.members(func(key Raw) error {
			v, _, err := s.value()
			if err == nil && string(bare(key)) == "eta" {
				spans = append(spans, mark{start: s.pos - len(v), end: s.pos, text: "null"})
			}
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if k != kindObject || len(spans) == 0 {
		return nil, refuse(ReasonNoHeaders, "message has no header eta")
	}
	out, done := make([]byte, 0, len(raw)), 0
	for _, m := range spans {
		out = append(append(out, raw[done:m.start]...), m.text...)
		done = m.end
	}
	return append(out, raw[done:]...), nil
}

// mark is a replacement of raw[start:end].
type mark struct {
	start, end int
	text       string
}

// findMark reads the next object and returns the change that sets "redelivered" to true
// in it, nil if it is no object.
func (s *scanner) findMark() (*mark, error) {
	s.space()
	m := mark{start: s.pos + 1, end: s.pos + 1, text: `"redelivered": true`}
	found := false
	k, err := s.members(func(key Raw) error {
		name := string(bare(key))
		v, _, err := s.value()
		switch {
		case err != nil:
			return err
		case name == "redelivered":
			found = true
			m = mark{start: s.pos - len(v), end: s.pos, text: "true"}
		case !found:
			m = mark{start: s.pos, end: s.pos, text: `, "redelivered": true`}
		}
		return nil
	})
	if err != nil || k != kindObject {
		return nil, err
	}
	return &m, nil
}

// Restorable returns nil if a Python worker that claims raw can put it back into its
// queue. raw must be strict JSON, have the parts of an envelope that kombu reads, and
// hold no typed object that kombu refuses. The body and the headers of the task are not
// checked. The error is a *[DecodeError].
//
// A message that is not restorable must never enter the unacked set, because it would
// crash every Python worker that shares the broker, again and again.
func Restorable(raw []byte) error {
	e := envelope{skim: true}
	lim := tolerant(len(raw))
	lim.Depth = maxRestorableDepth
	if err := e.read(raw, lim); err != nil {
		return err
	}
	return e.restorable(raw)
}

// restorable checks raw after it was read.
func (e *envelope) restorable(raw []byte) error {
	if err := e.sound(); err != nil {
		return err
	}
	// kombu accepts a message without headers, as old producers of protocol 1 write it.
	// Headers of another type make it fail.
	if e.hasHeaders && e.headersKind != kindObject {
		return refuse(ReasonNoHeaders, "headers are %v", e.headersKind)
	}
	if !isText(e.body) {
		return refuse(ReasonBadBody, "body is no string")
	}
	if !isText(e.exchange) || !isText(e.routingKey) {
		return refuse(ReasonNoDeliveryInfo, "exchange and routing key must be strings")
	}
	// Python cannot turn an infinite priority into an integer, and kombu drops the
	// message.
	if infinite(e.priority) {
		return refuse(ReasonBadPriority, "priority is infinite")
	}
	if mayBeTyped(raw) {
		return typesKnown(raw)
	}
	return nil
}

// infinite reports whether Python reads a value as an infinite number. Numbers that are
// too large are infinite.
func infinite(r Raw) bool {
	if len(r) < 2 || isText(r) {
		return false
	}
	f, _ := strconv.ParseFloat(string(r), 64)
	return math.IsInf(f, 0) && bytes.ContainsAny(r, ".eEIy") // an integer may have any length
}

// mayBeTyped reports whether a value may hold a typed object: it contains the key, or
// escapes that could spell it.
func mayBeTyped(raw []byte) bool {
	return bytes.Contains(raw, []byte("__type__")) || bytes.Contains(raw, []byte(`\u`))
}

// maxRestorableDepth is well below the depth at which Python's parser fails in a worker.
const maxRestorableDepth = 500

// typesKnown refuses a value that holds a typed object of a type that kombu does not
// know, or with a wrong value.
func typesKnown(r Raw) error {
	r = trim(r)
	switch r[0] {
	case '[':
		elements, err := r.Elements()
		if err != nil {
			return err
		}
		for _, e := range elements {
			if err := typesKnown(e); err != nil {
				return err
			}
		}
	case '{':
		fields, err := r.Fields()
		if err != nil {
			return err
		}
		if typ, value, ok := r.typed(); ok {
			if typ == "uuid" {
				return nil
			}
			if _, ok := typedText(typ, text(value)); !ok || !isText(value) {
				return refuse(ReasonBadBody, "typed object that kombu does not know")
			}
			return nil
		}
		for _, f := range fields {
			if err := typesKnown(f.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
