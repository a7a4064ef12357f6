package protocol

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/evently/workers/worker/protocol/internal/compression"
)

// envelope holds the parts that kombu puts around the body.
type envelope struct {
	skim                               bool // headers are checked and not kept
	body, contentType, contentEncoding Raw

	known       fields   // headers that Celery or kombu defines
	headers     []Header // all others; values are copies
	headersKind kind     // null if there are none
	hasHeaders  bool     // there is such a member

	propertiesKind                               kind
	correlationID, replyTo, priority, expiration Raw
	bodyEncoding, deliveryTag                    Raw
	deliveryInfoKind                             kind
	exchange, routingKey, redelivered            Raw
	others                                       []Field // properties; values are copies
}

// members calls fn for every member of the next object. k is the kind of the value, also
// if it is no object.
func (s *scanner) members(fn func(key Raw) error) (k kind, err error) {
	ok, err := s.enter('{')
	if err != nil {
		return 0, err
	}
	if !ok {
		_, k, err := s.value()
		return k, err
	}
	for {
		more, err := s.next()
		if err != nil || !more {
			return kindObject, err
		}
		key, err := s.key()
		if err != nil {
			return 0, err
		}
		if err := fn(key); err != nil {
			return 0, err
		}
	}
}

// read walks once over the text. The last of equal members counts, as in Python.
func (e *envelope) read(raw []byte, lim Limits) error {
	s, err := newScanner(raw, lim)
	if err != nil {
		return err
	}
	k, err := s.members(func(key Raw) (err error) {
		switch string(bare(key)) {
		case "body":
			e.body, _, err = s.value()
		case "content-type":
			e.contentType, _, err = s.value()
		case "content-encoding":
			e.contentEncoding, _, err = s.value()
		case "headers":
			e.hasHeaders = true
			err = e.readHeaders(&s)
		case "properties":
			err = e.readProperties(&s)
		default:
			_, _, err = s.value()
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	if k != kindObject {
		return refuse(ReasonNotObject, "message is %v, expected object", k)
	}
	return nil
}

func (e *envelope) readHeaders(s *scanner) (err error) {
	if e.skim {
		_, e.headersKind, err = s.value()
		return err
	}
	e.known, e.headers = fields{}, nil
	e.headersKind, err = s.members(func(key Raw) error {
		v, _, err := s.value()
		if slot := e.known.slot(bare(key)); slot != nil {
			*slot = v
		} else if err == nil {
			e.headers = append(e.headers, Header{Name: unquote(key), Value: bytes.Clone(v)})
		}
		return err
	})
	return err
}

func (e *envelope) readProperties(s *scanner) (err error) {
	e.correlationID, e.replyTo, e.priority, e.expiration = nil, nil, nil, nil
	e.bodyEncoding, e.deliveryTag, e.others = nil, nil, nil
	e.resetDeliveryInfo()
	e.propertiesKind, err = s.members(func(key Raw) (err error) {
		switch string(bare(key)) {
		case "correlation_id":
			e.correlationID, _, err = s.value()
		case "reply_to":
			e.replyTo, _, err = s.value()
		case "priority":
			e.priority, _, err = s.value()
		case "expiration":
			e.expiration, _, err = s.value()
		case "body_encoding":
			e.bodyEncoding, _, err = s.value()
		case "delivery_tag":
			e.deliveryTag, _, err = s.value()
		case "delivery_info":
			err = e.readDeliveryInfo(s)
		case "delivery_mode":
			_, _, err = s.value()
		default:
			var v Raw
			name := unquote(key)
			if v, _, err = s.value(); err == nil {
				e.others = append(e.others, Field{Name: name, Value: bytes.Clone(v)})
			}
		}
		return err
	})
	return err
}

func (e *envelope) resetDeliveryInfo() {
	e.deliveryInfoKind = kindNull
	e.exchange, e.routingKey, e.redelivered = nil, nil, nil
}

func (e *envelope) readDeliveryInfo(s *scanner) (err error) {
	e.resetDeliveryInfo()
	e.deliveryInfoKind, err = s.members(func(key Raw) (err error) {
		switch string(bare(key)) {
		case "exchange":
			e.exchange, _, err = s.value()
		case "routing_key":
			e.routingKey, _, err = s.value()
		case "redelivered":
			e.redelivered, _, err = s.value()
		default:
			_, _, err = s.value()
		}
		return err
	})
	return err
}

// sound refuses an envelope that kombu cannot handle. kombu requires a delivery tag and
// accepts an empty one.
func (e *envelope) sound() error {
	if e.propertiesKind != kindObject {
		return refuse(ReasonNoProperties, "properties are %v", e.propertiesKind)
	}
	if t := e.deliveryTag; len(t) == 0 || t[0] == '{' || t[0] == '[' || string(t) == "null" {
		return &DecodeError{Reason: ReasonNoDeliveryTag}
	}
	if e.exchange == nil || e.routingKey == nil {
		return &DecodeError{Reason: ReasonNoDeliveryInfo}
	}
	if e.headersKind != kindNull && e.headersKind != kindObject {
		return refuse(ReasonNoHeaders, "headers are %v", e.headersKind)
	}
	return nil
}

// check refuses an envelope that is not sound and copies it into the message.
func (e *envelope) check(m *Message) error {
	if err := e.sound(); err != nil {
		return err
	}
	e.fill(m)
	return nil
}

// fill copies the parts that need no check.
func (e *envelope) fill(m *Message) {
	m.DeliveryTag = tag(e.deliveryTag)
	m.Exchange, m.RoutingKey = text(e.exchange), text(e.routingKey)
	m.Redelivered, _ = boolean(e.redelivered)
	m.CorrelationID, m.ReplyTo = text(e.correlationID), text(e.replyTo)
	m.Priority, m.Expiration = wholeNumber(e.priority), text(e.expiration)
	m.ContentType, m.ContentEncoding = text(e.contentType), text(e.contentEncoding)
	m.Properties = e.others
}

// tag returns a delivery tag: a string, or a number from foreign producers.
func tag(r Raw) string {
	switch {
	case len(r) == 0, r[0] == '{', r[0] == '[', string(r) == "null":
		return ""
	case r[0] == '"':
		return unquote(r)
	}
	return string(r)
}

// unpack returns a copy of the body as the serializer wrote it.
func (e *envelope) unpack(m *Message, lim Limits) ([]byte, error) {
	if !isText(e.body) {
		return nil, refuse(ReasonBadBody, "body is no string")
	}
	body := bare(e.body) // a span of memory that the caller owns
	packed, err := e.isBase64(body)
	if err != nil {
		return nil, err
	}
	if !packed {
		return e.decompress(m, bytes.Clone(body), lim)
	}
	if body, err = decodeBase64(body); err != nil {
		return nil, err
	}
	return e.decompress(m, body, lim)
}

// isBase64 reports whether the body is base64. For JSON that is not compressed it looks
// at the body, because some producers leave the property out and some never change it. A
// body begins with a bracket, which is no letter of base64.
func (e *envelope) isBase64(body []byte) (bool, error) {
	switch encoding := strings.ToLower(text(e.bodyEncoding)); {
	case encoding == "base64":
		return !beginsAsJSON(body), nil
	case encoding == "utf-8", encoding == "utf8", e.bodyEncoding.IsNull(), string(e.bodyEncoding) == `""`:
		json := strings.HasSuffix(contentType(text(e.contentType)), "/json")
		return json && e.known.compression.IsNull() && len(body) > 0 && !beginsAsJSON(body), nil
	}
	return false, refuse(ReasonBodyEncoding, "expected base64, utf-8 or null")
}

func beginsAsJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '[' || body[0] == '{')
}

// decodeBase64 decodes strictly first. If this fails, it skips bytes outside the
// alphabet, as Python's b64decode does.
func decodeBase64(text []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(out, text)
	if err == nil {
		return out[:n], nil
	}
	kept := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/', c == '=':
			kept = append(kept, c)
		}
	}
	if n, err = base64.StdEncoding.Decode(out, kept); err != nil {
		return nil, &DecodeError{Reason: ReasonBadBase64}
	}
	return out[:n], nil
}

