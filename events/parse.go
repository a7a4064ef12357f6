package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

// MaxSize is the greatest size of an event, in bytes. An event of the platform has about 500.
const MaxSize = 64 << 10

// Bounds of values, in bytes.
const (
	maxDepth = 20  // of objects and arrays; the events of the platform have 2
	maxID    = 200 // of an id
	maxText  = 2000
	maxName  = 300 // of the name of an event
)

// Reason is why an event was refused, for metrics and logs. The event itself is in neither.
type Reason string

// The reasons.
const (
	TooLarge     Reason = "too_large"
	NotJSON      Reason = "not_json"
	TooDeep      Reason = "too_deep"
	WrongType    Reason = "wrong_type" // of the event, for its channel
	MissingField Reason = "missing_field"
	BadField     Reason = "bad_field"
	Contradicts  Reason = "contradicts" // two fields that must be equal differ
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{TooLarge, NotJSON, TooDeep, WrongType, MissingField, BadField, Contradicts}
}

// ParseError is why an event was refused. It names a field of ours, never a value.
type ParseError struct {
	Reason Reason
	Field  string // "" for none
}

func (e *ParseError) Error() string {
	text := "event is refused: " + strings.ReplaceAll(string(e.Reason), "_", " ")
	if e.Field != "" {
		text += ": " + e.Field
	}
	return text
}

// object is an object of JSON.
type object map[string]json.RawMessage

// Mail is what an event asks for.
type Mail struct {
	ID      string // of the task; the same for every worker that hears the event
	EventID string // of what is booked; "" if the event does not tell
	UserID  protocol.Raw
	Data    map[string]json.RawMessage // of the task, without the name of the event
}

// namespace is that of the ids of tasks that were events.
var namespace = uuid.MustParse("6f1c9f2e-5f0b-5d0e-9a53-0f6d3f8f3c11")

// Parse reads an event of c. Its errors are ParseErrors.
func (c *Channel) Parse(raw []byte) (m Mail, err error) {
	top, err := parse(raw, c.typ)
	if err != nil {
		return Mail{}, err
	}
	data, err := top.object(c.data)
	if err != nil {
		return Mail{}, err
	}
	id, err := same(top, data, c.id, "id", idOf)
	if err != nil {
		return Mail{}, err
	}
	user, err := same(top, data, "user_id", "user_id", userOf)
	if err != nil {
		return Mail{}, err
	}
	if id == "" || user == "" {
		field := c.id
		if id != "" {
			field = "user_id"
		}
		return Mail{}, &ParseError{MissingField, field}
	}
	m = Mail{ID: uuid.NewSHA1(namespace, []byte(c.Task+" "+id)).String(), UserID: protocol.Raw(user), Data: c.mail(data)}
	if m.EventID, err = same(top, data, "event_id", "event_id", idOf); err != nil {
		return Mail{}, err
	}
	key := "booking_id"
	if c.data == "waitlist_data" {
		key = "waitlist_id"
	}
	m.Data[key] = quoteID(id)
	return m, nil
}

// named is what an event tells of the name of what is booked.
type named struct {
	id, name string
	deleted  bool
}

// parseName reads an event of one of the channels of names.
func parseName(channel string, raw []byte) (n named, err error) {
	top, err := parse(raw, nameTypes[channel])
	if err != nil {
		return named{}, err
	}
	n.deleted = channel == eventDeleted
	data := object{}
	if !n.deleted {
		if data, err = top.object("event_data"); err != nil {
			return named{}, err
		}
	}
	if n.id, err = same(top, data, "event_id", "id", idOf); err != nil {
		return named{}, err
	}
	if n.id == "" {
		return named{}, &ParseError{MissingField, "event_id"}
	}
	if n.deleted {
		return n, nil
	}
	for _, key := range []string{"name", "title"} {
		if n.name = tidyName(data.text(key)); n.name != "" {
			return n, nil
		}
	}
	return named{}, &ParseError{MissingField, "event_data.name"}
}

// parse reads an event of a type.
func parse(raw []byte, typ string) (object, error) {
	if len(raw) > MaxSize {
		return nil, &ParseError{Reason: TooLarge}
	}
	if depth(raw) > maxDepth {
		return nil, &ParseError{Reason: TooDeep}
	}
	var top object
	if !utf8.Valid(raw) || json.Unmarshal(withoutNaN(raw), &top) != nil || top == nil {
		return nil, &ParseError{Reason: NotJSON}
	}
	switch got := top.text("type"); {
	case top.missing("type"):
		return nil, &ParseError{MissingField, "type"}
	case got != typ:
		return nil, &ParseError{Reason: WrongType}
	}
	return top, nil
}

// depth returns how many objects and arrays are inside of each other, at least.
func depth(raw []byte) (most int) {
	n, inText := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			n++
			most = max(most, n)
		case c == '}' || c == ']':
			n--
		}
	}
	return most
}

