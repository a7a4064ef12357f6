package protocol

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// sink takes the values of a JSON text in another format.
type sink interface {
	word(text Raw, k kind) error // a number, null, true or false
	text(quoted Raw) error
	bytes(data []byte) error
	typed(typ, value string) error // a typed object of kombu around a text
	open(k kind)
	next(first bool) // in front of an element or a key
	colon()
	close(k kind, n int) // of n elements or members
}

// transcode passes the values of raw to out.
func transcode(raw Raw, out sink) error {
	s, err := newScanner(raw, tolerant(len(raw)))
	if err != nil {
		return err
	}
	if err := s.transcode(out); err != nil {
		return err
	}
	return s.end()
}

func (s *scanner) transcode(out sink) error {
	s.space()
	switch s.peek() {
	case '{':
		if done, err := s.transcodeTyped(out); done || err != nil {
			return err
		}
		n := 0
		out.open(kindObject)
		_, err := s.members(func(key Raw) error {
			out.next(n == 0)
			n++
			if err := out.text(key); err != nil {
				return err
			}
			out.colon()
			return s.transcode(out)
		})
		out.close(kindObject, n)
		return err
	case '[':
		out.open(kindArray)
		if _, err := s.enter('['); err != nil {
			return err
		}
		for n := 0; ; n++ {
			more, err := s.next()
			if err != nil {
				return err
			}
			if !more {
				out.close(kindArray, n)
				return nil
			}
			out.next(n == 0)
			if err := s.transcode(out); err != nil {
				return err
			}
		}
	}
	text, k, err := s.value()
	switch {
	case err != nil:
		return err
	case k == kindString:
		return out.text(text)
	}
	return out.word(text, k)
}

// transcodeTyped handles a typed object of kombu, if one is next.
func (s *scanner) transcodeTyped(out sink) (done bool, err error) {
	ahead := *s
	if _, err := ahead.enter('{'); err != nil {
		return false, err
	}
	if more, err := ahead.next(); err != nil || !more {
		return false, err
	}
	// The first key rules out most objects.
	if key, err := ahead.key(); err != nil || string(key) != `"__type__"` && string(key) != `"__value__"` {
		return false, err
	}
	ahead = *s
	object, _, err := ahead.value()
	if err != nil {
		return false, err
	}
	typ, value, ok := object.typed()
	if !ok {
		return false, nil
	}
	switch v := unquoteValue(value); {
	case typ == "bytes" && isText(value):
		err = out.bytes([]byte(v))
	case typ == "base64" && isText(value):
		b, bad := base64.StdEncoding.DecodeString(v)
		if bad != nil {
			return false, nil
		}
		err = out.bytes(b)
	case typ == "uuid", isText(value) && (typ == "datetime" || typ == "date" || typ == "time" || typ == "decimal"):
		err = out.typed(typ, v)
	default:
		return false, nil
	}
	s.pos, s.count = ahead.pos, ahead.count
	return true, err
}

func unquoteValue(r Raw) string {
	if isText(r) {
		return unquote(r)
	}
	return ""
}

// rawBuilder writes the values of a body in another format as kombu's JSON serializer
// does. It checks the limits as the text grows, so that a body that is too large is not
// read to its end.
type rawBuilder struct {
	buf   []byte
	lim   Limits
	depth int
	count int // number of values, as in scanner
}

// add counts n values that are about to be written.
func (b *rawBuilder) add(n int) error {
	if b.count += n; b.count > b.lim.Elements {
		return refuse(ReasonTooManyElements, "limit %d", b.lim.Elements)
	}
	return b.fits(0)
}

// fits refuses text that n more bytes would make too large.
func (b *rawBuilder) fits(n int) error {
	if len(b.buf)+n > b.lim.Size {
		return refuse(ReasonTooLarge, "body has more than %d bytes as JSON", b.lim.Size)
	}
	return nil
}

func (b *rawBuilder) open(bracket byte) error {
	if err := b.add(1); err != nil {
		return err
	}
	if b.depth++; b.depth > b.lim.Depth {
		return refuse(ReasonTooDeep, "limit %d", b.lim.Depth)
	}
	b.buf = append(b.buf, bracket)
	return nil
}

func (b *rawBuilder) close(bracket byte) {
	b.depth--
	b.buf = append(b.buf, bracket)
}

// word appends a number, null, true or false.
func (b *rawBuilder) word(text string) error {
	if err := b.add(1); err != nil {
		return err
	}
	b.buf = append(b.buf, text...)
	return nil
}

func (b *rawBuilder) text(s string) error {
	if err := b.add(1); err != nil {
		return err
	}
	return b.quoted(s)
}

// quoted appends a key, which does not count as a value.
func (b *rawBuilder) quoted(s string) error {
	// The length is checked before the text is allocated, because escapes may make it six
	// times as long.
	if err := b.fits(quotedLen(s)); err != nil {
		return err
	}
	b.buf = appendQuotedSurrogates(b.buf, s)
	return nil
}

// quotedLen returns the length of a text in quotes.
func quotedLen(s string) int {
	n := 2
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\f', c == '\b':
			n += 2
		case c < ' ', c == 0x7f, c >= 0xc0 && c < 0xf0:
			n += 6
		case c < 0x80:
			n++
		case c >= 0xf0: // two surrogates
			n += 12
		}
	}
	return n
}

// typed appends an object of kombu around a text.
func (b *rawBuilder) typed(typ, value string) error {
	if err := b.add(3); err != nil {
		return err
	}
	if err := b.fits(quotedLen(value)); err != nil {
		return err
	}
	b.buf = append(b.buf, `{"__type__": "`...)
	b.buf = append(b.buf, typ...)
	b.buf = append(b.buf, `", "__value__": `...)
	b.buf = append(appendQuoted(b.buf, value), '}')
	return nil
}

func (b *rawBuilder) bytes(data []byte) error {
	if utf8.Valid(data) {
		return b.typed("bytes", string(data))
	}
	if err := b.fits(len(data)); err != nil {
		return err
	}
	return b.typed("base64", base64.StdEncoding.EncodeToString(data))
}

// appendQuotedSurrogates does what appendQuoted does for text that may hold surrogates
// encoded as characters, as other formats give them to Python.
func appendQuotedSurrogates(dst []byte, s string) []byte {
	start := 0
	dst = append(dst, '"')
	for i := 0; i+2 < len(s); i++ {
		if s[i] == 0xed && s[i+1] >= 0xa0 {
			dst = appendText(dst, s[start:i])
			dst = appendEscaped(dst, rune(0xd000)|rune(s[i+1]&0x3f)<<6|rune(s[i+2]&0x3f))
			start, i = i+3, i+2
		}
	}
	return append(appendText(dst, s[start:]), '"')
}

// keyed turns the text of a scalar into a key, as json.dumps does. A string stays as it
// is, and a word is quoted. It returns false for a container, which cannot be a key.
func keyed(scalar []byte) ([]byte, bool) {
	switch scalar[0] {
	case '"':
		return scalar, true
	case '{', '[':
		return nil, false
	}
	return []byte(strconv.Quote(string(scalar))), true
}
