package tasks

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// dictionary reads one data dictionary of a producer. All of its methods follow these
// rules:
//
//   - A key that is missing, null, or a text of spaces has the default.
//   - A readable value is used: numbers may be texts and texts numbers, whole numbers may
//     be written as floats, and a typed value of kombu, such as
//     {"__type__": "date", "__value__": "2026-01-31"}, counts as its text.
//   - An unreadable value is left out of the mail. Its key is kept in leftOut, for the log.
//   - A value that the mail cannot be made without must be readable. The first unreadable
//     one is kept in err, and the message becomes a dead letter.
//   - Other keys are ignored.
type dictionary struct {
	values  map[string]protocol.Raw
	today   string // default of dates
	err     error  // *dataError
	leftOut []string

	read map[string]bool // keys that were read, with those of dictionaries around them; nil: not recorded
	path string          // keys of the dictionaries around this one, with dots
}

// dataError says that no mail can be made with the value of a key. It never shows the
// value.
type dataError struct{ key, want string }

func (e *dataError) Error() string { return e.key + " is not " + e.want }

// readDictionary reads an argument that must be an object. The error is a TypeError, as
// Python would raise one, or an AttributeError, at the first access.
func readDictionary(argument string, raw protocol.Raw) (*dictionary, error) {
	if shape(raw) != '{' {
		return nil, worker.TypeError("%s must be a dictionary", argument)
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil, worker.TypeError("%s must be a dictionary", argument)
	}
	d := &dictionary{values: make(map[string]protocol.Raw, len(fields))}
	for _, f := range fields {
		if isBlank(f.Value) {
			delete(d.values, f.Name) // the last of two equal keys counts, as in Python
			continue
		}
		d.values[f.Name] = f.Value
	}
	return d, nil
}

// dictionary returns a dictionary inside d. Any other value counts as missing, because no
// mail needs one.
func (d *dictionary) dictionary(key string) *dictionary {
	inner, err := readDictionary(key, d.values[key])
	if err != nil {
		inner = &dictionary{}
	}
	inner.read, inner.path = d.read, d.path+key+"."
	return inner
}

// has reports whether d has a value that is not missing.
func (d *dictionary) has(key string) bool {
	_, ok := d.values[key]
	return ok
}

// get returns a value that is not missing.
func (d *dictionary) get(key string) (protocol.Raw, bool) {
	if d.read != nil {
		d.read[d.path+key] = true
	}
	raw, ok := d.values[key]
	return raw, ok
}

// echo returns an unchanged copy of a value for the result.
func (d *dictionary) echo(key, missing string) protocol.Raw {
	if raw, ok := d.get(key); ok {
		return raw
	}
	return protocol.Raw(missing)
}

// reference returns the id of a thing that the mail is about, for its history. The mail does
// not need it, and it does not count as read.
func (d *dictionary) reference(key string) string {
	text, ok := textOf(d.values[key])
	if !ok {
		return ""
	}
	return text
}

// name returns a text. The mail cannot be made without it.
func (d *dictionary) name(key, missing string) string {
	raw, ok := d.get(key)
	if !ok {
		return missing
	}
	text, ok := textOf(raw)
	if !ok {
		d.fault(key, "a text")
		return missing
	}
	return text
}

// text returns a text, or otherwise for an unreadable one. The mail does not need it.
func (d *dictionary) text(key, missing, otherwise string) string {
	raw, ok := d.get(key)
	if !ok {
		return missing
	}
	text, ok := textOf(raw)
	if !ok {
		d.leaveOut(key)
		return otherwise
	}
	return text
}

// count returns a whole number, 0 for an unreadable one.
func (d *dictionary) count(key string, missing int64) int64 {
	raw, ok := d.get(key)
	if !ok {
		return missing
	}
	n, ok := integer(raw)
	if !ok {
		d.leaveOut(key)
		return 0
	}
	return n
}

// minutes returns a number of minutes, rounded down, 0 for an unreadable one. The word
// "minutes" may follow the number.
func (d *dictionary) minutes(key string, missing int64) int64 {
	raw, ok := d.get(key)
	if !ok {
		return missing
	}
	if n, ok := integer(raw); ok {
		return n
	}
	text, ok := scalar(raw)
	text = strings.ToLower(templates.Plain(text))
	for _, word := range []string{"minutes", "minute", "mins", "min", "m"} {
		if number, found := strings.CutSuffix(text, word); found {
			text = strings.TrimSpace(number)
			break
		}
	}
	f, isNumber := decimal(text)
	if !ok || !isNumber || math.Abs(f) > maxFloatInteger {
		d.leaveOut(key)
		return 0
	}
	return int64(math.Floor(f))
}

const currencyKey = "currency"

// Unstated is an amount that is left out of the mail on purpose, without a remark in the log: the
// default, which is zero, would be a guess.
const Unstated = "unstated"

