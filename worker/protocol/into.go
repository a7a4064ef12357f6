package protocol

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder reads JSON into Go values of given types.
type decoder struct {
	*scanner
	fields fieldCache
}

// misfit makes the error for the next value, or for the value at text.
func (d *decoder) misfit(t reflect.Type, text Raw, detail string) error {
	return &UnmarshalError{Type: t, Value: kindOf(text).String(), Detail: detail}
}

// kindOf returns the type of a value from its first bytes.
func kindOf(text Raw) kind {
	switch text[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	}
	if bytes.ContainsAny(text, ".eENI") {
		return kindFloat
	}
	return kindInt
}

// at adds a step to the path of an error.
func at(step string, err error) error {
	if e, ok := errors.AsType[*UnmarshalError](err); ok {
		if e.Path != "" && e.Path[0] != '[' {
			step += "."
		}
		e.Path = step + e.Path
	}
	return err
}

func (d *decoder) into(v reflect.Value) error {
	d.space()
	isNull := d.peek() == 'n'
	for v.Kind() == reflect.Pointer {
		if isNull {
			v.SetZero()
			return d.ignore()
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if done, err := d.method(v); done || err != nil {
		return err
	}
	if isNull {
		switch v.Kind() {
		case reflect.Interface, reflect.Map, reflect.Slice:
			v.SetZero()
		}
		return d.ignore()
	}
	switch v.Kind() {
	case reflect.Interface:
		return d.iface(v)
	case reflect.Struct:
		return d.structure(v)
	case reflect.Map:
		return d.mapping(v)
	case reflect.Array:
		return d.list(v)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 || d.peek() == '[' {
			return d.list(v)
		}
	}
	text, _, err := d.value()
	if err != nil {
		return err
	}
	return d.scalar(v, text)
}

func (d *decoder) ignore() error {
	_, _, err := d.value()
	return err
}

// method reads into types that have a method for it, and into types with more forms than
// encoding/json reads.
func (d *decoder) method(v reflect.Value) (done bool, err error) {
	if !v.CanAddr() || !v.Addr().CanInterface() {
		return false, nil
	}
	target := v.Addr().Interface()
	switch target.(type) {
	case *time.Time, json.Unmarshaler, encoding.TextUnmarshaler:
	default:
		return false, nil
	}
	text, k, err := d.value()
	if err != nil {
		return true, err
	}
	switch x := target.(type) {
	case *time.Time:
		err = readTime(x, text)
	case *big.Int: // its own error would quote the number
		if k == kindInt {
			x.SetString(string(text), 10)
		} else if k != kindNull {
			err = errors.New("not an integer")
		}
	case json.Unmarshaler:
		err = x.UnmarshalJSON(bytes.Clone(text))
	case encoding.TextUnmarshaler:
		if k == kindNull {
			return true, nil
		}
		s, ok := textOf(text)
		if !ok {
			return true, d.misfit(v.Type(), text, "")
		}
		err = x.UnmarshalText([]byte(s))
	}
	if err != nil {
		return true, d.misfit(v.Type(), text, "not in its form")
	}
	return true, nil
}

func (d *decoder) iface(v reflect.Value) error {
	if v.NumMethod() > 0 {
		text, _, err := d.value()
		if err != nil {
			return err
		}
		return d.misfit(v.Type(), text, "an interface with methods")
	}
	value, err := d.any()
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(value))
	return nil
}

func (d *decoder) structure(v reflect.Value) error {
	fields := d.fields.of(v.Type())
	return d.membersOf(v.Type(), func(name string) error {
		f := findField(fields, name)
		if f == nil {
			return d.ignore()
		}
		fv, err := settable(v, f.index)
		if err != nil {
			return at(f.name, err)
		}
		if !f.quoted {
			return at(f.name, d.into(fv))
		}
		return at(f.name, d.quoted(fv))
	})
}

// membersOf calls fn for every member of the next object. Any other value does not fit t.
func (d *decoder) membersOf(t reflect.Type, fn func(name string) error) error {
	if d.peek() != '{' {
		text, _, err := d.value()
		if err != nil {
			return err
		}
		return d.misfit(t, text, "")
	}
	_, err := d.members(func(key Raw) error { return fn(unquote(key)) })
	return err
}

func findField(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}

// settable returns a field and makes the embedded structs on the way to it.
func settable(v reflect.Value, index []int) (reflect.Value, error) {
	for i, n := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return v, &UnmarshalError{Type: v.Type(), Value: "value", Detail: "embedded pointer to an unexported struct"}
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(n)
	}
	return v, nil
}

// quoted reads a field with the option "string": the value as JSON in a string.
func (d *decoder) quoted(v reflect.Value) error {
	text, k, err := d.value()
	if err != nil {
		return err
	}
	if k == kindString {
		text = Raw(unquote(text))
	} else if k != kindNull {
		return d.misfit(v.Type(), text, `option "string"`)
	}
	s, err := newScanner(text, tolerant(len(text)))
	if err == nil {
		inner := decoder{scanner: &s, fields: d.fields}
		if err = inner.into(v); err == nil {
			err = s.end()
		}
	}
	if err != nil {
		return &UnmarshalError{Type: v.Type(), Value: k.String(), Detail: `option "string"`}
	}
	return nil
}

func (d *decoder) mapping(v reflect.Value) error {
	t := v.Type()
	if v.IsNil() {
		v.Set(reflect.MakeMap(t))
	}
	return d.membersOf(t, func(name string) error {
		key, err := keyValue(t.Key(), name)
		if err != nil {
			return at("*", err)
		}
		elem := reflect.New(t.Elem()).Elem()
		if err := d.into(elem); err != nil {
			return at("*", err)
		}
		v.SetMapIndex(key, elem)
		return nil
	})
}

func keyValue(t reflect.Type, name string) (reflect.Value, error) {
	key := reflect.New(t)
	misfit := &UnmarshalError{Type: t, Value: "key"}
	if u, ok := key.Interface().(encoding.TextUnmarshaler); ok {
		if u.UnmarshalText([]byte(name)) != nil {
			return key, misfit
		}
		return key.Elem(), nil
	}
	key = key.Elem()
	switch {
	case key.Kind() == reflect.String:
		key.SetString(name)
	case key.CanInt():
		n, err := strconv.ParseInt(name, 10, t.Bits())
		if err != nil {
			return key, misfit
		}
		key.SetInt(n)
	case key.CanUint():
		n, err := strconv.ParseUint(name, 10, t.Bits())
		if err != nil {
			return key, misfit
		}
		key.SetUint(n)
	default:
		return key, misfit
	}
	return key, nil
}

func (d *decoder) list(v reflect.Value) error {
	t := v.Type()
	ok, err := d.enter('[')
	if err != nil {
		return err
	}
	if !ok {
		text, _, err := d.value()
		if err != nil {
			return err
		}
		return d.misfit(t, text, "")
	}
	slice := v.Kind() == reflect.Slice
	if slice {
		v.Set(reflect.MakeSlice(t, 0, 0))
	}
	for n := 0; ; n++ {
		more, err := d.next()
		if err != nil {
			return err
		}
		if !more {
			for ; !slice && n < v.Len(); n++ {
				v.Index(n).SetZero()
			}
			return nil
		}
		switch {
		case slice:
			v.Set(reflect.Append(v, reflect.Zero(t.Elem())))
		case n >= v.Len():
			if err := d.ignore(); err != nil {
				return err
			}
			continue
		}
		if err := d.into(v.Index(n)); err != nil {
			return at("["+strconv.Itoa(n)+"]", err)
		}
	}
}
