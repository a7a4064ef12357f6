package protocol

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// maxDigits is the length from which Python (3.11, and the security releases of
// older versions) refuses to read an integer. It also keeps math/big cheap.
const maxDigits = 4300

// kind is the type of a JSON value.
type kind byte

const (
	kindNull kind = iota
	kindBool
	kindInt   // number without fraction and exponent
	kindFloat // any other number, NaN, Infinity and -Infinity
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "bool", "int", "float", "string", "array", "object"}[k]
}

// scanner walks once over JSON text in Python's dialect. Containers are either
// skipped whole by value, without recursion, or entered by enter and walked by
// next. All its errors are *DecodeError.
type scanner struct {
	data   []byte
	pos    int
	open   brackets // of the open containers
	first  bool     // pos is right behind an opening bracket
	limits Limits
	count  int // values seen
}

// brackets is a stack. The depth of nearly every text fits into the scanner itself.
type brackets struct {
	n    int
	few  [16]byte
	more []byte // the ones above few
}

func (b *brackets) push(bracket byte) {
	if b.n < len(b.few) {
		b.few[b.n] = bracket
	} else {
		b.more = append(b.more, bracket)
	}
	b.n++
}

func (b *brackets) pop() {
	b.n--
	if b.n >= len(b.few) {
		b.more = b.more[:b.n-len(b.few)]
	}
}

func (b *brackets) top() byte {
	if b.n <= len(b.few) {
		return b.few[b.n-1]
	}
	return b.more[b.n-1-len(b.few)]
}

// newScanner checks size and UTF-8, which Python does before parsing.
func newScanner(data []byte, lim Limits) (scanner, error) {
	if len(data) > lim.Size {
		return scanner{}, refuse(ReasonTooLarge, "%d bytes, limit %d", len(data), lim.Size)
	}
	if !utf8.Valid(data) {
		return scanner{}, &DecodeError{Reason: ReasonNotUTF8}
	}
	return scanner{data: data, limits: lim}, nil
}

func (s *scanner) syntax() error {
	if s.pos >= len(s.data) {
		return refuse(ReasonNotJSON, "unexpected end of text")
	}
	return refuse(ReasonNotJSON, "unexpected character at byte %d", s.pos)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end; 0 starts no token of JSON.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// end expects the end of the text after space.
func (s *scanner) end() error {
	s.space()
	if s.pos != len(s.data) {
		return s.syntax()
	}
	return nil
}

func (s *scanner) counted() error {
	if s.count++; s.count > s.limits.Elements {
		return refuse(ReasonTooManyElements, "limit %d", s.limits.Elements)
	}
	return nil
}

func (s *scanner) push(bracket byte) error {
	if s.open.n >= s.limits.Depth {
		return refuse(ReasonTooDeep, "limit %d", s.limits.Depth)
	}
	s.open.push(bracket)
	s.pos++
	s.first = true
	return nil
}

// enter goes into the next container. It returns false and reads nothing if the next
// value is of another kind.
func (s *scanner) enter(bracket byte) (bool, error) {
	s.space()
	if s.peek() != bracket {
		return false, nil
	}
	if err := s.counted(); err != nil {
		return false, err
	}
	return true, s.push(bracket)
}

// next moves to the next element or key of the innermost container. At its end
// it leaves the container and returns false.
func (s *scanner) next() (bool, error) {
	bracket := s.open.top()
	first := s.first
	s.first = false
	s.space()
	switch c := s.peek(); {
	case c == bracket+2: // ']' is '[' + 2, '}' is '{' + 2
		s.pos++
		s.open.pop()
		return false, nil
	case first:
		return true, nil
	case c == ',':
		s.pos++
		s.space()
		return true, nil
	}
	return false, s.syntax()
}

// key reads the key of an object member and the colon. The text is quoted.
func (s *scanner) key() (Raw, error) {
	start := s.pos
	if err := s.str(); err != nil {
		return nil, err
	}
	key := s.data[start:s.pos:s.pos]
	s.space()
	if s.peek() != ':' {
		return nil, s.syntax()
	}
	s.pos++
	return key, nil
}

// value moves over one value and returns its text, which aliases the data.
func (s *scanner) value() (Raw, kind, error) {
	s.space()
	start := s.pos
	k, err := s.skip()
	if err != nil {
		return nil, 0, err
	}
	return s.data[start:s.pos:s.pos], k, nil
}

// skip moves over one value. It does not recurse: the depth of the text costs
// one byte per level.
func (s *scanner) skip() (kind, error) {
	base := s.open.n
	k, err := s.token()
	if err != nil {
		return 0, err
	}
	for s.open.n > base {
		more, err := s.next()
		if err != nil {
			return 0, err
		}
		if !more {
			continue
		}
		if s.open.top() == '{' {
			if _, err := s.key(); err != nil {
				return 0, err
			}
			s.space()
		}
		if _, err := s.token(); err != nil {
			return 0, err
		}
	}
	return k, nil
}

// token reads a scalar or the opening bracket of a container.
func (s *scanner) token() (kind, error) {
	if err := s.counted(); err != nil {
		return 0, err
	}
	switch c := s.peek(); c {
	case '{':
		return kindObject, s.push(c)
	case '[':
		return kindArray, s.push(c)
	case '"':
		return kindString, s.str()
	case 'n':
		return kindNull, s.word("null")
	case 't':
		return kindBool, s.word("true")
	case 'f':
		return kindBool, s.word("false")
	case 'N':
		return kindFloat, s.word("NaN")
	case 'I':
		return kindFloat, s.word("Infinity")
	default:
		return s.number()
	}
}

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.syntax()
	}
	s.pos += len(w)
	return nil
}

