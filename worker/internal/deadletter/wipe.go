package deadletter

import (
	"strings"
	"unicode"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Limits of the shape that a wiped message keeps.
const (
	deepest = 6
	longest = 21 // elements of a list or an object
)

// Wipe returns a message with the shape of the arguments and without any value: texts are empty,
// numbers 0, and names that may be data are replaced. Callbacks, stamps and the headers and
// properties of the application are left out. It returns nil for bytes that are no message, and for
// a message above a megabyte.
func Wipe(raw []byte) []byte {
	m := decode(raw)
	if m == nil {
		return nil
	}
	w := protocol.Message{
		ID: m.ID, Task: m.Task, RootID: m.RootID, ParentID: m.ParentID, Lang: m.Lang, Origin: m.Origin, Retries: m.Retries,
		ETA: m.ETA, Expires: m.Expires, DeliveryTag: m.DeliveryTag, Exchange: m.Exchange, RoutingKey: m.RoutingKey, Priority: m.Priority,
		Args: blank(nil, m.Args, 0), Kwargs: blank(nil, m.Kwargs, 0),
	}
	for _, name := range []string{broker.SetAsideHeader, broker.ReplacesHeader} {
		if value := m.Header(name); value != nil {
			w.SetHeader(name, value)
		}
	}
	if w.DeliveryTag == "" {
		w.DeliveryTag = "wiped"
	}
	wiped, err := protocol.Encode(&w)
	if err != nil {
		return nil
	}
	return wiped
}

// mark begins the stored form of a wiped message. Earlier versions would put a message without its
// values back into its queue; with the mark they cannot read it.
const mark = "wiped "

// Mark returns the stored form of a wiped message.
func Mark(wiped []byte) []byte { return append([]byte(mark), wiped...) }

// Unmark returns the message of the stored form, nil when nothing is left of it.
func Unmark(raw []byte) []byte {
	if len(raw) <= len(mark) {
		return nil
	}
	return raw[len(mark):]
}

// blank appends a value without its content.
func blank(dst []byte, r protocol.Raw, depth int) []byte {
	text := strings.TrimSpace(string(r))
	if text == "" {
		return append(dst, "null"...)
	}
	if depth > deepest && (text[0] == '[' || text[0] == '{') {
		return append(dst, text[0], text[0]+2) // the closing one is two behind, in ASCII
	}
	switch text[0] {
	case '[':
		dst = append(dst, '[')
		n := 0
		_ = r.EachElement(func(e protocol.Raw) bool {
			dst = blank(separate(dst, n), e, depth+1)
			n++
			return n < longest
		})
		return append(dst, ']')
	case '{':
		dst = append(dst, '{')
		n := 0
		_ = r.EachField(func(f protocol.Field) bool {
			dst = protocol.AppendString(separate(dst, n), name(f.Name))
			dst = blank(append(dst, ": "...), f.Value, depth+1)
			n++
			return n < longest
		})
		return append(dst, '}')
	case '"':
		return append(dst, `""`...)
	case 't', 'f':
		return append(dst, "false"...)
	case 'n':
		return append(dst, "null"...)
	}
	return append(dst, '0')
}

func separate(dst []byte, n int) []byte {
	if n > 0 {
		return append(dst, ", "...)
	}
	return dst
}

// name returns a name as programs have them. Any other name may be data.
func name(text string) string {
	const most = 40
	if text == "" || len(text) > most || unicode.IsDigit(rune(text[0])) {
		return "(name)"
	}
	for _, r := range text {
		if r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return "(name)"
		}
	}
	return text
}
