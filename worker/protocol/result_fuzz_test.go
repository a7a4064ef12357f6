package protocol_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// A stored result, which anybody may have written, is refused with a reason or
// understood: what is written of it is read as the same, and written the same.
func FuzzDecodeResult(f *testing.F) {
	for _, r := range records(f, "celery-*/results.jsonl") {
		f.Add([]byte(r.Raw))
	}
	f.Add([]byte(`{"status": "FAILURE", "task_id": "a", "result": {"exc_type": 1, "exc_message": {"a": NaN}, "exc_module": null}}`))
	f.Add([]byte(`{"status": "SUCCESS", "task_id": "a", "worker": "w", "args": "()", "stamped_headers": ["s"], "s": {"b": [1]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := protocol.DecodeResult(b)
		if err != nil {
			if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		first, err := protocol.EncodeResult(r)
		if err != nil {
			return // it has no id or no state, or a date that has no form
		}
		again, err := protocol.DecodeResult(first)
		if err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, first)
		}
		if again.TaskID != r.TaskID || again.Status != r.Status || (again.Exception == nil) != (r.Exception == nil) {
			t.Fatalf("%+v became %+v", r, again)
		}
		second, err := protocol.EncodeResult(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written anew: %v\n%s\n%s", err, first, second)
		}
	})
}

// Packed results are unpacked, or refused with a reason, within the limits.
func FuzzDecodePackedResult(f *testing.F) {
	serializers := []string{"json", "yaml", "msgpack", "pickle"}
	for n, r := range records(f, "celery-*/results.jsonl") {
		decoded, err := protocol.DecodeResult([]byte(r.Raw))
		if err != nil {
			f.Fatal(err)
		}
		for i, name := range serializers[:3] {
			b, err := protocol.EncodeResultAs(decoded, protocol.EncodeOptions{Serializer: name, Compression: []string{"", "gzip", "xz"}[n%3]})
			if err == nil {
				f.Add(b, uint8(i))
			}
		}
	}
	f.Add([]byte("\x00celery-compressed\x00application/x-gzip\x00x\x9c"), uint8(0))
	d := &protocol.Decoder{Accept: serializers}
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		_, err := d.DecodeResult(b, serializers[int(which)%len(serializers)])
		if _, ok := errors.AsType[*protocol.DecodeError](err); err != nil && !ok {
			t.Fatalf("error of type %T: %v", err, err)
		}
	})
}
