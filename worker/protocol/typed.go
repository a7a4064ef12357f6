package protocol

import (
	"encoding/base64"
	"time"
)

// kombu 5.3 and later (kombu.utils.json) sends what JSON has no type for as
// {"__type__": ..., "__value__": ...}. These are the Go types of what has no
// better one; [Unmarshal] into an any makes them.
type (
	Decimal   string // decimal.Decimal, such as "59.90"
	Date      string // datetime.date, such as "2026-01-31"
	TimeOfDay string // datetime.time, such as "20:00:01"
	UUID      string // uuid.UUID, in the form with hyphens
)

// typed takes apart a typed object. An object with other members is just an
// object.
func (r Raw) typed() (typ string, value Raw, ok bool) {
	if len(r) == 0 || r[0] != '{' {
		return "", nil, false
	}
	fields, err := r.Fields()
	if err != nil || len(fields) != 2 {
		return "", nil, false
	}
	for _, f := range fields {
		switch f.Name {
		case "__type__":
			typ, ok = text(f.Value), isText(f.Value)
		case "__value__":
			value = f.Value
		}
	}
	return typ, value, ok && value != nil
}

// untype returns the Go value of a typed object that was decoded as m, or m
// when it is none that we know. Python refuses unknown types; passing on the
// object as it is can do no harm here.
func untype(m map[string]any) any {
	typ, ok := m["__type__"].(string)
	if !ok || len(m) != 2 {
		return m
	}
	switch value := m["__value__"].(type) {
	case string:
		if v, ok := typedText(typ, value); ok {
			return v
		}
	case map[string]any:
		if hex, ok := value["hex"].(string); ok && typ == "uuid" && len(hex) == 32 {
			return hyphenated(hex)
		}
	}
	return m
}

func typedText(typ, value string) (any, bool) {
	switch typ {
	case "datetime":
		t, err := ParseTime(value)
		return t, err == nil
	case "date":
		return Date(value), true
	case "time":
		return TimeOfDay(value), true
	case "decimal":
		return Decimal(value), true
	case "bytes":
		return []byte(value), true
	case "base64":
		b, err := base64.StdEncoding.DecodeString(value)
		return b, err == nil
	}
	return nil, false
}

func hyphenated(hex string) UUID {
	return UUID(hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:])
}

// plain returns the text of a value that untype has made, for the Go types that
// take text.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case Decimal:
		return string(v), true
	case Date:
		return string(v), true
	case TimeOfDay:
		return string(v), true
	case UUID:
		return string(v), true
	case []byte:
		return string(v), true
	}
	return "", false
}