// money returns an amount in the currency that d names: zero if it is missing, unknown if
// it is unreadable. A currency that does not exist is left out, as most producers send
// amounts without a currency.
func (d *dictionary) money(key string) templates.Money {
	raw, ok := d.get(key)
	if !ok {
		raw = protocol.Raw("0")
	}
	text, ok := scalar(raw)
	switch {
	case !ok:
		d.leaveOut(key)
		return templates.UnknownMoney()
	case text == Unstated:
		_, _ = d.get(currencyKey)
		return templates.UnknownMoney()
	}
	rawCurrency, given := d.get(currencyKey)
	currency, ok := scalar(rawCurrency)
	m, err := templates.ParseMoney(text, currency)
	switch {
	case err == nil && (ok || !given):
		return m
	case err == nil:
		d.leaveOut(currencyKey)
		return m
	}
	if m, err = templates.ParseMoney(text, ""); err != nil {
		d.leaveOut(key)
		return templates.UnknownMoney()
	}
	d.leaveOut(currencyKey)
	return m
}

// date returns a date or a moment, the zero When for an unreadable one.
func (d *dictionary) date(key, missing string) templates.When {
	text := missing
	raw, given := d.get(key)
	if given {
		text, _ = scalar(raw)
	}
	when, err := templates.ParseWhen(text)
	if err != nil && given {
		d.leaveOut(key)
	}
	return when
}

// localeKeys are the keys of the language of the reader, in the data or in its user_data.
var localeKeys = [...]string{"locale", "lang", "language"}

// locale returns the language of the reader, "" if the data names none. Producers need not send
// one, and an unreadable one is none.
func (d *dictionary) locale() string {
	for _, key := range localeKeys {
		if text, ok := scalar(d.values[key]); ok && !isNumber(d.values[key]) {
			return text
		}
	}
	user := d.values["user_data"]
	if d.path == "" && (bytes.Contains(user, []byte(`"loc`)) || bytes.Contains(user, []byte(`"lang`))) {
		inner := d.dictionary("user_data")
		return (&dictionary{values: inner.values, path: inner.path}).locale()
	}
	return ""
}

func (d *dictionary) leaveOut(key string) { d.leftOut = append(d.leftOut, key) }

func (d *dictionary) fault(key, want string) {
	if d.err == nil {
		d.err = &dataError{key: key, want: want}
	}
}

// maxFloatInteger is 2^53. Floats hold every integer up to it.
const maxFloatInteger = 1 << 53

// integer reads a whole number: 42, "42" or 42.0.
func integer(raw protocol.Raw) (int64, bool) {
	text, ok := scalar(raw)
	if !ok {
		return 0, false
	}
	text = templates.Plain(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	// Python writes whole floats with a fraction, and databases whole decimals. Above
	// 2^53 a float is not an exact id.
	f, ok := decimal(text)
	if !ok || f != math.Trunc(f) || math.Abs(f) > maxFloatInteger {
		return 0, false
	}
	return int64(f), true
}

// decimal reads a decimal number. It refuses words and other bases, which ParseFloat takes.
func decimal(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && strings.Trim(text, "0123456789.eE+-") == ""
}

// textOf returns the text of a value. It writes a whole number without a fraction, because
// databases and pandas make floats of ids.
func textOf(raw protocol.Raw) (string, bool) {
	text, ok := scalar(raw)
	if ok && isNumber(raw) && strings.ContainsAny(text, ".eE") {
		if n, ok := integer(raw); ok {
			return strconv.FormatInt(n, 10), true
		}
	}
	return text, ok
}

// isNumber reports whether a value is a number or a Decimal.
func isNumber(raw protocol.Raw) bool {
	switch c := shape(raw); c {
	case '"':
		return false
	case '{':
		var v any
		if protocol.Unmarshal(raw, &v) != nil {
			return false
		}
		_, ok := v.(protocol.Decimal)
		return ok
	default:
		return c == '-' || c >= '0' && c <= '9'
	}
}

// isBlank reports whether a value counts as missing: null, or a text of spaces.
func isBlank(raw protocol.Raw) bool {
	switch shape(raw) {
	case 'n':
		return true
	case '"':
		text, ok := scalar(raw)
		return ok && templates.Bare(text) == ""
	}
	return false
}

// scalar returns the text of a string, of a number as it is written, or of a typed value of
// kombu. ok is false for all other values, such as booleans.
func scalar(raw protocol.Raw) (text string, ok bool) {
	switch c := shape(raw); {
	case c == '"', c == '{': // Unmarshal knows kombu's types, and refuses other objects
		err := protocol.Unmarshal(raw, &text)
		return text, err == nil
	case c >= '0' && c <= '9', c == '-':
		text = string(bytes.TrimSpace(raw))
		return text, text != "-Infinity"
	}
	return "", false
}

// shape returns the first character of a JSON value, which tells its kind; 0 without one.
func shape(raw protocol.Raw) byte {
	for _, c := range raw {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}
