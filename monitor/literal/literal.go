// Package literal reads what Python's repr shows of the arguments of a task, as events and
// message headers carry it.
package literal

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// errNone says that a text is no literal of Python, or was cut.
var errNone = errors.New("no literal of Python")

// JSON returns the JSON of a literal: a text, a number, a boolean, None, and lists, tuples and
// dictionaries of them. ok is false for another text, such as one that was cut.
func JSON(repr string) (value []byte, ok bool) {
	p := parser{text: strings.TrimSpace(repr)}
	v, err := p.value(0)
	if err != nil || p.pos != len(p.text) {
		return nil, false
	}
	value, err = json.Marshal(v)
	return value, err == nil
}

type parser struct {
	text string
	pos  int
}

const deepest = 32

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// take reports whether the next character is c, and skips it.
func (p *parser) take(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		p.space()
		return true
	}
	return false
}

func (p *parser) value(depth int) (any, error) {
	p.space()
	if depth > deepest || p.pos >= len(p.text) {
		return nil, errNone
	}
	switch c := p.text[p.pos]; c {
	case '[', '(':
		p.pos++
		return p.list(depth, map[byte]byte{'[': ']', '(': ')'}[c])
	case '{':
		p.pos++
		return p.dictionary(depth)
	case '\'', '"':
		return p.quoted(c)
	}
	return p.word()
}

func (p *parser) list(depth int, end byte) (any, error) {
	all := []any{}
	for !p.take(end) {
		if len(all) > 0 {
			if !p.take(',') {
				return nil, errNone
			}
			if p.take(end) { // of a tuple with one element
				break
			}
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (p *parser) dictionary(depth int) (any, error) {
	all := map[string]any{}
	for first := true; !p.take('}'); first = false {
		if !first && !p.take(',') {
			return nil, errNone
		}
		key, err := p.value(depth + 1)
		name, isText := key.(string)
		if err != nil || !isText || !p.take(':') {
			return nil, errNone
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		all[name] = v
	}
	return all, nil
}

// quoted reads a text.
func (p *parser) quoted(quote byte) (any, error) {
	var b strings.Builder
	for rest := p.text[p.pos+1:]; len(rest) > 0; {
		if rest[0] == quote {
			p.pos = len(p.text) - len(rest) + 1
			return b.String(), nil
		}
		if strings.HasPrefix(rest, `\'`) || strings.HasPrefix(rest, `\"`) {
			b.WriteByte(rest[1])
			rest = rest[2:]
			continue
		}
		r, _, tail, err := strconv.UnquoteChar(rest, 0) // \xe4 is U+00E4 in a text of Python
		if err != nil {
			return nil, errNone
		}
		b.WriteRune(r)
		rest = tail
	}
	return nil, errNone
}

func (p *parser) word() (any, error) {
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(",:]}) \t\r\n", p.text[p.pos]) < 0 {
		p.pos++
	}
	switch word := p.text[start:p.pos]; {
	case word == "None":
		return nil, nil
	case word == "True" || word == "False":
		return word == "True", nil
	case word != "" && json.Valid([]byte(word)) && strings.IndexByte("-0123456789", word[0]) >= 0:
		return json.Number(word), nil
	}
	return nil, errNone
}