// decompress undoes headers.compression.
func (e *envelope) decompress(m *Message, body []byte, lim Limits) ([]byte, error) {
	header := e.known.compression
	if header.IsNull() || string(header) == `""` {
		return body, nil
	}
	m.Compression = text(header)
	method, ok := compression.ByName(m.Compression)
	if !ok {
		// The error must not hold the name, which is content of the message.
		m.Compression = ""
		return nil, refuse(ReasonCompression, "unknown method")
	}
	return decompressBy(method, body, lim)
}

// Bodies of workflows repeat themselves and shrink to a fiftieth. A body that grows more
// than maxRatio times is a bomb, unless it is small.
const (
	maxRatio  = 100
	smallBomb = 1 << 20
)

// unpacked returns how many bytes a packed body may become.
func unpacked(packed, most int) int { return min(most, max(maxRatio*packed, smallBomb)) }

func decompressBy(method compression.Method, body []byte, lim Limits) ([]byte, error) {
	limit := unpacked(len(body), lim.Size)
	out, err := method.Decompress(body, limit)
	switch {
	case errors.Is(err, compression.ErrTooLarge):
		return nil, refuse(ReasonTooLarge, "unpacked body has more than %d bytes", limit)
	case err != nil:
		return nil, refuse(ReasonCompression, "%s: %w", method, err)
	}
	return out, nil
}

// Envelope holds the parts of a message that are readable without unpacking its body.
type Envelope struct {
	Task          string // "" with protocol 1, which has it in the body
	ID            string // task id; the correlation id if the headers have none
	RootID        string
	CorrelationID string
	GroupID       string // "" with protocol 1, which has it in the body
	Retries       int
	Priority      int // as sent; 0 when it is no number
	DeliveryTag   string
	Exchange      string
	RoutingKey    string
	Redelivered   bool
	ContentType   string
	Expires       time.Time // zero: never, or not readable
}

// ParseEnvelope reads the parts that are needed to put a message back or to list it. The
// message need only be a JSON object; absent parts and parts of the wrong type are left
// zero. The only limit is a depth of 1000. The error is a *[DecodeError].
func ParseEnvelope(raw []byte) (Envelope, error) {
	var e envelope
	if err := e.read(raw, tolerant(len(raw))); err != nil {
		return Envelope{}, err
	}
	return e.summary(), nil
}

func (e *envelope) summary() Envelope {
	out := Envelope{
		Task:          text(e.known.task),
		GroupID:       text(e.known.group),
		RootID:        text(e.known.rootID),
		CorrelationID: text(e.correlationID),
		Retries:       max(wholeNumber(e.known.retries), 0),
		Priority:      wholeNumber(e.priority),
		DeliveryTag:   tag(e.deliveryTag),
		Exchange:      text(e.exchange),
		RoutingKey:    text(e.routingKey),
		ContentType:   text(e.contentType),
	}
	if at := text(e.known.expires); at != "" {
		out.Expires, _ = ParseTime(at) // zero with an error
	}
	if out.ID, _ = name(e.known.id); out.ID == "" {
		out.ID = out.CorrelationID
	}
	info, _ := boolean(e.redelivered)
	header, _ := boolean(e.known.redelivered)
	out.Redelivered = info || header
	return out
}