// withoutNaN returns an event with null for the numbers that Python writes and JSON lacks: NaN,
// Infinity and -Infinity.
func withoutNaN(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("NaN")) && !bytes.Contains(raw, []byte("Infinity")) {
		return raw
	}
	out, inText := make([]byte, 0, len(raw)), false
	for i := 0; i < len(raw); {
		rest := raw[i:]
		n := 1
		switch {
		case inText && rest[0] == '\\':
			n = min(2, len(rest))
		case rest[0] == '"':
			inText = !inText
		case !inText:
			for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(rest, []byte(word)) {
					rest, n, i = []byte("null"), 4, i+len(word)-4
				}
			}
		}
		out = append(out, rest[:n]...)
		i += n
	}
	return out
}

func (o object) missing(key string) bool {
	raw, ok := o[key]
	return !ok || string(raw) == "null"
}

// object returns an object inside of o.
func (o object) object(key string) (inner object, err error) {
	if o.missing(key) {
		return nil, &ParseError{MissingField, key}
	}
	if json.Unmarshal(o[key], &inner) != nil || inner == nil {
		return nil, &ParseError{BadField, key}
	}
	return inner, nil
}

// text returns a text, "" for any other value.
func (o object) text(key string) (text string) {
	if json.Unmarshal(o[key], &text) != nil {
		return ""
	}
	return text
}

// scalar returns a number or a text that is not too long, nil for any other value.
func (o object) scalar(key string) json.RawMessage {
	raw := o[key]
	if len(raw) == 0 || len(raw) > maxText || raw[0] != '"' && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return nil
	}
	return raw
}

// same returns the value of a key, which stands outside of the data, inside of it or in both. read
// returns "" for a value that is no such one.
func same(top, data object, outer, inner string, read func(json.RawMessage) string) (value string, err error) {
	for _, place := range []struct {
		o   object
		key string
	}{{top, outer}, {data, inner}} {
		if place.o.missing(place.key) {
			continue
		}
		found := read(place.o[place.key])
		switch {
		case found == "":
			return "", &ParseError{BadField, outer}
		case value != "" && value != found:
			return "", &ParseError{Contradicts, outer}
		}
		value = found
	}
	return value, nil
}

// idOf reads an id: a whole number, or a text without control characters.
func idOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		text = strings.TrimSpace(text)
		if len(text) > maxID || strings.ContainsFunc(text, unicode.IsControl) || strings.ContainsRune(text, utf8.RuneError) {
			return ""
		}
		return text
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// userOf reads the id of a user: a whole number above 0, or one as a text.
func userOf(raw json.RawMessage) string {
	n, err := strconv.ParseInt(idOf(raw), 10, 64)
	if err != nil || n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// quoteID returns an id as producers write it: a number as one.
func quoteID(id string) json.RawMessage {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil && strconv.FormatInt(n, 10) == id {
		return json.RawMessage(id)
	}
	return quote(id)
}

func quote(text string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a text can be encoded
	return bytes.TrimSpace(b.Bytes())
}

// tidyName returns the name of an event in one line, not too long.
func tidyName(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError }), " ")
	for len(name) > maxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name
}

// An event lacks some of the data of its task. The mail leaves out what it does not know: the
// defaults of tasks, such as position 1, would be guesses.

func confirmation(d object) object {
	return object{
		"quantity":             or(d.scalar("quantity"), `0`),
		"total_price":          or(d.scalar("total_amount"), unstated),
		"currency":             or(d.scalar("currency"), `null`),
		"booking_date":         or(d.scalar("created_at"), d.scalar("confirmed_at"), `null`),
		tasks.BookingReference: or(d.scalar("booking_reference"), `null`),
	}
}

func cancellation(d object) object {
	return object{
		"reason":               or(d.scalar("cancellation_reason"), `"Not stated"`),
		"refund_amount":        json.RawMessage(unstated), // total_amount is what was paid
		"cancellation_date":    or(d.scalar("cancelled_at"), `null`),
		tasks.BookingReference: or(d.scalar("booking_reference"), `null`),
	}
}

func waitlistJoined(d object) object {
	return object{
		"position":    json.RawMessage(`0`), // priority is another number
		"joined_date": or(d.scalar("joined_at"), d.scalar("created_at"), `null`),
	}
}

func waitlistCancelled(d object) object {
	return object{"cancellation_date": or(d.scalar("cancelled_at"), d.scalar("updated_at"), `null`)}
}

// unstated is an amount that the mail leaves out.
var unstated = fmt.Sprintf("%q", tasks.Unstated)

// or returns the first value that is not nil. The last one may be a text.
func or(values ...any) json.RawMessage {
	for _, v := range values {
		switch v := v.(type) {
		case json.RawMessage:
			if v != nil {
				return v
			}
		case string:
			return json.RawMessage(v)
		}
	}
	return nil
}
