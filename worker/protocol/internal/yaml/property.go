package yaml

import "unicode/utf8"

// wordAt reports whether a byte may be in a name.
func wordAt(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-' || c == '_'
}

// anchor reads the name of an anchor or an alias.
func (s *scanner) anchor(indicator byte) {
	s.forward(1)
	n := 0
	for wordAt(s.at(n)) {
		n++
	}
	name := s.data[s.pos : s.pos+n : s.pos+n]
	s.forward(n)
	ends := s.blankAt(0)
	switch s.at(0) {
	case '?', ':', ',', ']', '}', '%', '@', '`':
		ends = true
	}
	if n == 0 || !ends {
		s.fail("anchor or alias that is no name")
		return
	}
	kind := anchor
	if indicator == '*' {
		kind = alias
	}
	s.tokens = append(s.tokens, token{kind: kind, text: name})
}

// tag reads !suffix, !!suffix, !<uri>, or ! alone.
func (s *scanner) tag() {
	t := token{kind: tag}
	switch {
	case s.at(1) == '<':
		s.forward(2)
		t.text = s.uri()
		if s.err != nil {
			return
		}
		if s.at(0) != '>' {
			s.fail("tag without end")
			return
		}
		s.forward(1)
	case s.blankAt(1):
		t.text = []byte("!")
		s.forward(1)
	default:
		t.handle = "!"
		if s.hasHandle() {
			n := 1
			for wordAt(s.at(n)) {
				n++
			}
			if s.at(n) != '!' {
				s.fail("tag with an unknown prefix")
				return
			}
			t.handle = string(s.data[s.pos : s.pos+n+1])
			s.forward(n)
		}
		s.forward(1)
		if t.text = s.uri(); s.err != nil {
			return
		}
	}
	if s.at(0) != ' ' && !s.endAt(0) {
		s.fail("tag that is no URI")
		return
	}
	s.tokens = append(s.tokens, t)
}

// hasHandle reports whether a second exclamation mark follows in this word.
func (s *scanner) hasHandle() bool {
	for n := 1; s.at(n) != ' ' && !s.endAt(n); n++ {
		if s.at(n) == '!' {
			return true
		}
	}
	return false
}

func (s *scanner) uri() []byte {
	text := []byte{}
	for {
		c := s.at(0)
		switch c {
		case '%':
			start := len(text)
			for ; s.at(0) == '%'; s.forward(3) {
				high, low := unhex(s.at(1)), unhex(s.at(2))
				if high < 0 || low < 0 {
					s.fail("escape in a tag without its digits")
					return nil
				}
				text = append(text, byte(high<<4|low))
			}
			if !utf8.Valid(text[start:]) {
				s.fail("tag that is not UTF-8")
				return nil
			}
			continue
		case ';', '/', '?', ':', '@', '&', '=', '+', '$', ',', '.', '!', '~', '*', '\'', '(', ')', '[', ']':
		default:
			if !wordAt(c) {
				if len(text) == 0 {
					s.fail("tag that is empty")
				}
				return text
			}
		}
		text = append(text, c)
		s.forward(1)
	}
}

// directive reads a line that starts with a percent sign. The parser checks the version
// of %YAML. Other directives except %TAG are ignored, as in PyYAML.
func (s *scanner) directive() {
	s.unwind(-1)
	s.dropKey()
	s.allowKey = false
	s.forward(1)
	n := 0
	for wordAt(s.at(n)) {
		n++
	}
	name := string(s.data[s.pos : s.pos+n])
	s.forward(n)
	if n == 0 || s.at(0) != ' ' && !s.endAt(0) {
		s.fail("directive that is no name")
		return
	}
	t := token{kind: directive, handle: name}
	switch name {
	case "TAG":
		s.fail("%TAG is not supported")
		return
	case "YAML":
		for s.at(0) == ' ' {
			s.forward(1)
		}
		major := s.digits()
		if len(major) == 0 || s.at(0) != '.' {
			s.fail("%YAML without a version")
			return
		}
		s.forward(1)
		if len(s.digits()) == 0 || s.at(0) != ' ' && !s.endAt(0) {
			s.fail("%YAML without a version")
			return
		}
		t.text = major
		for s.at(0) == ' ' {
			s.forward(1)
		}
		if s.at(0) == '#' {
			s.toLineEnd()
		}
		if !s.endAt(0) {
			s.fail("text behind a directive")
			return
		}
	default:
		s.toLineEnd()
	}
	s.lineBreak()
	s.tokens = append(s.tokens, t)
}
