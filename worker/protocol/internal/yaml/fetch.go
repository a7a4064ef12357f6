package yaml

import "slices"

// fetch reads the next token, and starts and ends collections by its indentation. Its
// cases are the tokens in the order of PyYAML's fetch_more_tokens.
func (s *scanner) fetch() {
	s.toNextToken()
	s.staleKeys()
	s.unwind(s.column)
	if s.err != nil {
		return
	}
	c := s.at(0)
	switch {
	case c == 0:
		s.fetchEnd()
	case c == '%' && s.column == 0:
		s.directive()
	case c == '-' && s.documentMark("---"):
		s.fetchMark(documentStart)
	case c == '.' && s.documentMark("..."):
		s.fetchMark(documentEnd)
	case c == '[':
		s.fetchOpen(flowSequenceStart)
	case c == '{':
		s.fetchOpen(flowMappingStart)
	case c == ']':
		s.fetchClose(flowSequenceEnd)
	case c == '}':
		s.fetchClose(flowMappingEnd)
	case c == ',':
		s.allowKey = true
		s.dropKey()
		s.push(flowEntry)
		s.forward(1)
	case c == '-' && s.blankAt(1):
		s.fetchEntry()
	case c == '?' && (s.flow > 0 || s.blankAt(1)):
		s.fetchKey()
	case c == ':' && (s.flow > 0 || s.blankAt(1)):
		s.fetchValue()
	case c == '*', c == '&':
		s.saveKey()
		s.allowKey = false
		s.anchor(c)
	case c == '!':
		s.saveKey()
		s.allowKey = false
		s.tag()
	case (c == '|' || c == '>') && s.flow == 0:
		s.allowKey = true
		s.dropKey()
		s.block(c == '>')
	case c == '\'', c == '"':
		s.saveKey()
		s.allowKey = false
		s.quoted(c)
	case s.plainStart(c):
		s.saveKey()
		s.allowKey = false
		s.plain()
	default:
		s.fail("character that starts no token")
	}
}

// plainStart reports whether a plain scalar may start with the next byte, c.
func (s *scanner) plainStart(c byte) bool {
	switch c {
	case '-':
		return !s.blankAt(1)
	case '?', ':':
		return !s.blankAt(1) && s.flow == 0
	case ' ', '\t', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`':
		return false
	}
	return true
}

func (s *scanner) fetchEnd() {
	s.unwind(-1)
	s.dropKey()
	s.keys = nil
	s.push(streamEnd)
	s.done = true
}

func (s *scanner) fetchMark(kind tokenKind) {
	s.unwind(-1)
	s.dropKey()
	s.allowKey = false
	s.push(kind)
	s.forward(3)
}

func (s *scanner) fetchOpen(kind tokenKind) {
	s.saveKey()
	s.flow++
	s.allowKey = true
	s.push(kind)
	s.forward(1)
}

func (s *scanner) fetchClose(kind tokenKind) {
	s.dropKey()
	s.flow--
	if s.flow < 0 {
		s.fail("bracket that closes nothing")
		return
	}
	s.keys = s.keys[:min(len(s.keys), s.flow+1)]
	s.allowKey = false
	s.push(kind)
	s.forward(1)
}

// startBlock starts a collection outside of brackets when the column is deeper than the
// collection around it. It fails with problem where a line may not begin one.
func (s *scanner) startBlock(kind tokenKind, problem string) bool {
	if s.flow > 0 {
		return true
	}
	if !s.allowKey {
		s.fail(problem)
		return false
	}
	if s.deeper(s.column) {
		s.push(kind)
	}
	return true
}

func (s *scanner) fetchEntry() {
	if !s.startBlock(blockSequenceStart, "sequence entry where none is allowed") {
		return
	}
	s.allowKey = true
	s.dropKey()
	s.push(blockEntry)
	s.forward(1)
}

func (s *scanner) fetchKey() {
	if !s.startBlock(blockMappingStart, "key where none is allowed") {
		return
	}
	s.allowKey = s.flow == 0
	s.dropKey()
	s.push(key)
	s.forward(1)
}

func (s *scanner) fetchValue() {
	if s.flow < len(s.keys) && s.keys[s.flow].possible {
		k := &s.keys[s.flow]
		k.possible = false
		at := k.token - s.taken
		s.tokens = slices.Insert(s.tokens, at, token{kind: key})
		if s.flow == 0 && s.deeper(k.column) {
			s.tokens = slices.Insert(s.tokens, at, token{kind: blockMappingStart})
		}
		s.allowKey = false
	} else {
		if !s.startBlock(blockMappingStart, "value where none is allowed") {
			return
		}
		s.allowKey = s.flow == 0
		s.dropKey()
	}
	s.push(value)
	s.forward(1)
}
