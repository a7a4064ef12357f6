package protocol

import (
	"bytes"
	"math"
	"strconv"
)

// Restorable reports, with a nil error, that a Python worker that claims raw can
// put it back into its queue: it is strict JSON, has the parts of an envelope
// that kombu reads, and holds no typed object that kombu cannot make. The body is
// not looked at, and neither is what only a task needs. The error is a
// *[DecodeError].
//
// What is not restorable must never be entered as unacknowledged: every Python
// worker that shares the broker would crash at it, again and again.
func Restorable(raw []byte) error {
	e := envelope{skim: true}
	lim := tolerant(len(raw))
	lim.Depth = maxRestorableDepth
	if err := e.read(raw, lim); err != nil {
		return err
	}
	return e.restorable(raw)
}

// restorable is what there is to say of raw when it has been read.
func (e *envelope) restorable(raw []byte) error {
	if err := e.sound(); err != nil {
		return err
	}
	// kombu does without headers, as old producers of protocol 1 have none; it
	// stumbles over those that are something else.
	if e.hasHeaders && e.headersKind != kindObject {
		return refuse(ReasonNoHeaders, "headers are %v", e.headersKind)
	}
	if !isText(e.body) {
		return refuse(ReasonBadBody, "body is no string")
	}
	if !isText(e.exchange) || !isText(e.routingKey) {
		return refuse(ReasonNoDeliveryInfo, "exchange and routing key must be strings")
	}
	// Python cannot make an integer of it, and kombu drops the message for that.
	if infinite(e.priority) {
		return refuse(ReasonBadPriority, "priority is infinite")
	}
	if mayBeTyped(raw) {
		return typesKnown(raw)
	}
	return nil
}

// infinite reports whether a value is an infinite number for Python, as those are that
// are too large.
func infinite(r Raw) bool {
	if len(r) < 2 || isText(r) {
		return false
	}
	f, _ := strconv.ParseFloat(string(r), 64)
	return math.IsInf(f, 0) && bytes.ContainsAny(r, ".eEIy") // an integer may have any length
}

// mayBeTyped reports whether a value may hold a typed object: its key is there, or
// escapes that could spell it.
func mayBeTyped(raw []byte) bool {
	return bytes.Contains(raw, []byte("__type__")) || bytes.Contains(raw, []byte(`\u`))
}

// maxRestorableDepth is well below the depth at which Python's parser gives up in
// the middle of a worker.
const maxRestorableDepth = 500

// typesKnown refuses typed objects anywhere in a value that kombu has no type for,
// or whose value is not one of that type.
func typesKnown(r Raw) error {
	r = trim(r)
	switch r[0] {
	case '[':
		elements, err := r.Elements()
		if err != nil {
			return err
		}
		for _, e := range elements {
			if err := typesKnown(e); err != nil {
				return err
			}
		}
	case '{':
		fields, err := r.Fields()
		if err != nil {
			return err
		}
		if typ, value, ok := r.typed(); ok {
			if typ == "uuid" {
				return nil
			}
			if _, ok := typedText(typ, text(value)); !ok || !isText(value) {
				return refuse(ReasonBadBody, "typed object that kombu does not know")
			}
			return nil
		}
		for _, f := range fields {
			if err := typesKnown(f.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
