// Package protocol translates between the bytes that Celery keeps in its broker
// and result backend and the Go values [Message] and [Result].
//
// It is pure: no I/O, no clock, no goroutine. The same input always gives the
// same output, and nothing that it is fed can make it panic, recurse without
// bound or allocate more than a small multiple of [Limits].
//
// # Messages
//
// [Decode] reads one element of a Celery queue: an envelope made by kombu, with
// a task message of protocol 2, of protocol 1 or of the mixture of both that
// Celery accepts. [Encode] writes protocol 2 as Celery 5.6 does; [EncodeRetry]
// writes what a Celery worker publishes for another attempt. See "Message
// Protocol" in the Celery manual, section Internals.
//
// A Python worker dies of some malformed messages and silently drops others.
// Decode refuses both kinds with a [DecodeError], whose [Reason] can be logged,
// counted and shown: it never holds a piece of the message.
//
// # Serializers and compression
//
// A [Decoder] reads bodies in yaml and msgpack, too, when it is told to accept
// them, and turns them into JSON: the form that arguments, callbacks and results
// have here. pickle, which runs code of the sender, is never read. [EncodeAs] and
// [EncodeResultAs] write the other way. Compressed bodies are unpacked by every
// method that kombu has, within the [Limits].
//
// # JSON
//
// Python's json module reads and writes a superset of RFC 8259: NaN, Infinity
// and -Infinity, integers of any size and unpaired surrogates. [Raw] keeps such
// text byte for byte, so that what is only passed on (arguments of a retry,
// callbacks, custom headers) arrives as it was sent: 1.0 stays 1.0, 2^70 stays
// exact and keys stay in their order. [Marshal] and [Unmarshal] translate
// between it and Go values.
package protocol
