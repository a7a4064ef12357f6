package fleet

import (
	"iter"
	"strings"
)

// literalScanner finds the texts and numbers in what Python's repr shows of tuples, lists,
// sets and dicts. The text may be cut anywhere, and anything else in it is skipped.
type literalScanner struct {
	text string
	pos  int

	start, end int    // of the literal
	key        bool   // it is a key itself
	name       string // its key, behind those of the dicts around it; "" for none
	index      int    // of the element of the outermost bracket

	depth   int                 // of open brackets
	outer   [deepestRepr]string // the names of the open brackets
	pending string              // key of the value to come
}

// deepestRepr is the depth to which names are known. Celery's repr shows three levels.
const deepestRepr = 16

// next finds the next literal.
func (s *literalScanner) next() bool {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '(' || c == '[' || c == '{':
			name := s.full()
			if s.depth++; s.depth < deepestRepr {
				s.outer[s.depth] = name
			}
			s.pending = ""
			s.pos++
		case c == ')' || c == ']' || c == '}':
			s.depth = max(s.depth-1, 0)
			s.pending = ""
			s.pos++
		case c == ',':
			if s.depth == 1 {
				s.index++
			}
			s.pending = ""
			s.pos++
		case c == '\'' || c == '"':
			if s.quoted(c) {
				return true
			}
		case isWord(c) || c == '-' || c == '.':
			if s.word() {
				return true
			}
		default:
			s.pos++
		}
	}
	return false
}

// full returns the name of a value at this place.
func (s *literalScanner) full() string {
	outer := ""
	if s.depth < deepestRepr {
		outer = s.outer[s.depth]
	}
	switch {
	case outer == "":
		return s.pending
	case s.pending == "":
		return outer
	}
	return outer + " " + s.pending
}

// quoted reads a text.
func (s *literalScanner) quoted(quote byte) bool {
	s.start = s.pos
	i := s.pos + 1
	for i < len(s.text) && s.text[i] != quote {
		if s.text[i] == '\\' {
			i++
		}
		i++
	}
	s.end = min(i+1, len(s.text))
	s.pos = s.end
	return s.literal(s.value())
}

// word reads a number or another word.
func (s *literalScanner) word() bool {
	s.start = s.pos
	for s.pos < len(s.text) && (isWord(s.text[s.pos]) || strings.IndexByte("-+._", s.text[s.pos]) >= 0) {
		s.pos++
	}
	s.end = s.pos
	// The prefix of b'...' and the name of a class in front of a bracket are no literals.
	if s.pos < len(s.text) && strings.IndexByte(`'"(=`, s.text[s.pos]) >= 0 {
		if s.text[s.pos] == '=' {
			s.pending = s.text[s.start:s.end]
			s.pos++
		}
		return false
	}
	return s.literal(s.text[s.start:s.end])
}

// literal gives a literal its name, or keeps it as the name of the next one.
func (s *literalScanner) literal(value string) bool {
	i := s.pos
	for i < len(s.text) && s.text[i] == ' ' {
		i++
	}
	if s.key = i < len(s.text) && s.text[i] == ':'; s.key {
		s.pending, s.pos = value, i+1
		return true
	}
	s.name = s.full()
	return true
}

// value returns the literal without its quotes.
func (s *literalScanner) value() string {
	v := s.text[s.start:s.end]
	if len(v) > 0 && (v[0] == '\'' || v[0] == '"') {
		quote := v[0]
		v = v[1:]
		if len(v) > 0 && v[len(v)-1] == quote {
			v = v[:len(v)-1]
		}
	}
	return v
}

// Pairs yields the keys and the values of what Python's repr shows of a dict, as far as they
// are texts, numbers and other words.
func Pairs(repr string) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		s := literalScanner{text: repr}
		for s.next() {
			if !s.key && s.depth == 1 && s.name != "" && !yield(s.name, s.value()) {
				return
			}
		}
	}
}
