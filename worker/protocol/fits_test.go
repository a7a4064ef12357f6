package protocol_test

import (
	"context"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

type deepFault struct {
	A int
	B []map[string]*deepFault
	C struct {
		D []chan int
		e chan int
	}
	F func() `json:"-"`
	G func() `json:",omitzero"`
}

type embedded struct{ X int }

type embeds struct{ *embedded }

// TestTypeFaults: what the check of a type says is what Unmarshal and Marshal do.
func TestTypeFaults(t *testing.T) {
	for _, tc := range []struct {
		value       any
		json        string // that would go into it, if anything could
		read, write string // faults
	}{
		{value: 1, json: "1"},
		{value: "", json: `"x"`},
		{value: []byte{}, json: `"eA=="`},
		{value: protocol.Raw{}, json: "[1]"},
		{value: time.Time{}, json: `"2026-01-02T03:04:05"`},
		{value: big.Int{}, json: "1"},
		{value: netip.Addr{}, json: `"::1"`},
		{value: map[int]uint8{}, json: `{"1": 2}`},
		{value: map[netip.Addr][]string{}, json: `{"::1": ["x"]}`},
		{value: struct{ X any }{}, json: `{"X": 1}`},
		{value: (*struct{ X *int })(nil), json: `{"X": 1}`},
		{value: struct{ embedded }{}, json: `{"X": 1}`},
		{value: make(chan int), json: "1", read: "chan int has no form in JSON", write: "chan int has no form in JSON"},
		{value: func() {}, json: "1", read: "func() has no form in JSON", write: "func() has no form in JSON"},
		{value: 1i, json: "1", read: "complex128 has no form in JSON", write: "complex128 has no form in JSON"},
		{value: struct{ X fmt.Stringer }{}, json: `{"X": 1}`, read: "X: fmt.Stringer is an interface with methods: no value can be made for it"},
		{value: struct{ X context.Context }{}, json: `{"X": 1}`, read: "X: context.Context is an interface with methods: no value can be made for it"},
		{value: map[float64]int{1: 2}, json: `{"1.5": 1}`, read: "*: float64 cannot be the key of an object", write: "*: float64 cannot be the key of an object"},
		{value: deepFault{C: struct {
			D []chan int
			e chan int
		}{D: make([]chan int, 1)}}, json: `{"C": {"D": [1]}}`,
			read: "C.D[]: chan int has no form in JSON; G: func() has no form in JSON", write: "C.D[]: chan int has no form in JSON"},
		{value: embeds{}, json: `{"X": 1}`, read: "embedded: protocol_test.embedded is embedded as a pointer and not exported"},
	} {
		typ := reflect.TypeOf(tc.value)
		t.Run(typ.String(), func(t *testing.T) {
			if got := faults(protocol.UnmarshalFaults(typ)); got != tc.read {
				t.Errorf("to read: %q, want %q", got, tc.read)
			}
			if got := faults(protocol.MarshalFaults(typ)); got != tc.write {
				t.Errorf("to write: %q, want %q", got, tc.write)
			}
			if err := protocol.Unmarshal(protocol.Raw(tc.json), reflect.New(typ).Interface()); (err != nil) != (tc.read != "") {
				t.Errorf("Unmarshal: %v, but the check says %q", err, tc.read)
			}
			if _, err := protocol.Marshal(tc.value); (err != nil) != (tc.write != "") {
				t.Errorf("Marshal: %v, but the check says %q", err, tc.write)
			}
		})
	}
}

func faults(all []protocol.TypeFault) (text string) {
	for i, f := range all {
		if i > 0 {
			text += "; "
		}
		text += f.Error()
	}
	return text
}
