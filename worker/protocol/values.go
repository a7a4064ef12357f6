package protocol

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
)

func isText(r Raw) bool { return len(r) > 0 && r[0] == '"' }

// text returns a string, "" for everything else.
func text(r Raw) string {
	if !isText(r) {
		return ""
	}
	return unquote(r)
}

// texts returns the strings of an array; nil for everything else.
func texts(r Raw) []string {
	if r.IsNull() {
		return nil
	}
	elements, err := r.Elements()
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range elements {
		if isText(e) {
			list = append(list, unquote(e))
		}
	}
	return list
}

// name returns an id or the name of a task. Any text is valid, except an empty one and
// one with an unpaired surrogate, which has no form in a key. A whole number becomes its
// digits.
func name(r Raw) (string, bool) {
	if len(r) > 0 && len(r) < 20 && ('1' <= r[0] && r[0] <= '9' || string(r) == "0") && !bytes.ContainsAny(r, ".eE") {
		return string(r), true
	}
	if !isText(r) {
		return "", false
	}
	b, exact := []byte(r[1:len(r)-1]), true
	if bytes.IndexByte(r, '\\') >= 0 {
		b, exact = appendUnquoted(make([]byte, 0, len(r)), r)
	}
	if !exact || len(b) == 0 || len(b) > maxName {
		return "", false
	}
	return string(b), true
}

// emptyContainer reports whether an array or object has nothing in it.
func emptyContainer(r Raw) bool { return len(r) >= 2 && len(bytes.TrimSpace(r[1:len(r)-1])) == 0 }

// isFalse reports whether a value is false in Python, as every form of an absent value
// is.
func isFalse(r Raw) bool {
	switch string(r) {
	case "", "null", "false", "0", `""`:
		return true
	}
	return (r[0] == '[' || r[0] == '{') && emptyContainer(r)
}

// when reads a time. null, an absent value, "" and false give the zero time, because some
// producers write an absent time so. kombu 5.3 and later may send a time as a typed
// object.
func when(r Raw) (time.Time, bool) {
	if r.IsNull() || string(r) == `""` || string(r) == "false" {
		return time.Time{}, true
	}
	if typ, value, ok := r.typed(); ok && typ == "datetime" {
		r = value
	}
	if !isText(r) {
		return time.Time{}, false
	}
	t, err := ParseTime(unquote(r))
	return t, err == nil
}

func boolean(r Raw) (value, ok bool) {
	switch string(r) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// wholeNumber reads a number or its text, as int() does in Python. It returns 0 if it is
// neither, and the nearest number of 32 bits if it is too large.
func wholeNumber(r Raw) int {
	if r.IsNull() {
		return 0
	}
	s := string(r)
	if isText(r) {
		s = strings.TrimSpace(unquote(r))
	}
	f, err := strconv.ParseFloat(s, 64)
	if math.IsNaN(f) || err != nil && !math.IsInf(f, 0) {
		return 0
	}
	return int(min(max(f, math.MinInt32), math.MaxInt32))
}

// timeLimits reads [hard, soft] in seconds. A value that is no positive number means no
// limit.
func timeLimits(r Raw) (hard, soft time.Duration) {
	if string(r) == "[null, null]" { // as nearly always
		return 0, 0
	}
	limits, err := r.Elements()
	if err != nil || len(limits) != 2 {
		return 0, 0
	}
	return seconds(limits[0]), seconds(limits[1])
}

func seconds(r Raw) time.Duration {
	if r.IsNull() {
		return 0
	}
	f, err := strconv.ParseFloat(string(bytes.TrimSpace(r)), 64)
	if err != nil || !(f > 0) {
		return 0
	}
	if f >= float64(math.MaxInt64)/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(f * float64(time.Second))
}

// Types of values that JSON has no type for. kombu 5.3 and later (kombu.utils.json) sends
// them as {"__type__": ..., "__value__": ...}. [Unmarshal] into an any makes these types.
type (
	// Decimal is a decimal.Decimal, such as "59.90".
	Decimal string
	// Date is a datetime.date, such as "2026-01-31".
	Date string
	// TimeOfDay is a datetime.time, such as "20:00:01".
	TimeOfDay string
	// UUID is a uuid.UUID, in the form with hyphens.
	UUID string
)

// typed returns the parts of a typed object. An object with other members is none.
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

// untype returns the Go value of a typed object that was decoded as m, or m if its type
// is unknown. Python refuses unknown types; here the object is passed on as it is, which
// does no harm.
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

// plain returns the text of a value that untype has made, for Go types that are read from
// text.
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
