package bounce

import (
	"mime"
	"strings"

	"github.com/emersion/go-message"
)

// header is a list of fields in the order of the message.
type header []field

type field struct {
	name  string // in lower case
	value string // unfolded and trimmed, not decoded
}

// get returns the value of the first field of a name, which is in lower case.
func (h header) get(name string) string {
	for i := range h {
		if h[i].name == name {
			return h[i].value
		}
	}
	return ""
}

// has reports whether there is a field of a name.
func (h header) has(name string) bool {
	for i := range h {
		if h[i].name == name {
			return true
		}
	}
	return false
}

// text returns the value of the first field of a name, with encoded words decoded.
func (h header) text(name string) string { return decodeWords(h.get(name)) }

// readHeader reads fields up to the first empty line, and returns the rest. Lines that are no
// fields are skipped: servers add such lines to headers that they return.
func readHeader(text string) (h header, rest string) {
	rest = text
	for rest != "" {
		line, after := cutLine(rest)
		if strings.TrimSpace(line) == "" {
			return h, after
		}
		name, value, ok := cutField(line)
		switch {
		case ok && len(h) < maxFields:
			h = append(h, field{name, value})
		case len(h) > 0 && isFolded(line):
			last := &h[len(h)-1]
			last.value = joinWords(last.value, line)
		case len(h) == 0 && !ok && !isEnvelopeLine(line):
			return nil, text // a body without a header
		}
		rest = after
	}
	return h, ""
}

// cutLine returns the first line of a text and the rest.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return line, rest
}

// cutField splits a line into the name of a field in lower case and its value.
func cutField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || len(name) > 76 {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return "", "", false
		}
	}
	return strings.ToLower(name), strings.TrimSpace(value), true
}

// isFolded reports whether a line continues the field before it.
func isFolded(line string) bool { return line != "" && (line[0] == ' ' || line[0] == '\t') }

// isEnvelopeLine reports whether a line is the separator of a mailbox file.
func isEnvelopeLine(line string) bool {
	return strings.HasPrefix(strings.TrimLeft(line, ">"), "From ")
}

// joinWords joins two pieces of a folded value. Values of hostile headers stay short.
func joinWords(value, more string) string {
	more = clip(strings.TrimSpace(more), 8<<10)
	switch {
	case len(value) > 8<<10:
		return value
	case value == "":
		return more
	}
	return value + " " + more
}

// decodeWords decodes the encoded words of RFC 2047 in a value, and repairs broken UTF-8.
func decodeWords(value string) string {
	if !strings.Contains(value, "=?") {
		return toUTF8(value)
	}
	decoder := mime.WordDecoder{CharsetReader: message.CharsetReader}
	decoded, err := decoder.DecodeHeader(value)
	if err != nil {
		return toUTF8(value)
	}
	return toUTF8(decoded)
}
