package protocol

import "encoding/base64"

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

// transcode gives the values of raw to out.
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

// transcodeTyped handles a typed object of kombu, when one comes next.
func (s *scanner) transcodeTyped(out sink) (done bool, err error) {
	ahead := *s
	if _, err := ahead.enter('{'); err != nil {
		return false, err
	}
	if more, err := ahead.next(); err != nil || !more {
		return false, err
	}
	// Most objects are known by their first key for none.
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
