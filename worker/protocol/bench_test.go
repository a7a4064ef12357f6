package protocol_test

import (
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// operation is what is measured: its time by BenchmarkProtocol, its allocations
// by TestAllocations as well.
type operation struct {
	name  string
	bytes int // that it reads; 0: it only writes
	do    func() error
}

func operations(t testing.TB) []operation {
	const recorded = "celery-5.6.2/produced.jsonl"
	var all []operation
	for _, name := range []string{"args-booking", "args-large-64k", "protocol1", "compression-zlib"} {
		raw := []byte(find(t, recorded, name).Raw)
		all = append(all, operation{"decode/" + name, len(raw), func() error {
			_, err := protocol.Decode(raw, protocol.Limits{})
			return err
		}})
	}
	raw := []byte(find(t, recorded, "args-booking").Raw)
	m := decode(t, string(raw))
	args, err := m.Args.Elements()
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}
	r := &protocol.Result{
		TaskID: "c36371e9-fa78-41ff-8a8f-fbd5ee0929c4", Status: protocol.StateSuccess,
		DateDone: time.Date(2026, 11, 23, 20, 28, 41, 188338000, time.UTC), Result: answer{true, "sent"},
	}
	return append(all,
		operation{"encode", 0, func() error { _, err := protocol.Encode(m); return err }},
		operation{"encode-result", 0, func() error { _, err := protocol.EncodeResult(r); return err }},
		operation{"mark-redelivered", len(raw), func() error { _, err := protocol.MarkRedelivered(raw); return err }},
		operation{"restorable", len(raw), func() error { return protocol.Restorable(raw) }},
		operation{"unmarshal", len(args[1]), func() error { return protocol.Unmarshal(args[1], new(booking)) }},
	)
}

func BenchmarkProtocol(b *testing.B) {
	for _, op := range operations(b) {
		b.Run(op.name, func(b *testing.B) {
			b.SetBytes(int64(op.bytes))
			b.ReportAllocs()
			for b.Loop() {
				if err := op.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