func (s *scanner) number() (kind, error) {
	if s.peek() == '-' {
		s.pos++
		if s.peek() == 'I' {
			return kindFloat, s.word("Infinity")
		}
	}
	digits := s.pos
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case '1' <= c && c <= '9':
		s.digits()
	default:
		return 0, s.syntax()
	}
	k, length := kindInt, s.pos-digits
	if s.peek() == '.' {
		k = kindFloat
		s.pos++
		if !s.digits() {
			return 0, s.syntax()
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		k = kindFloat
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return 0, s.syntax()
		}
	}
	if k == kindInt && length > maxDigits {
		return 0, refuse(ReasonTooLarge, "integer of %d digits, limit %d", length, maxDigits)
	}
	return k, nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// str moves over a string with its quotes. Python refuses control characters in
// it, and takes any four hexadecimal digits behind \u, unpaired surrogates too.
func (s *scanner) str() error {
	if s.peek() != '"' {
		return s.syntax()
	}
	data, i := s.data, s.pos+1
	for i < len(data) {
		for i+8 <= len(data) && unmarked(binary.LittleEndian.Uint64(data[i:])) {
			i += 8
		}
		if i == len(data) {
			break
		}
		c := data[i]
		i++
		switch {
		case c == '"':
			s.pos = i
			return nil
		case c == '\\':
			n := escapeLen(data[i:])
			if n == 0 {
				s.pos = i
				return s.syntax()
			}
			i += n
		case c < ' ':
			s.pos = i - 1
			return s.syntax()
		}
	}
	s.pos = i
	return s.syntax()
}

// unmarked reports whether eight bytes hold no quote, no backslash and no control
// character. Each of the three terms sets the highest bit of some byte for one of these.
func unmarked(x uint64) bool {
	const ones, highest = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^'"'*ones, x^'\\'*ones
	return ((x-' '*ones)&^x|(quote-ones)&^quote|(backslash-ones)&^backslash)&highest == 0
}

// escapeLen returns the length of the escape after a backslash, 0 for an invalid one.
func escapeLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(b) > 4 && unhex(b[1]) >= 0 && unhex(b[2]) >= 0 && unhex(b[3]) >= 0 && unhex(b[4]) >= 0 {
			return 5
		}
	}
	return 0
}

func unhex(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}
