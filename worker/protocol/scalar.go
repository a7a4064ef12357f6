package protocol

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"time"
)

// scalar sets what is neither struct nor map nor list.
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
