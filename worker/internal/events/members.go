package events

import (
	"strconv"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Members writes the members of an event as JSON. Its methods add one member each.
type Members struct{ buf []byte }

// Bytes returns what was written. It is valid until the next call of a method.
func (m *Members) Bytes() []byte { return m.buf }

func (m *Members) name(name string) {
	m.buf = append(m.buf, ", "...)
	m.buf = append(protocol.AppendString(m.buf, name), ": "...)
}

// Text adds a text, even if empty.
func (m *Members) Text(name, value string) {
	m.name(name)
	m.buf = protocol.AppendString(m.buf, value)
}

// TextOrNull adds a text, or null if it is empty.
func (m *Members) TextOrNull(name, value string) {
	if value == "" {
		m.Null(name)
		return
	}
	m.Text(name, value)
}

// Null adds null.
func (m *Members) Null(name string) {
	m.name(name)
	m.buf = append(m.buf, "null"...)
}

// Time adds a time, or null if it is zero.
func (m *Members) Time(name string, t time.Time) {
	if t.IsZero() {
		m.Null(name)
		return
	}
	m.Text(name, protocol.FormatTime(t))
}

// Number adds a whole number.
func (m *Members) Number(name string, n int) {
	m.name(name)
	m.buf = strconv.AppendInt(m.buf, int64(n), 10)
}

// Seconds adds a duration in seconds.
func (m *Members) Seconds(name string, d time.Duration) {
	m.name(name)
	m.buf = protocol.AppendFloat(m.buf, d.Seconds())
}

// Bool adds true or false.
func (m *Members) Bool(name string, v bool) {
	m.name(name)
	m.buf = strconv.AppendBool(m.buf, v)
}
