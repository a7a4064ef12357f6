// Package shape finds the patterns that messages of a producer have in common.
//
// Messages of one producer differ only in quoted texts and in single digits. A verdict of
// the complete parser on one of them holds for all. claim.lua therefore gets the patterns
// of messages that were fine, and compares instead of parsing, in an eighth of the time.
package shape

import (
	"bytes"
	"slices"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

const (
	// Kept is the number of shapes that claim.lua gets. It compares a message that has
	// none of them with all.
	Kept = 4
	// longest and mostTexts bound the pattern of a shape, in bytes and in texts: each text
	// is a level of recursion in Lua.
	longest   = 4 << 10
	mostTexts = 64
	// largest bounds the messages that claim.lua compares with shapes, in bytes.
	largest = 4 << 10
	// plainText matches a text that needs no parsing: printable ASCII without quotes and
	// backslashes. Lua's patterns require the bracket first.
	plainText = `[]-~#-[ !]*`
)

// Shapes are patterns of Lua, the one learned last first.
type Shapes []string

// Args returns the arguments of claim.lua.
func (s Shapes) Args() []any {
	args := []any{len(s)}
	for _, pattern := range s {
		args = append(args, pattern)
	}
	return args
}

// Learn adds the shape of a message that claim.lua has claimed.
func (s *Shapes) Learn(raw []byte) {
	pattern, ok := Of(raw)
	if !ok || slices.Contains(*s, pattern) || protocol.Restorable(raw) != nil {
		return
	}
	*s = slices.Insert(*s, 0, pattern)
	*s = (*s)[:min(len(*s), Kept)]
}

// Of returns the pattern of all messages that differ from raw only in plain texts that
// are no keys, and in numbers of one digit. It is false for a message that has other than
// plain texts, or that may contain a typed object of kombu.
func Of(raw []byte) (pattern string, ok bool) {
	if bytes.Contains(raw, []byte("__type__")) || len(raw) > largest {
		return "", false
	}
	var p strings.Builder
	p.WriteByte('^')
	texts := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			n := bytes.IndexByte(raw[i+1:], '"')
			if n < 0 || slices.ContainsFunc(raw[i+1:i+1+n], func(c byte) bool { return c < ' ' || c > '~' || c == '\\' }) {
				return "", false
			}
			end := i + 1 + n
			p.WriteByte('"')
			if isKey(raw[end+1:]) {
				literal(&p, raw[i+1:end])
			} else {
				p.WriteString(plainText)
				texts++
			}
			p.WriteByte('"')
			i = end
		case isDigit(c) && !inNumber(raw, i-1) && !inNumber(raw, i+1):
			p.WriteString("%d")
		case c < ' ' || c > '~':
			return "", false
		default:
			literal(&p, raw[i:i+1])
		}
	}
	p.WriteByte('$')
	return p.String(), texts <= mostTexts && p.Len() <= longest
}

// isKey reports whether the text before rest is the name of a member.
func isKey(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " ")
	return len(rest) > 0 && rest[0] == ':'
}

// inNumber reports whether the byte at i may belong to a number.
func inNumber(raw []byte, i int) bool {
	return i >= 0 && i < len(raw) && (isDigit(raw[i]) || strings.IndexByte("+-.eE", raw[i]) >= 0)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// literal writes text that matches itself. It escapes only characters with a meaning in
// patterns, because unescaped ones are compared faster.
func literal(p *strings.Builder, text []byte) {
	for _, c := range text {
		if strings.IndexByte("^$()%.[]*+-?", c) >= 0 {
			p.WriteByte('%')
		}
		p.WriteByte(c)
	}
}
