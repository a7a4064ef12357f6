package protocol

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// Raw is one JSON value in the dialect of Python's json module. It may hold NaN, Infinity
// and -Infinity, integers of any size and escapes of unpaired surrogates. The zero value
// stands for an absent one.
type Raw []byte

// Field is one member of a JSON object.
type Field struct {
	Name  string // unpaired surrogates have become U+FFFD
	Value Raw
}

// Elements returns the elements of an array, as spans of r.
func (r Raw) Elements() ([]Raw, error) {
	var out []Raw
	err := r.each('[', func(s *scanner) error {
		v, _, err := s.value()
		out = append(out, v)
		return err
	})
	return out, err
}

// Fields returns the members of an object in their order, with values that are spans of
// r. A key that occurs twice is returned twice; Python and [Unmarshal] take the last one.
func (r Raw) Fields() ([]Field, error) {
	var out []Field
	err := r.each('{', func(s *scanner) error {
		key, err := s.key()
		if err != nil {
			return err
		}
		v, _, err := s.value()
		out = append(out, Field{Name: unquote(key), Value: v})
		return err
	})
	return out, err
}

// EachElement calls fn for the elements of an array, as spans of r, until it returns
// false: what follows is not read then. An array may have millions of elements, which
// [Raw.Elements] would list.
func (r Raw) EachElement(fn func(Raw) (more bool)) error {
	return stopped(r.each('[', func(s *scanner) error {
		v, _, err := s.value()
		if err == nil && !fn(v) {
			err = errStop
		}
		return err
	}))
}

// EachField does so for the members of an object.
func (r Raw) EachField(fn func(Field) (more bool)) error {
	return stopped(r.each('{', func(s *scanner) error {
		key, err := s.key()
		if err != nil {
			return err
		}
		v, _, err := s.value()
		if err == nil && !fn(Field{Name: unquote(key), Value: v}) {
			err = errStop
		}
		return err
	}))
}

// EachMember does so with names that are not copied: they are valid during the call alone.
func (r Raw) EachMember(fn func(name []byte, value Raw) (more bool)) error {
	return stopped(r.each('{', func(s *scanner) error {
		key, err := s.key()
		if err != nil {
			return err
		}
		v, _, err := s.value()
		if err == nil && !fn(bare(key), v) {
			err = errStop
		}
		return err
	}))
}

// Text returns the text of a string that a reader of this package has accepted, as bytes: a
// span of r if nothing is escaped. It returns false if r is no string.
func (r Raw) Text() (text []byte, ok bool) {
	if !isText(r) {
		return nil, false
	}
	return bare(r), true
}

// errStop ends a walk early.
var errStop = errors.New("stop")

func stopped(err error) error {
	if err == errStop {
		return nil
	}
	return err
}

// IsNull reports whether r is absent or null.
func (r Raw) IsNull() bool {
	t := bytes.TrimSpace(r)
	return len(t) == 0 || string(t) == "null"
}

// MarshalJSON returns r, so that a Raw inside other values is kept.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of the text.
func (r *Raw) UnmarshalJSON(b []byte) error {
	*r = bytes.Clone(b)
	return nil
}

func (r Raw) each(bracket byte, fn func(*scanner) error) error {
	s, err := newScanner(r, tolerant(len(r)))
	if err != nil {
		return err
	}
	ok, err := s.enter(bracket)
	if err != nil {
		return err
	}
	if !ok {
		return s.mismatch(bracket)
	}
	for {
		more, err := s.next()
		if err != nil {
			return err
		}
		if !more {
			return s.end()
		}
		if err := fn(&s); err != nil {
			return err
		}
	}
}

// mismatch returns the error for text that is no JSON, or for JSON of another type.
func (s *scanner) mismatch(bracket byte) error {
	if _, _, err := s.value(); err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	if bracket == '{' {
		return refuse(ReasonNotObject, "not an object")
	}
	return refuse(ReasonBadBody, "not an array")
}

// unquote returns the text of a JSON string that the scanner has accepted.
func unquote(q Raw) string {
	if bytes.IndexByte(q, '\\') < 0 {
		switch b := q[1 : len(q)-1]; string(b) {
		// The texts of nearly every message cost no memory.
		case "":
			return ""
		case "py":
			return "py"
		case "()":
			return "()"
		case "[]":
			return "[]"
		case "{}":
			return "{}"
		case "utf-8":
			return "utf-8"
		case "base64":
			return "base64"
		case "application/json":
			return "application/json"
		default:
			return string(b)
		}
	}
	text, _ := appendUnquoted(make([]byte, 0, len(q)), q)
	return string(text)
}

// bare returns the text of q as bytes, a span of q if nothing is escaped.
func bare(q Raw) []byte {
	if bytes.IndexByte(q, '\\') < 0 {
		return q[1 : len(q)-1]
	}
	return []byte(unquote(q))
}

// appendUnquoted appends the text of a JSON string that the scanner has accepted. ok is
// false if an unpaired surrogate was replaced by U+FFFD.
func appendUnquoted(dst []byte, q Raw) (text []byte, ok bool) {
	ok = true
	q = q[1 : len(q)-1]
	for len(q) > 0 {
		i := bytes.IndexByte(q, '\\')
		if i < 0 {
			return append(dst, q...), ok
		}
		dst = append(dst, q[:i]...)
		c := q[i+1]
		q = q[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(q)
			q = q[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(q) >= 6 && q[0] == '\\' && q[1] == 'u' {
					low = hex4(q[2:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					ok = false
				} else {
					q = q[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		default: // '"', '\\' and '/'
			dst = append(dst, c)
		}
	}
	return dst, ok
}

func hex4(b []byte) rune {
	return unhex(b[0])<<12 | unhex(b[1])<<8 | unhex(b[2])<<4 | unhex(b[3])
}

// kind returns the type of the value, or an error if r is not exactly one value.
func (r Raw) kind() (kind, error) {
	s, err := newScanner(r, tolerant(len(r)))
	if err != nil {
		return 0, err
	}
	_, k, err := s.value()
	if err != nil {
		return 0, err
	}
	return k, s.end()
}

func trim(r Raw) Raw { return bytes.Trim(r, " \t\r\n") }
