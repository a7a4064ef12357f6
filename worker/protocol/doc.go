// Package protocol translates between the bytes that Celery keeps in its broker
// and result backend and the Go values [Message] and [Result].
//
// The package is pure: it has no I/O, no clock and no goroutine. The same input always
// gives the same output. No input can make it panic, recurse without bound or allocate
// more than a small multiple of [Limits].
//
// # Messages
//
// [Decode] reads one element of a Celery queue: an envelope made by kombu, with a task
// message of protocol 2, of protocol 1 or of the mixture of both that Celery accepts.
// [Encode] writes protocol 2 as Celery 5.6 does; [EncodeRetry] writes the message that a
// Celery worker publishes for another attempt. See "Message Protocol" in the Celery
// manual, section Internals.
//
// Some malformed messages crash a Python worker, and it drops others silently. Decode
// refuses both kinds with a [DecodeError]. Its [Reason] can be logged, counted and shown,
// because it never holds a piece of the message.
//
// # Serializers and compression
//
// A [Decoder] that accepts yaml and msgpack reads such bodies and turns them into JSON,
// the form of arguments, callbacks and results here. It never reads pickle, which runs
// code of the sender. [EncodeAs] and [EncodeResultAs] write these serializers. Compressed
// bodies are unpacked by all methods of kombu, within the [Limits].
//
// # JSON
//
// Python's json module reads and writes a superset of RFC 8259: NaN, Infinity and
// -Infinity, integers of any size and unpaired surrogates. [Raw] keeps such text byte for
// byte, so that arguments of a retry, callbacks and custom headers are passed on as they
// were sent. 1.0 stays 1.0, 2^70 stays exact and keys stay in their order. [Marshal] and
// [Unmarshal] translate between it and Go values.
package protocol
