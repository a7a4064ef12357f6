package yaml

import "unicode/utf8"

type tokenKind byte

const (
	streamEnd tokenKind = iota
	directive
	documentStart
	documentEnd
	blockSequenceStart
	blockMappingStart
	blockEnd
	flowSequenceStart
	flowMappingStart
	flowSequenceEnd
	flowMappingEnd
	blockEntry
	flowEntry
	key
	value
	alias
	anchor
	tag
	scalar
)

type token struct {
	kind   tokenKind
	text   []byte // of a scalar; the name of an anchor or alias; the suffix of a tag
	handle string // of a tag: "!", "!!", or "" for one that is spelled out
	plain  bool
}

// simpleKey is a place where a key may have begun. Only a colon tells that it
// has: within one line and 1024 characters.
type simpleKey struct {
	possible bool
	required bool // it is a key or an error
	token    int  // number of its first token
	index    int
	line     int
	column   int
}

// scanner cuts the text into tokens.
type scanner struct {
	data []byte
	pos  int // in bytes

	index, line, column int // of pos, in characters, from 0 on

	err      error
	done     bool
	tokens   []token
	taken    int // tokens that are no longer in tokens
	flow     int // brackets and braces open
	indent   int // of the block collection; -1 outside
	indents  []int
	allowKey bool
	keys     []simpleKey // by depth of flow
}

func (s *scanner) fail(problem string) {
	if s.err == nil {
		s.err = &SyntaxError{s.line + 1, problem}
	}
	s.done = true
}

// at returns the byte n behind the next one, 0 at the end: the text has none.
func (s *scanner) at(n int) byte {
	if s.pos+n < len(s.data) {
		return s.data[s.pos+n]
	}
	return 0
}

// breakAt returns the length of the line break n bytes from here, 0 if there is
// none. Besides \n, \r\n and \r there are U+0085, U+2028 and U+2029.
func (s *scanner) breakAt(n int) int {
	switch s.at(n) {
	case '\n':
		return 1
	case '\r':
		if s.at(n+1) == '\n' {
			return 2
		}
		return 1
	case 0xc2:
		if s.at(n+1) == 0x85 {
			return 2
		}
	case 0xe2:
		if c := s.at(n + 2); s.at(n+1) == 0x80 && (c == 0xa8 || c == 0xa9) {
			return 3
		}
	}
	return 0
}

// blankAt reports whether a space, a tab, a line break or the end is there.
func (s *scanner) blankAt(n int) bool {
	c := s.at(n)
	return c == ' ' || c == '\t' || c == 0 || s.breakAt(n) > 0
}

// endAt reports whether the line ends there.
func (s *scanner) endAt(n int) bool { return s.at(n) == 0 || s.breakAt(n) > 0 }

// forward moves over n bytes of one line.
func (s *scanner) forward(n int) {
	for end := s.pos + n; s.pos < end; {
		_, size := utf8.DecodeRune(s.data[s.pos:])
		if s.data[s.pos] != 0xef || string(s.data[s.pos:s.pos+size]) != "\ufeff" {
			s.column++
		}
		s.index++
		s.pos += size
	}
}

// lineBreak moves over a line break and returns what stands for it in a scalar:
// \n for all but U+2028 and U+2029, "" if there is none.
func (s *scanner) lineBreak() string {
	n := s.breakAt(0)
	if n == 0 {
		return ""
	}
	text := "\n"
	if n == 3 {
		text = string(s.data[s.pos : s.pos+3])
	}
	s.pos += n
	s.index++
	if n == 2 && s.data[s.pos-1] == '\n' { // \r\n are two characters
		s.index++
	}
	s.line++
	s.column = 0
	return text
}

// peek returns the next token, get takes it.
func (s *scanner) peek() *token {
	for s.needMore() {
		s.fetch()
	}
	if len(s.tokens) == 0 { // only after an error
		return &token{kind: streamEnd}
	}
	return &s.tokens[0]
}

func (s *scanner) get() token {
	t := *s.peek()
	if len(s.tokens) > 0 {
		s.tokens = s.tokens[1:]
		s.taken++
	}
	return t
}

// needMore reports whether the next token is not known yet: a colon that is to
// come may put a key in front of it.
func (s *scanner) needMore() bool {
	if s.done {
		return false
	}
	if len(s.tokens) == 0 {
		return true
	}
	s.staleKeys()
	for _, k := range s.keys {
		if k.possible && k.token == s.taken {
			return true
		}
	}
	return false
}

func (s *scanner) push(kind tokenKind) { s.tokens = append(s.tokens, token{kind: kind}) }

// toNextToken moves over spaces, comments and line breaks.
func (s *scanner) toNextToken() {
	if s.index == 0 && len(s.data) > 2 && string(s.data[:3]) == "\ufeff" {
		s.forward(3)
	}
	for {
		for s.at(0) == ' ' {
			s.forward(1)
		}
		if s.at(0) == '#' {
			s.toLineEnd()
		}
		if s.lineBreak() == "" {
			return
		}
		if s.flow == 0 {
			s.allowKey = true
		}
	}
}

func (s *scanner) toLineEnd() {
	n := 0
	for !s.endAt(n) {
		n++
	}
	s.forward(n)
}

// documentMark reports whether a mark stands alone at the start of the line.
func (s *scanner) documentMark(mark string) bool {
	return s.column == 0 && s.markAhead(mark)
}

func (s *scanner) markAhead(mark string) bool {
	return len(s.data)-s.pos >= 3 && string(s.data[s.pos:s.pos+3]) == mark && s.blankAt(3)
}

// staleKeys forgets where keys cannot have begun any more.
func (s *scanner) staleKeys() {
	for i := range s.keys {
		if k := &s.keys[i]; k.possible && (k.line != s.line || s.index-k.index > 1024) {
			if k.required {
				s.fail("key without colon")
			}
			k.possible = false
		}
	}
}

// saveKey notes that a key may begin here.
func (s *scanner) saveKey() {
	if !s.allowKey {
		return
	}
	s.dropKey()
	for len(s.keys) <= s.flow {
		s.keys = append(s.keys, simpleKey{})
	}
	s.keys[s.flow] = simpleKey{
		possible: true, required: s.flow == 0 && s.indent == s.column,
		token: s.taken + len(s.tokens), index: s.index, line: s.line, column: s.column,
	}
}

// dropKey forgets the key that may have begun at this depth.
func (s *scanner) dropKey() {
	if s.flow < len(s.keys) && s.keys[s.flow].possible {
		if s.keys[s.flow].required {
			s.fail("key without colon")
		}
		s.keys[s.flow].possible = false
	}
}

// unwind ends the block collections that are indented deeper than column.
func (s *scanner) unwind(column int) {
	for s.flow == 0 && s.indent > column {
		s.indent = s.indents[len(s.indents)-1]
		s.indents = s.indents[:len(s.indents)-1]
		s.push(blockEnd)
	}
}

// deeper starts a block collection, if column is deeper than the last one.
func (s *scanner) deeper(column int) bool {
	if s.indent >= column {
		return false
	}
	s.indents = append(s.indents, s.indent)
	s.indent = column
	return true
}
