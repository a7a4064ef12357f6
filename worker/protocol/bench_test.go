package protocol_test

import (
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"args-booking", "args-large-64k", "protocol1", "compression-zlib"} {
		raw := []byte(find(b, "celery-5.6.2/produced.jsonl", name).Raw)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protocol.Decode(raw, protocol.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	m := decode(b, find(b, "celery-5.6.2/produced.jsonl", "args-booking").Raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := protocol.Encode(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeResult(b *testing.B) {
	r := &protocol.Result{TaskID: "c36371e9-fa78-41ff-8a8f-fbd5ee0929c4", Status: protocol.StateSuccess,
		DateDone: time.Date(2026, 11, 23, 20, 28, 41, 188338000, time.UTC),
		Result: struct {
			Success bool   `json:"success"`
			Message string `json:"message"`
		}{true, "sent"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := protocol.EncodeResult(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarkRedelivered(b *testing.B) {
	raw := []byte(find(b, "celery-5.6.2/produced.jsonl", "args-booking").Raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := protocol.MarkRedelivered(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	m := decode(b, find(b, "celery-5.6.2/produced.jsonl", "args-booking").Raw)
	args, err := m.Args.Elements()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var in booking
		if err := protocol.Unmarshal(args[1], &in); err != nil {
			b.Fatal(err)
		}
	}
}
