package yaml

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

// simpleKey is a place where a key may have begun. A colon within one line and 1024
// characters makes it a key.
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
	cursor

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

// peek returns the next token; get removes it.
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

// needMore reports whether the next token is not known yet, because a later colon may put
// a key before it.
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

// staleKeys forgets places where a key can no longer begin.
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
