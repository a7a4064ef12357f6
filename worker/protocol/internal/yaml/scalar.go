package yaml

import "unicode/utf8"

// plain reads a scalar without quotes, over several lines if they are indented
// deeper than the block around it.
func (s *scanner) plain() {
	var text []byte
	spaces := ""
	indent := s.indent + 1
	start, single := s.pos, true // the scalar is one span of the input
	for s.at(0) != '#' {
		n := 0
		for !s.blankAt(n) && !s.plainEnd(n) {
			n++
		}
		if n == 0 {
			break
		}
		s.allowKey = false
		if text == nil {
			text = s.data[start : s.pos+n : s.pos+n]
		} else if single && spaces == string(s.data[start+len(text):s.pos]) {
			text = s.data[start : s.pos+n : s.pos+n]
		} else {
			single = false
			text = append(append(text, spaces...), s.data[s.pos:s.pos+n]...)
		}
		s.forward(n)
		var more bool
		spaces, more = s.plainSpaces()
		if !more || s.at(0) == '#' || s.flow == 0 && s.column < indent {
			break
		}
	}
	s.tokens = append(s.tokens, token{kind: scalar, text: text, plain: true})
}

// plainEnd reports whether a byte that is no blank ends a plain scalar.
func (s *scanner) plainEnd(n int) bool {
	c := s.at(n)
	if c == ':' {
		if s.blankAt(n + 1) {
			return true
		}
		if s.flow == 0 {
			return false
		}
		switch s.at(n + 1) {
		case ',', '[', ']', '{', '}':
			return true
		}
		return false
	}
	if s.flow > 0 {
		switch c {
		case ',', '?', '[', ']', '{', '}':
			return true
		}
	}
	return false
}

// plainSpaces reads the blanks between two words of a plain scalar, folded. more is false
// if no word can follow.
func (s *scanner) plainSpaces() (text string, more bool) {
	n := 0
	for s.at(n) == ' ' {
		n++
	}
	spaces := string(s.data[s.pos : s.pos+n])
	s.forward(n)
	if s.breakAt(0) == 0 {
		return spaces, n > 0
	}
	first := s.lineBreak()
	s.allowKey = true
	if s.markAhead("---") || s.markAhead("...") {
		return "", false
	}
	var breaks []byte
	for {
		if s.at(0) == ' ' {
			s.forward(1)
			continue
		}
		b := s.lineBreak()
		if b == "" {
			break
		}
		breaks = append(breaks, b...)
		if s.markAhead("---") || s.markAhead("...") {
			return "", false
		}
	}
	return fold(first, string(breaks)), true
}

// fold joins a line break with the ones after it. A lone one becomes a space.
func fold(first, breaks string) string {
	switch {
	case first != "\n":
		return first + breaks
	case breaks == "":
		return " "
	}
	return breaks
}

// quoted reads a scalar in quotes.
func (s *scanner) quoted(quote byte) {
	s.forward(1)
	text := []byte{}
	for {
		text = s.quotedText(text, quote)
		if s.err != nil {
			return
		}
		if s.at(0) == quote {
			break
		}
		text = s.quotedSpaces(text)
		if s.err != nil {
			return
		}
	}
	s.forward(1)
	s.tokens = append(s.tokens, token{kind: scalar, text: text})
}

// quotedText reads up to a blank or the closing quote.
func (s *scanner) quotedText(text []byte, quote byte) []byte {
	for {
		n := 0
		for c := s.at(n); c != '\'' && c != '"' && c != '\\' && !s.blankAt(n); c = s.at(n) {
			n++
		}
		text = append(text, s.data[s.pos:s.pos+n]...)
		s.forward(n)
		c := s.at(0)
		switch {
		case quote == '\'' && c == '\'' && s.at(1) == '\'':
			text = append(text, c)
			s.forward(2)
		case quote == '"' && c == '\'', quote == '\'' && (c == '"' || c == '\\'):
			text = append(text, c)
			s.forward(1)
		case quote == '"' && c == '\\':
			s.forward(1)
			text = s.escape(text)
			if s.err != nil {
				return nil
			}
		default:
			return text
		}
	}
}

// escaped returns the character of a letter after a backslash.
func escaped(c byte) (string, bool) {
	switch c {
	case '0':
		return "\x00", true
	case 'a':
		return "\a", true
	case 'b':
		return "\b", true
	case 't', '\t':
		return "\t", true
	case 'n':
		return "\n", true
	case 'v':
		return "\v", true
	case 'f':
		return "\f", true
	case 'r':
		return "\r", true
	case 'e':
		return "\x1b", true
	case ' ', '"', '\\', '/':
		return string(c), true
	case 'N':
		return "\u0085", true
	case '_':
		return "\u00a0", true
	case 'L':
		return "\u2028", true
	case 'P':
		return "\u2029", true
	}
	return "", false
}

// escape reads the escape after a backslash.
func (s *scanner) escape(text []byte) []byte {
	c := s.at(0)
	if e, ok := escaped(c); ok {
		s.forward(1)
		return append(text, e...)
	}
	digits := 0
	switch c {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		if s.breakAt(0) > 0 {
			s.lineBreak()
			return append(text, s.quotedBreaks()...)
		}
		s.fail("unknown escape")
		return nil
	}
	s.forward(1)
	code := uint32(0)
	for i := range digits {
		d := unhex(s.at(i))
		if d < 0 {
			s.fail("escape without its digits")
			return nil
		}
		code = code<<4 | uint32(d)
	}
	s.forward(digits)
	switch {
	case code > utf8.MaxRune:
		s.fail("escape of no character")
		return nil
	case code >= 0xd800 && code < 0xe000: // a surrogate
		return append(text, 0xed, 0x80|byte(code>>6&0x3f), 0x80|byte(code&0x3f))
	}
	return utf8.AppendRune(text, rune(code))
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// quotedSpaces reads blanks in a quoted scalar, folded.
func (s *scanner) quotedSpaces(text []byte) []byte {
	n := 0
	for s.at(n) == ' ' || s.at(n) == '\t' {
		n++
	}
	spaces := s.data[s.pos : s.pos+n]
	s.forward(n)
	if s.at(0) == 0 {
		s.fail("quoted scalar without end")
		return nil
	}
	if s.breakAt(0) == 0 {
		return append(text, spaces...)
	}
	first := s.lineBreak()
	return append(text, fold(first, s.quotedBreaks())...)
}

func (s *scanner) quotedBreaks() string {
	var breaks []byte
	for {
		if s.markAhead("---") || s.markAhead("...") {
			s.fail("document mark in a quoted scalar")
			return ""
		}
		for s.at(0) == ' ' || s.at(0) == '\t' {
			s.forward(1)
		}
		b := s.lineBreak()
		if b == "" {
			return string(breaks)
		}
		breaks = append(breaks, b...)
	}
}
