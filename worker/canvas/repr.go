package canvas

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/worker/protocol"
)

// Celery shows arguments as Python does, up to this length and depth.
const (
	reprLength = 1024
	reprLevels = 3
)

// ArgsRepr returns an array of positional arguments as Celery shows it in a
// message (argsrepr), at most about 1024 characters long.
func ArgsRepr(args protocol.Raw, tuple bool) string {
	items, err := args.Elements()
	if err != nil {
		return "?"
	}
	return reprArgs(items, tuple)
}

// KwargsRepr returns an object of keyword arguments as Celery shows it in a message
// (kwargsrepr), at most about 1024 characters long.
func KwargsRepr(kwargs protocol.Raw) string {
	fields, err := kwargs.Fields()
	if err != nil {
		return "?"
	}
	return reprKwargs(fields)
}

// SafeRepr returns any JSON value as Celery shows a result in an event, at most
// about 1024 characters long.
func SafeRepr(raw protocol.Raw) string {
	r := repr{left: reprLength, levels: reprLevels}
	r.value(raw, 0)
	return r.String()
}

func reprArgs(args []protocol.Raw, tuple bool) string {
	r := repr{left: reprLength, levels: reprLevels}
	opening, closing := "[", "]"
	if tuple || len(args) == 0 {
		if opening, closing = "(", ")"; len(args) == 1 {
			closing = ",)"
		}
	}
	r.sequence(opening, args, closing, 1)
	return r.String()
}

func reprKwargs(kwargs []protocol.Field) string {
	r := repr{left: reprLength, levels: reprLevels}
	r.object(kwargs, 1)
	return r.String()
}

// Repr returns a JSON value as Python shows it, in full.
func Repr(raw protocol.Raw) string {
	r := repr{left: len(raw)*6 + reprLength, levels: 1000, quotes: true}
	r.value(raw, 0)
	return r.String()
}

// repr writes values until its length is used up, then "...".
type repr struct {
	strings.Builder
	left   int
	levels int
	quotes bool // choose quotes as Python does, not as Celery does
}

func (r *repr) text(s string) {
	r.WriteString(s)
	r.left -= utf8.RuneCountInString(s)
}

func (r *repr) sequence(opening string, items []protocol.Raw, closing string, level int) {
	r.text(opening)
	for i, item := range items {
		if r.left <= 0 {
			r.WriteString(", ...")
			break
		}
		if i > 0 {
			r.text(", ")
		}
		r.value(item, level)
	}
	r.text(closing)
}

func (r *repr) object(fields []protocol.Field, level int) {
	r.text("{")
	for i, f := range fields {
		if r.left <= 0 {
			r.WriteString(", ...")
			break
		}
		if i > 0 {
			r.text(", ")
		}
		r.str(f.Name)
		r.text(": ")
		r.value(f.Value, level)
	}
	r.text("}")
}

func (r *repr) value(raw protocol.Raw, level int) {
	s := strings.TrimSpace(string(raw))
	switch {
	case s == "" || s == "null":
		r.text("None")
	case s == "true":
		r.text("True")
	case s == "false":
		r.text("False")
	case s[0] == '"':
		var text string
		if protocol.Unmarshal(raw, &text) != nil {
			text = "?"
		}
		r.str(text)
	case s[0] == '[':
		if level >= r.levels {
			r.text("[...]")
			return
		}
		items, err := raw.Elements()
		if err != nil {
			r.text("?")
			return
		}
		r.sequence("[", items, "]", level+1)
	case s[0] == '{':
		if level >= r.levels {
			r.text("{...}")
			return
		}
		fields, err := raw.Fields()
		if err != nil {
			r.text("?")
			return
		}
		r.object(fields, level+1)
	default:
		r.number(s)
	}
}

func (r *repr) number(s string) {
	switch {
	case s == "NaN":
		s = "nan"
	case strings.HasSuffix(s, "Infinity"):
		s = strings.Replace(s, "Infinity", "inf", 1)
	case strings.ContainsAny(s, ".eE"):
		var f float64
		if protocol.Unmarshal(protocol.Raw(s), &f) == nil {
			if b, err := protocol.Marshal(f); err == nil {
				s = strings.Replace(string(b), "Infinity", "inf", 1)
			}
		}
	}
	r.text(s)
}

// str writes a string. Celery always takes single quotes and escapes nothing else. Python
// prefers quotes that need no escape.
func (r *repr) str(s string) {
	if !r.quotes {
		if n := utf8.RuneCountInString(s); n > r.left {
			s = string([]rune(s)[:max(r.left-3, 0)]) + "..."
		}
		r.text("'" + strings.ReplaceAll(s, "'", `\'`) + "'")
		return
	}
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	b := []rune{quote}
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case !unicode.IsPrint(c):
			b = append(b, hexEscape(c)...)
		default:
			b = append(b, c)
		}
	}
	r.text(string(append(b, quote)))
}

func hexEscape(c rune) []rune {
	const digits = "0123456789abcdef"
	kind, n := 'x', 2
	if c > 0xffff {
		kind, n = 'U', 8
	} else if c > 0xff {
		kind, n = 'u', 4
	}
	b := []rune{}
	for ; n > 0; n-- {
		b = append(b, rune(digits[c&15]))
		c >>= 4
	}
	slices.Reverse(b)
	return append([]rune{'\\', kind}, b...)
}

// ReprText returns the repr of a text.
func ReprText(s string) string {
	raw, err := protocol.Marshal(s)
	if err != nil {
		return "''"
	}
	return Repr(raw)
}
