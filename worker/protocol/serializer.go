package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evently/workers/worker/protocol/internal/compression"
)

// serializer is a way to write values, with kombu's names for it.
type serializer struct {
	name, contentType, contentEncoding string
	// unpack turns a body into JSON; nil: it is JSON.
	unpack func(data []byte, lim Limits) ([]byte, error)
	// pack turns JSON into a body; nil: it is JSON.
	pack func(raw Raw) ([]byte, error)
}

// serializerNames holds the names for error texts.
const serializerNames = "json, yaml or msgpack"

// Serializers returns the names of all serializers that a [Decoder] can read.
func Serializers() []string { return []string{"json", "yaml", "msgpack"} }

// serializerOf finds a serializer by its name or its content type.
func serializerOf(name string) (serializer, bool) {
	switch name {
	case "json", "application/json":
		return serializer{name: "json", contentType: "application/json", contentEncoding: "utf-8"}, true
	case "yaml", "application/x-yaml":
		return serializer{"yaml", "application/x-yaml", "utf-8", unpackYAML, packYAML}, true
	case "msgpack", "application/x-msgpack":
		return serializer{"msgpack", "application/x-msgpack", "binary", unpackMsgpack, packMsgpack}, true
	}
	return serializer{}, false
}

// isPickle reports whether a name or content type is that of pickle, which runs code of
// the sender. No configuration allows it.
func isPickle(name string) bool {
	return name == "pickle" || name == "application/x-python-serialize"
}

// Decoder reads messages and results of several serializers. The zero value reads JSON
// with the default limits. Any number of goroutines may use it while its fields do not
// change.
type Decoder struct {
	// Limits hold for the envelope, for the packed and the unpacked body, and for the
	// JSON made of it.
	Limits Limits
	// Accept lists the serializers to read, as the setting accept_content of Celery does:
	// "json", "yaml" and "msgpack", or their content types. Empty: JSON alone. pickle is
	// refused even if it is listed.
	Accept []string
}

// Validate reports all names in Accept that name no serializer.
func (d *Decoder) Validate() error {
	var errs []error
	for _, name := range d.Accept {
		switch _, ok := serializerOf(name); {
		case isPickle(name):
			errs = append(errs, fmt.Errorf("accept %q: pickle runs code that the sender chooses and is never read; let producers send %s", name, serializerNames))
		case !ok:
			errs = append(errs, fmt.Errorf("accept %q: no such serializer; accepted can be %s", name, serializerNames))
		}
	}
	return errors.Join(errs...)
}

// accepts returns the serializer of a name or content type, if it may be used.
func (d *Decoder) accepts(name string) (serializer, error) {
	if isPickle(name) {
		return serializer{}, refuse(ReasonPickle, "it runs code of the sender")
	}
	accept := d.Accept
	if len(accept) == 0 {
		accept = []string{"json"}
	}
	s, ok := serializerOf(name)
	if !ok || !slices.Contains(accept, s.name) && !slices.Contains(accept, s.contentType) {
		// The error must not hold the name, which is content of the message.
		return serializer{}, refuse(ReasonContentType, "expected %s", strings.Join(accepted(accept), " or "))
	}
	return s, nil
}

// accepted returns the content types of a list.
func accepted(names []string) []string {
	var types []string
	for _, name := range names {
		if s, ok := serializerOf(name); ok {
			types = append(types, s.contentType)
		}
	}
	return types
}

// contentType returns the type without its parameters, "" if it is none. Producers send
// the content type, never the name, and some add the charset of JSON.
func contentType(text string) string {
	text, parameters, _ := strings.Cut(strings.ToLower(text), ";")
	if !strings.Contains(text, "/") {
		return ""
	}
	switch parameters = strings.Map(withoutQuotes, parameters); parameters {
	case "", "charset=utf-8", "charset=utf8", "charset=us-ascii":
		return strings.TrimSpace(text)
	}
	return ""
}

func withoutQuotes(r rune) rune {
	if r == ' ' || r == '\t' || r == '"' {
		return -1
	}
	return r
}

// Decode reads one element of a Celery queue. It accepts the messages that a Python
// worker runs, with the exceptions that the constants of [Reason] name, and refuses all
// others. The error is a *[DecodeError].
//
// Arguments and signatures become JSON from every serializer. Values that JSON has no
// type for are written as kombu writes them, see [Decimal]. Values without such a form,
// such as a set, are refused with [ReasonBadBody].
//
// The message holds no part of raw, which the caller may reuse.
func (d *Decoder) Decode(raw []byte) (*Message, error) {
	var e envelope
	return d.decode(&e, raw, d.Limits.withDefaults())
}

