package redis

import (
	"bytes"
	"slices"
	"strings"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Producers write their messages all alike: but for what stands between quotes, and a
// digit here and there, thousands are the same. What a complete parser has said of one
// of them is true of all. So claim.lua is told what the usual ones look like, and need
// not take these to pieces: it compares, in an eighth of the time.

const (
	// shapesKept is how many shapes claim.lua is told. A message that has none of them is
	// compared with all.
	shapesKept = 4
	// shapeLongest and shapeTexts bound the pattern of a shape, in bytes and in texts: each
	// text is a level of recursion in Lua.
	shapeLongest = 4 << 10
	shapeTexts   = 64
	// shapedMost is the longest message that claim.lua compares with them, in bytes.
	shapedMost = 4 << 10
	// plainText is what there may be between the quotes of a text that needs no reading:
	// ASCII that can be printed, without quotes and backslashes. As Lua's patterns want
	// it, a bracket comes first.
	plainText = `[]-~#-[ !]*`
)

// shapes are patterns of Lua, the one learned last first.
type shapes []string

// args are what claim.lua takes of them.
func (s shapes) args() []any {
	args := []any{len(s)}
	for _, pattern := range s {
		args = append(args, pattern)
	}
	return args
}

// learn adds the shape of one of those messages that claim.lua has claimed. Of others it
// may be the turn next time.
func (s *shapes) learn(ds []broker.Delivery) {
	if len(ds) == 0 {
		return
	}
	raw := ds[len(ds)-1].Raw
	pattern, ok := shapeOf(raw)
	if !ok || slices.Contains(*s, pattern) || protocol.Restorable(raw) != nil {
		return
	}
	*s = slices.Insert(*s, 0, pattern)
	*s = (*s)[:min(len(*s), shapesKept)]
}

// shapeOf returns the pattern of all messages that differ from raw in nothing but plain
// texts that are no keys, and in numbers of one digit. It is false for a message
// that has something else than plain texts, or may have a typed object of kombu.
func shapeOf(raw []byte) (pattern string, ok bool) {
	if bytes.Contains(raw, []byte("__type__")) || len(raw) > shapedMost {
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
	return p.String(), texts <= shapeTexts && p.Len() <= shapeLongest
}

// isKey reports whether what stands before rest is the name of a member.
func isKey(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " ")
	return len(rest) > 0 && rest[0] == ':'
}

// inNumber reports whether the byte at i may belong to a number.
func inNumber(raw []byte, i int) bool {
	return i >= 0 && i < len(raw) && (isDigit(raw[i]) || strings.IndexByte("+-.eE", raw[i]) >= 0)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// literal writes what stands for itself. Only what means something in a pattern is
// escaped: everything else is compared faster as it is.
func literal(p *strings.Builder, text []byte) {
	for _, c := range text {
		if strings.IndexByte("^$()%.[]*+-?", c) >= 0 {
			p.WriteByte('%')
		}
		p.WriteByte(c)
	}
}
