package protocol

import (
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
)

// maxNesting is the depth at which Marshal assumes that a value holds itself.
const maxNesting = 1000

// MarshalError reports a value that has no form in JSON. It names the Go type, never the
// value.
type MarshalError struct {
	Type   reflect.Type // nil: unknown
	Detail string
}

func (e *MarshalError) Error() string {
	return fmt.Sprintf("value of type %v is not JSON serializable: %s", e.Type, e.Detail)
}

// Marshal returns v as Python's json.dumps writes it: with ", " and ": " between values,
// in ASCII, and with floats as Python shows them. NaN, Infinity and -Infinity stand for
// the floats that JSON does not have.
//
// Otherwise it follows encoding/json: its struct tags, sorted keys of maps,
// base64 for []byte, and the interfaces [json.Marshaler] and
// [encoding.TextMarshaler]. Texts of a Marshaler and of [Raw] must be valid in
// Python's dialect; their numbers are kept as they are.
//
// The error is a *[MarshalError] or comes from a method of the value.
func Marshal(v any) (b []byte, err error) { return appendValue(nil, v) }

// appendValue appends the text that Marshal returns.
func appendValue(dst []byte, v any) (b []byte, err error) {
	switch v := v.(type) { // types that need no reflection
	case nil:
		return append(dst, null...), nil
	case string:
		return appendQuoted(dst, v), nil
	case Raw:
		if len(v) == 0 {
			return append(dst, null...), nil
		}
		if b, err := appendRaw(dst, v); err == nil {
			return b, nil
		}
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		return appendFloat(dst, v, 64), nil
	}
	return appendAny(dst, v)
}

func appendAny(dst []byte, v any) (b []byte, err error) {
	defer func() {
		if r := recover(); r != nil { // of a method of v; r may hold its content
			b, err = nil, &MarshalError{reflect.TypeOf(v), "one of its methods panicked"}
		}
	}()
	e := encoder{buf: dst}
	if err := e.value(reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	return e.buf, nil
}

type encoder struct {
	buf    []byte
	depth  int
	fields fieldCache
}

func (e *encoder) value(v reflect.Value) error {
	if !v.IsValid() {
		e.buf = append(e.buf, "null"...)
		return nil
	}
	if e.depth++; e.depth > maxNesting {
		return &MarshalError{v.Type(), "nested too deep"}
	}
	defer func() { e.depth-- }()
	if done, err := e.method(v); done || err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Bool:
		e.buf = strconv.AppendBool(e.buf, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.buf = strconv.AppendInt(e.buf, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		e.buf = strconv.AppendUint(e.buf, v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		e.buf = appendFloat(e.buf, v.Float(), v.Type().Bits())
	case reflect.String:
		e.buf = appendQuoted(e.buf, v.String())
	case reflect.Interface, reflect.Pointer:
		return e.value(v.Elem()) // of nil: the invalid value
	case reflect.Slice, reflect.Array:
		return e.array(v)
	case reflect.Map:
		return e.object(v)
	case reflect.Struct:
		return e.structure(v)
	default:
		return &MarshalError{v.Type(), "JSON has no such type"}
	}
	return nil
}

// method writes a value by its own method, if it has one.
func (e *encoder) method(v reflect.Value) (done bool, err error) {
	if k := v.Kind(); (k == reflect.Pointer || k == reflect.Interface) && v.IsNil() || !v.CanInterface() {
		return false, nil
	}
	switch x := v.Interface().(type) {
	case Raw:
		if len(x) == 0 {
			x = Raw("null")
		}
		return true, e.raw(v, x)
	case json.Number:
		return true, e.raw(v, Raw(or(string(x), "0")))
	case big.Int:
		e.buf = x.Append(e.buf, 10)
		return true, nil
	case json.Marshaler:
		return true, e.marshaler(v, x)
	case encoding.TextMarshaler:
		return true, e.textMarshaler(x)
	}
	if v.Kind() == reflect.Pointer || !v.CanAddr() {
		return false, nil
	}
	switch x := v.Addr().Interface().(type) {
	case json.Marshaler:
		return true, e.marshaler(v, x)
	case encoding.TextMarshaler:
		return true, e.textMarshaler(x)
	}
	return false, nil
}

func (e *encoder) marshaler(v reflect.Value, m json.Marshaler) error {
	b, err := m.MarshalJSON()
	if err != nil {
		return err
	}
	return e.raw(v, b)
}

func (e *encoder) textMarshaler(m encoding.TextMarshaler) error {
	b, err := m.MarshalText()
	if err != nil {
		return err
	}
	e.buf = appendQuoted(e.buf, string(b))
	return nil
}

func (e *encoder) raw(v reflect.Value, r Raw) (err error) {
	if e.buf, err = appendRaw(e.buf, r); err != nil {
		return &MarshalError{v.Type(), "its text is not JSON"}
	}
	return nil
}

func (e *encoder) array(v reflect.Value) error {
	if v.Kind() == reflect.Slice {
		if v.IsNil() {
			e.buf = append(e.buf, "null"...)
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 && !hasMethods(v.Type().Elem()) {
			e.buf = append(e.buf, '"')
			e.buf = base64.StdEncoding.AppendEncode(e.buf, v.Bytes())
			e.buf = append(e.buf, '"')
			return nil
		}
	}
	e.buf = append(e.buf, '[')
	for i := range v.Len() {
		if i > 0 {
			e.buf = append(e.buf, ", "...)
		}
		if err := e.value(v.Index(i)); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, ']')
	return nil
}

func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func (e *encoder) object(v reflect.Value) error {
	if v.IsNil() {
		e.buf = append(e.buf, "null"...)
		return nil
	}
	type member struct {
		name  string
		value reflect.Value
	}
	members := make([]member, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		name, err := keyText(it.Key())
		if err != nil {
			return err
		}
		members = append(members, member{name, it.Value()})
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	e.buf = append(e.buf, '{')
	for i, m := range members {
		e.key(m.name, i == 0)
		if err := e.value(m.value); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

func (e *encoder) key(name string, first bool) {
	if !first {
		e.buf = append(e.buf, ", "...)
	}
	e.buf = appendQuoted(e.buf, name)
	e.buf = append(e.buf, ": "...)
}

func keyText(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		if k.Kind() == reflect.Pointer && k.IsNil() {
			return "", nil
		}
		b, err := m.MarshalText()
		return string(b), err
	}
	switch {
	case k.CanInt():
		return strconv.FormatInt(k.Int(), 10), nil
	case k.CanUint():
		return strconv.FormatUint(k.Uint(), 10), nil
	}
	return "", &MarshalError{k.Type(), "not fit for the key of an object"}
}

func (e *encoder) structure(v reflect.Value) error {
	e.buf = append(e.buf, '{')
	first := true
	for _, f := range e.fields.of(v.Type()) {
		fv, ok := fieldOf(v, f.index)
		if !ok || f.omitEmpty && isEmpty(fv) || f.omitZero && isZero(fv) {
			continue
		}
		e.key(f.name, first)
		first = false
		start := len(e.buf)
		if err := e.value(fv); err != nil {
			return err
		}
		if text := string(e.buf[start:]); f.quoted && text != "null" {
			e.buf = appendQuoted(e.buf[:start], text)
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

// fieldOf returns a field, and false if it is inside an embedded nil pointer.
func fieldOf(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, n := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(n)
	}
	return v, true
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func isZero(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok {
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return true
		}
		return z.IsZero()
	}
	return v.IsZero()
}
