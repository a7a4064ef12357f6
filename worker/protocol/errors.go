package protocol

import (
	"errors"
	"fmt"
)

// Reason is the cause of a refusal, in one word for logs, metrics and dead letters.
type Reason string

// Reasons of a [DecodeError].
const (
	ReasonNotJSON         Reason = "not-json"          // the element is not JSON
	ReasonNotUTF8         Reason = "not-utf8"          // the element is not UTF-8
	ReasonNotObject       Reason = "not-object"        // the element is JSON, but no object
	ReasonTooLarge        Reason = "too-large"         // beyond Limits.Size, or an integer of more than 4300 digits
	ReasonTooDeep         Reason = "too-deep"          // beyond Limits.Depth
	ReasonTooManyElements Reason = "too-many-elements" // beyond Limits.Elements
	ReasonNoProperties    Reason = "no-properties"     // properties missing or no object
	ReasonNoDeliveryTag   Reason = "no-delivery-tag"   // properties.delivery_tag missing
	ReasonNoDeliveryInfo  Reason = "no-delivery-info"  // exchange or routing key missing
	ReasonBadPriority     Reason = "bad-priority"      // properties.priority is infinite
	ReasonNoHeaders       Reason = "no-headers"        // headers missing, but the body is one of protocol 2
	ReasonNoTask          Reason = "no-task"           // no task name
	ReasonNoID            Reason = "no-id"             // no task id
	ReasonBadTask         Reason = "bad-task"          // task name no text, or too long
	ReasonBadID           Reason = "bad-id"            // task id no text, empty, or too long
	ReasonBodyEncoding    Reason = "body-encoding"     // properties.body_encoding unknown
	ReasonBadBase64       Reason = "bad-base64"        // body is not base64
	ReasonCompression     Reason = "compression"       // compression unknown, or body damaged
	ReasonContentType     Reason = "content-type"      // content type is not among the accepted ones
	ReasonPickle          Reason = "pickle"            // body is pickle, which is never read
	ReasonBadBody         Reason = "bad-body"          // body is not of its content type, or has the wrong shape
	ReasonBadArgs         Reason = "bad-args"          // args is no array, and not empty
	ReasonBadKwargs       Reason = "bad-kwargs"        // kwargs is no object, and not empty
	ReasonBadETA          Reason = "bad-eta"           // eta is no ISO 8601 time
	ReasonBadExpires      Reason = "bad-expires"       // expires is no ISO 8601 time
)

// DecodeError reports why a message, an entry or a result could not be decoded. Its text
// never holds a piece of the content.
type DecodeError struct {
	Reason Reason
	Err    error // detail such as the position; may be nil
}

func (e *DecodeError) Error() string {
	if e.Err == nil {
		return "decode: " + string(e.Reason)
	}
	return "decode: " + string(e.Reason) + ": " + e.Err.Error()
}

func (e *DecodeError) Unwrap() error { return e.Err }

// refuse makes a DecodeError. The arguments must not be content of the message.
func refuse(r Reason, format string, args ...any) *DecodeError {
	return &DecodeError{Reason: r, Err: fmt.Errorf(format, args...)}
}

// inBody turns a fault of the JSON text into one of the body.
func inBody(err error) error {
	e, ok := errors.AsType[*DecodeError](err)
	if !ok {
		return err
	}
	if e.Reason == ReasonNotJSON || e.Reason == ReasonNotUTF8 {
		return refuse(ReasonBadBody, "%s: %w", e.Reason, e.Err)
	}
	return e
}

// Limits bounds the input of Decode. The limits hold for the envelope, again for the body
// after base64 and decompression, and for the JSON made of a body of another serializer.
// A zero field means its default.
type Limits struct {
	Size     int // bytes; default 16 MiB
	Depth    int // arrays and objects inside each other; default 500
	Elements int // values, counting every array element and object member; default: as many as fit into Size
}

// Defaults of [Limits]. They are high because Celery has no limits: before 5.7 a chain of
// four chords of 20 tasks is sent as messages of 7 MB with 240,000 values each. Reading
// costs at most a small multiple of the bytes, for any number of values.
const (
	DefaultSize     = 16 << 20
	DefaultDepth    = 500
	DefaultElements = DefaultSize // more than fit into it
)

func (l Limits) withDefaults() Limits {
	if l.Size <= 0 {
		l.Size = DefaultSize
	}
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	if l.Elements <= 0 {
		l.Elements = max(DefaultElements, l.Size)
	}
	return l
}

// tolerant returns limits for text that a broker or Decode has accepted before. The depth
// is about where Python fails.
func tolerant(size int) Limits {
	return Limits{Size: max(size, 1), Depth: 1000, Elements: max(size, 1)}
}
