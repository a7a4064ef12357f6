package protocol

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"time"
)

// UnmarshalError names the part of a value that does not fit its Go type. It never holds
// the value or the key of a map.
type UnmarshalError struct {
	Path   string       // names of struct fields, "[0]" and "*" for a key of a map; "" is the whole
	Type   reflect.Type // the target
	Value  string       // type of the JSON value, such as "string"
	Detail string       // may be empty
}

func (e *UnmarshalError) Error() string {
	s := fmt.Sprintf("%s does not fit %v", e.Value, e.Type)
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unmarshal reads raw into v, a pointer, by the rules of encoding/json: struct tags,
// names that match exactly or without case, json.Unmarshaler and
// encoding.TextUnmarshaler. Unknown members are ignored, and null does not change a value
// that cannot be nil. Beyond that
//
//   - NaN, Infinity, -Infinity and numbers that are too large arrive in floats
//     as they do in Python;
//   - a time.Time takes every form that [ParseTime] does;
//   - the typed objects of kombu ({"__type__", "__value__"}) are read into what
//     takes their text: time.Time, string, []byte or an
//     encoding.TextUnmarshaler.
//
// In an any, numbers are int64, *[big.Int] if they are larger, or float64; arrays are
// []any and objects map[string]any. Typed objects are time.Time, [Date], [TimeOfDay],
// [Decimal], [UUID] or []byte; those of unknown type stay objects.
//
// The error is a *[DecodeError] for text that is not JSON and a *[UnmarshalError] for a
// value that does not fit. It quotes nothing of raw, and so drops the errors of
// Unmarshalers.
func Unmarshal(raw Raw, v any) (err error) {
	defer func() {
		if recover() != nil { // in a method of v; the reason may hold content
			err = &UnmarshalError{Type: reflect.TypeOf(v), Value: "value", Detail: "one of its methods panicked"}
		}
	}()
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return &UnmarshalError{Type: reflect.TypeOf(v), Value: "value", Detail: "not a pointer"}
	}
	s, err := newScanner(raw, tolerant(len(raw)))
	if err != nil {
		return err
	}
	d := decoder{scanner: &s}
	if err := d.into(target.Elem()); err != nil {
		return err
	}
	return s.end()
}

// any reads the next value into the Go type that fits it best.
func (s *scanner) any() (any, error) {
	s.space()
	switch s.peek() {
	case '{':
		return s.anyObject()
	case '[':
		return s.anyArray()
	}
	text, k, err := s.value()
	if err != nil {
		return nil, err
	}
	switch k {
	case kindNull:
		return nil, nil
	case kindBool:
		return text[0] == 't', nil
	case kindString:
		return unquote(text), nil
	case kindInt:
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return n, nil
		}
		n, _ := new(big.Int).SetString(string(text), 10)
		return n, nil
	}
	return float(text), nil
}

// float reads a number as Python's float() does. A number that is too large is infinite.
func float(number Raw) float64 {
	f, _ := strconv.ParseFloat(string(number), 64) // the scanner has checked the syntax
	return f
}

func (s *scanner) anyArray() (any, error) {
	if _, err := s.enter('['); err != nil {
		return nil, err
	}
	list := []any{}
	for {
		more, err := s.next()
		if err != nil {
			return nil, err
		}
		if !more {
			return list, nil
		}
		v, err := s.any()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (s *scanner) anyObject() (any, error) {
	m := map[string]any{}
	_, err := s.members(func(key Raw) error {
		v, err := s.any()
		m[unquote(key)] = v
		return err
	})
	if err != nil {
		return nil, err
	}
	return untype(m), nil
}

// scalar sets a value that is neither struct nor map nor list.
func (d *decoder) scalar(v reflect.Value, text Raw) error {
	t := v.Type()
	number := kindOf(text) == kindInt || kindOf(text) == kindFloat
	switch {
	case t == reflect.TypeFor[json.Number]() && number:
		v.SetString(string(text))
		return nil
	case v.Kind() == reflect.Bool:
		if b, ok := boolean(text); ok {
			v.SetBool(b)
			return nil
		}
	case v.CanInt():
		if n, err := strconv.ParseInt(string(text), 10, t.Bits()); err == nil {
			v.SetInt(n)
			return nil
		}
	case v.CanUint():
		if n, err := strconv.ParseUint(string(text), 10, t.Bits()); err == nil {
			v.SetUint(n)
			return nil
		}
	case v.CanFloat() && number:
		v.SetFloat(float(text))
		return nil
	case v.Kind() == reflect.String:
		if s, ok := textOf(text); ok {
			v.SetString(s)
			return nil
		}
	case v.Kind() == reflect.Slice:
		return d.bytes(v, text)
	}
	return d.misfit(t, text, "")
}

// bytes sets a []byte: base64 of a string, as encoding/json has it, or the
// value of a typed object.
func (d *decoder) bytes(v reflect.Value, text Raw) error {
	if isText(text) {
		if b, err := base64.StdEncoding.DecodeString(unquote(text)); err == nil {
			v.SetBytes(b)
			return nil
		}
		return d.misfit(v.Type(), text, "not base64")
	}
	s, ok := textOf(text)
	if !ok {
		return d.misfit(v.Type(), text, "")
	}
	v.SetBytes([]byte(s))
	return nil
}

func readTime(t *time.Time, text Raw) error {
	if text.IsNull() {
		return nil
	}
	s, ok := textOf(text)
	if !ok {
		return errTime
	}
	parsed, err := ParseTime(s)
	if err == nil {
		*t = parsed
	}
	return err
}

// textOf returns the text of a string, or of a typed object.
func textOf(text Raw) (string, bool) {
	if isText(text) {
		return unquote(text), true
	}
	if _, _, ok := text.typed(); !ok {
		return "", false
	}
	v, err := (&scanner{data: text, limits: tolerant(len(text))}).any()
	if err != nil {
		return "", false
	}
	return plain(v)
}