// DecodeRestorable does what [Decoder.Decode] and [Restorable] do, in one walk over a
// valid message. m is nil if it cannot be decoded.
func (d *Decoder) DecodeRestorable(raw []byte) (m *Message, restorable bool) {
	var e envelope
	lim := d.Limits.withDefaults()
	m, err := d.decode(&e, raw, lim)
	if err != nil || lim.Depth > maxRestorableDepth {
		return m, Restorable(raw) == nil
	}
	return m, e.restorable(raw) == nil
}

func (d *Decoder) decode(e *envelope, raw []byte, lim Limits) (*Message, error) {
	m, body, err := d.open(e, raw, lim)
	if err != nil {
		return nil, err
	}
	if err := e.known.readBody(m, body, lim, e.headersKind); err != nil {
		return nil, err
	}
	if err := e.known.fill(m); err != nil {
		return nil, err
	}
	return m, nil
}

// open reads the envelope of a message and its body, as JSON.
func (d *Decoder) open(e *envelope, raw []byte, lim Limits) (m *Message, body []byte, err error) {
	if err := e.read(raw, lim); err != nil {
		return nil, nil, err
	}
	m = &Message{Headers: e.headers}
	if err := e.check(m); err != nil {
		return nil, nil, err
	}
	m.ContentType = contentType(m.ContentType)
	s, err := d.accepts(m.ContentType)
	if err != nil {
		return nil, nil, err
	}
	if body, err = e.unpack(m, lim); err == nil && s.unpack != nil {
		lim.Size = unpacked(len(body), lim.Size) // a few bytes of aliases may stand for any number
		body, err = s.unpack(body, lim)
	}
	return m, body, err
}

// EncodeOptions holds the serializer and the compression of a body or a result. The zero
// value is JSON without compression.
type EncodeOptions struct {
	// Serializer is "json", "yaml" or "msgpack", or the content type. Readers
	// must list it in their accept_content; only JSON is there by default.
	//
	// yaml has no form for times of day, decimals and UUIDs. msgpack has also none for
	// datetimes, dates, unpaired surrogates and integers beyond 64 bits. A value that
	// holds one is an error, as in Python.
	Serializer string
	// Compression is "zlib" (or "gzip", which is the same), "xz" ("lzma"), "zstd"
	// ("zstandard") or "brotli", or kombu's content type for it. "" compresses nothing.
	// bzip2 can only be read.
	//
	// Readers in Python need the package Brotli for brotli, and for zstd the
	// package zstandard or, with kombu 5.7, backports.zstd.
	Compression string
}

// Validate reports all faults of o.
func (o EncodeOptions) Validate() error {
	_, _, err := o.resolve()
	return err
}

// resolve returns the serializer and the method of the names. The method is "" for none.
func (o EncodeOptions) resolve() (s serializer, m compression.Method, err error) {
	var errs []error
	s, ok := serializerOf(or(o.Serializer, "json"))
	switch {
	case isPickle(o.Serializer):
		errs = append(errs, fmt.Errorf("serializer %q: pickle is never written; use %s", o.Serializer, serializerNames))
	case !ok:
		errs = append(errs, fmt.Errorf("serializer %q: no such serializer; use %s", o.Serializer, serializerNames))
	}
	if o.Compression != "" {
		m, ok = compression.ByName(o.Compression)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("compression %q: no such method; use zlib, xz, zstd or brotli", o.Compression))
		case m == compression.Bzip2:
			errs = append(errs, fmt.Errorf("compression %q: %w; use zlib, xz, zstd or brotli", o.Compression, compression.ErrReadOnly))
		}
	}
	return s, m, errors.Join(errs...)
}

// payload is a body with its description in the envelope.
type payload struct {
	body                         []byte
	contentType, contentEncoding string
	compression                  compression.Method // "": not compressed
}

// packed begins an envelope with the body and its description. The headers must follow.
func (w *writer) packed(p payload) {
	w.text(`{"body": "`)
	w.buf = base64.StdEncoding.AppendEncode(w.buf, p.body)
	w.text(`", "content-encoding": "`)
	w.text(p.contentEncoding)
	w.text(`", "content-type": "`)
	w.text(p.contentType)
	w.text(`"`)
}

// pack makes a payload of a JSON text.
func (o EncodeOptions) pack(raw Raw) (payload, error) {
	s, method, err := o.resolve()
	if err != nil {
		return payload{}, err
	}
	p := payload{raw, s.contentType, s.contentEncoding, method}
	if s.pack != nil {
		if p.body, err = s.pack(raw); err != nil {
			return payload{}, err
		}
	}
	if method != "" {
		if p.body, err = method.Compress(p.body); err != nil {
			return payload{}, fmt.Errorf("%s: %w", method, err)
		}
	}
	return p, nil
}

// EncodeAs writes m like [Encode], with the body in another serializer,
// compressed, or both. Python reads the same values from it.
func EncodeAs(m *Message, o EncodeOptions) ([]byte, error) {
	return encode(m, "", o)
}
