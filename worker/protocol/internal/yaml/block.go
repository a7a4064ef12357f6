package yaml

// block reads a literal or folded block scalar.
func (s *scanner) block(folded bool) {
	s.forward(1)
	chomp, increment, ok := s.blockHeader()
	if !ok {
		return
	}
	least := max(s.indent+1, 1)
	var breaks []byte
	var indent int
	if increment == 0 {
		var deepest int
		breaks, deepest = s.blockIndent()
		indent = max(least, deepest)
	} else {
		indent = least + increment - 1
		breaks = s.blockBreaks(indent)
	}
	text := []byte{}
	last := ""
	for s.column == indent && s.at(0) != 0 {
		text = append(text, breaks...)
		leading := s.at(0) == ' ' || s.at(0) == '\t'
		n := 0
		for !s.endAt(n) {
			n++
		}
		text = append(text, s.data[s.pos:s.pos+n]...)
		s.forward(n)
		last = s.lineBreak()
		breaks = s.blockBreaks(indent)
		if s.column != indent || s.at(0) == 0 {
			break
		}
		if folded && last == "\n" && !leading && s.at(0) != ' ' && s.at(0) != '\t' {
			if len(breaks) == 0 {
				text = append(text, ' ')
			}
		} else {
			text = append(text, last...)
		}
	}
	if chomp != '-' {
		text = append(text, last...)
	}
	if chomp == '+' {
		text = append(text, breaks...)
	}
	s.tokens = append(s.tokens, token{kind: scalar, text: text})
}

// blockHeader reads the signs after | or >: how line breaks at the end are kept, and the
// indentation, in either order.
func (s *scanner) blockHeader() (chomp byte, increment int, ok bool) {
	for range 2 {
		switch c := s.at(0); {
		case (c == '+' || c == '-') && chomp == 0:
			chomp = c
			s.forward(1)
		case '0' <= c && c <= '9' && increment == 0:
			if increment = int(c - '0'); increment == 0 {
				s.fail("block scalar with indentation 0")
				return 0, 0, false
			}
			s.forward(1)
		}
	}
	if s.at(0) != ' ' && !s.endAt(0) {
		s.fail("block scalar with unknown indicators")
		return 0, 0, false
	}
	for s.at(0) == ' ' {
		s.forward(1)
	}
	if s.at(0) == '#' {
		s.toLineEnd()
	}
	if !s.endAt(0) {
		s.fail("text behind the indicators of a block scalar")
		return 0, 0, false
	}
	s.lineBreak()
	return chomp, increment, true
}

// blockIndent moves to the first line that is not empty and returns the deepest
// indentation on the way.
func (s *scanner) blockIndent() (breaks []byte, deepest int) {
	for {
		if s.at(0) == ' ' {
			s.forward(1)
			deepest = max(deepest, s.column)
			continue
		}
		b := s.lineBreak()
		if b == "" {
			return breaks, deepest
		}
		breaks = append(breaks, b...)
	}
}

// blockBreaks moves over empty lines and into the indentation of the next one.
func (s *scanner) blockBreaks(indent int) (breaks []byte) {
	for {
		for s.column < indent && s.at(0) == ' ' {
			s.forward(1)
		}
		b := s.lineBreak()
		if b == "" {
			return breaks
		}
		breaks = append(breaks, b...)
	}
}
