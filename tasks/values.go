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

// dictionary reads one data dictionary of a producer. The rules, for all of
// its methods:
//
//   - A key that is missing, or null, has the default.
//   - Numbers may be JSON numbers or numeric strings; texts may be numbers,
//     which are taken as they are written.
//   - Dates, decimals and uuids may have kombu's typed form,
//     {"__type__": "date", "__value__": "2026-01-31"}.
//   - A value of another shape is a fault: a mail that states something that
//     nobody said is worse than no mail. The first fault is kept in err. Dates
//     and currencies are the exception, see there.
//   - Keys that nobody reads are ignored.
type dictionary struct {
	values map[string]protocol.Raw
	err    error // *dataError
}

// dataError is a value that the mail cannot be made with. It names the key and
// never shows the value.
type dataError struct{ key, want string }

func (e *dataError) Error() string { return e.key + " is not " + e.want }

// readDictionary reads an argument that must be an object. The error is a
// TypeError: Python would raise one, or its cousin AttributeError, at the
// first access.
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
		if shape(f.Value) == 'n' {
			delete(d.values, f.Name) // the last of two equal keys counts, as in Python
			continue
		}
		d.values[f.Name] = f.Value
	}
	return d, nil
}

// dictionary returns a dictionary inside d. Anything else counts as missing:
// it is only asked for what decorates a mail.
func (d *dictionary) dictionary(key string) *dictionary {
	inner, err := readDictionary(key, d.values[key])
	if err != nil {
		return &dictionary{}
	}
	return inner
}

// echo returns a value for the result, exactly as it came.
func (d *dictionary) echo(key, missing string) protocol.Raw {
	if raw, ok := d.values[key]; ok {
		return raw
	}
	return protocol.Raw(missing)
}

// text returns a string.
func (d *dictionary) text(key, missing string) string {
	raw, ok := d.values[key]
	if !ok {
		return missing
	}
	text, ok := scalar(raw)
	if !ok {
		d.fault(key, "a text")
		return missing
	}
	return text
}

// integer returns a whole number.
func (d *dictionary) integer(key string, missing int64) int64 {
	raw, ok := d.values[key]
	if !ok {
		return missing
	}
	n, ok := integer(raw)
	if !ok {
		d.fault(key, "a number")
		return missing
	}
	return n
}

// money returns an amount, zero when missing, in the currency that d names. One
// that does not exist is left out: the amount without it is what most producers
// send. Texts and Decimals are exact; numbers were floats, and lose their noise.
func (d *dictionary) money(key string) templates.Money {
	raw, ok := d.values[key]
	if !ok {
		raw = protocol.Raw("0")
	}
	text, ok := scalar(raw)
	if !ok {
		d.fault(key, "an amount")
		return templates.Money{}
	}
	parse := templates.ParseMoney
	if c := shape(raw); c != '"' && c != '{' {
		parse = templates.ParseMoneyNumber
	}
	currency, _ := scalar(d.values["currency"]) // not a text: none
	m, err := parse(text, currency)
	if err != nil {
		m, err = parse(text, "")
	}
	if err != nil {
		d.fault(key, "an amount")
	}
	return m
}

// date returns a date or a moment. One that cannot be read leaves its line out
// of the mail, as no mail is made for the sake of its date.
func (d *dictionary) date(key, missing string) templates.When {
	text := missing
	if raw, ok := d.values[key]; ok {
		text, _ = scalar(raw)
	}
	when, err := templates.ParseWhen(text)
	if err != nil {
		return templates.When{}
	}
	return when
}

func (d *dictionary) fault(key, want string) {
	if d.err == nil {
		d.err = &dataError{key: key, want: want}
	}
}

// integer reads a whole number: 42, "42" or 42.0.
func integer(raw protocol.Raw) (int64, bool) {
	text, ok := scalar(raw)
	if !ok {
		return 0, false
	}
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	// Python writes whole floats with a fraction, and databases whole decimals.
	// Beyond 2^53 a float is no exact id any more.
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// scalar returns the text of a string, of a number as it is written, or of
// what kombu types. ok is false for everything else, booleans included.
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

// shape returns the first character of a JSON value, which tells its kind; 0
// when there is none.
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
