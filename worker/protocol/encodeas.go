package protocol

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/evently/workers/worker/protocol/internal/compression"
)

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

// resultMark starts a compressed result. The content type of the method, a zero byte and
// the packed result follow it. Celery 5.7 and later (celery.backends.base) write and read
// it.
const resultMark = "\x00celery-compressed\x00"

// EncodeResultAs writes r like [EncodeResult], in another serializer (the setting
// result_serializer of Celery), compressed, or both. A result does not name its
// serializer, so readers must have the same setting. Only Celery 5.7 and later read
// compressed results.
func EncodeResultAs(r *Result, o EncodeOptions) ([]byte, error) {
	raw, err := EncodeResult(r)
	if err != nil {
		return nil, err
	}
	p, err := o.pack(raw)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	if p.compression == "" {
		return p.body, nil
	}
	return bytes.Join([][]byte{[]byte(resultMark), []byte(p.compression), {0}, p.body}, nil), nil
}

// DecodeResult reads a value of the result backend that was written in the given
// serializer, which must be an accepted one. A value compressed by any method is
// unpacked. Unlike in [DecodeResult], d.Limits hold. The error is a *[DecodeError].
func (d *Decoder) DecodeResult(b []byte, serializer string) (*Result, error) {
	s, err := d.accepts(serializer)
	if err != nil {
		return nil, err
	}
	lim := d.Limits.withDefaults()
	if packed, ok := bytes.CutPrefix(b, []byte(resultMark)); ok {
		name, packed, _ := bytes.Cut(packed, []byte{0})
		method, known := compression.ByName(string(name))
		if !known {
			return nil, refuse(ReasonCompression, "unknown method")
		}
		if b, err = decompressBy(method, packed, lim); err != nil {
			return nil, err
		}
	}
	if s.unpack != nil {
		if b, err = s.unpack(b, lim); err != nil {
			return nil, err
		}
	}
	text, err := newScanner(b, lim)
	if err != nil {
		return nil, err
	}
	if _, _, err := text.value(); err != nil {
		return nil, err
	}
	return DecodeResult(b)
}
