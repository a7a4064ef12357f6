package protocol_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

type label int

func (l label) MarshalText() ([]byte, error) { return []byte("label-" + string(rune('a'+l))), nil }

type custom struct{ text string }

func (c *custom) MarshalJSON() ([]byte, error) { return []byte(c.text), nil }

type fails struct{}

func (fails) MarshalJSON() ([]byte, error) { panic("739155") }

type base struct {
	ID     int `json:"id"`
	Shadow int
}

type wrapper struct {
	base
	*Extra
	Shadow  string
	Name    string    `json:"name,omitempty"`
	Skipped string    `json:"-"`
	Count   int       `json:"count,string"`
	When    *int      `json:"when"`
	Zero    time.Time `json:"zero,omitzero"`
	List    []string  `json:"list"`
	hidden  int
}

type Extra struct {
	More bool `json:"more"`
}

func TestMarshal(t *testing.T) {
	n, _ := new(big.Int).SetString("1180591620717411303424", 10)
	tests := []struct {
		in   any
		want string
	}{
		{nil, `null`},
		{true, `true`},
		{-7, `-7`},
		{uint64(math.MaxUint64), `18446744073709551615`},
		{n, `1180591620717411303424`},
		{*n, `1180591620717411303424`},
		{1.0, `1.0`},
		{0.0, `0.0`},
		{math.Copysign(0, -1), `-0.0`},
		{59.9, `59.9`},
		{0.0001, `0.0001`},
		{0.00001, `1e-05`},
		{1e-7, `1e-07`},
		{1e15, `1000000000000000.0`},
		{1e16, `1e+16`},
		{1.5e300, `1.5e+300`},
		{1e308, `1e+308`},
		{123456789012345680.0, `1.2345678901234568e+17`},
		{float32(0.1), `0.1`},
		{5e-324, `5e-324`},
		{math.NaN(), `NaN`},
		{[]float64{math.Inf(1), math.Inf(-1)}, `[Infinity, -Infinity]`},
		{"a\"\\/<>&\n\r\t\b\f\x00\x7f é\u2028\U0001f600\xff", `"a\"\\/<>&\n\r\t\b\f\u0000\u007f \u00e9\u2028\ud83d\ude00\ufffd"`},
		{[]byte("hi"), `"aGk="`},
		{[2]byte{1, 2}, `[1, 2]`},
		{[]string(nil), `null`},
		{[]string{}, `[]`},
		{map[string]any{"b": 1, "a": []any{nil, 2.5}}, `{"a": [null, 2.5], "b": 1}`},
		{map[int]bool{2: true, 10: false}, `{"10": false, "2": true}`},
		{map[label]int{0: 1}, `{"label-a": 1}`},
		{map[string]int(nil), `null`},
		{label(1), `"label-b"`},
		{&custom{`{"x":[1.0,1e5 , NaN],"y":"ü"}`}, `{"x": [1.0, 1e5, NaN], "y": "\u00fc"}`},
		{[]*custom{nil}, `[null]`},
		{&struct{ C custom }{custom{"[1]"}}, `{"C": [1]}`},
		{&struct{ N big.Int }{*n}, `{"N": 1180591620717411303424}`},
		{struct{ E any }{errors.New("x")}, `{"E": {}}`},
		{json.RawMessage(`[1,2]`), `[1, 2]`},
		{protocol.Raw(`[1.0,"\ud800"]`), `[1.0, "\ud800"]`},
		{protocol.Raw(nil), `null`},
		{json.Number("1.00"), `1.00`},
		{time.Date(2026, 1, 31, 20, 0, 0, 0, time.UTC), `"2026-01-31T20:00:00Z"`},
		{protocol.Decimal("59.90"), `"59.90"`},
		{wrapper{base: base{1, 2}, Shadow: "s", Count: 3, hidden: 4},
			`{"id": 1, "Shadow": "s", "count": "3", "when": null, "list": null}`},
		{&wrapper{Extra: &Extra{true}, Name: "n", Zero: time.Unix(0, 0).UTC()},
			`{"id": 0, "more": true, "Shadow": "", "name": "n", "count": "0", "when": null, "zero": "1970-01-01T00:00:00Z", "list": null}`},
	}
	for _, tt := range tests {
		got, err := protocol.Marshal(tt.in)
		if err != nil || string(got) != tt.want {
			t.Errorf("Marshal(%#v): %v\n got %s\nwant %s", tt.in, err, got, tt.want)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	type loop struct{ Next *loop }
	var endless loop
	endless.Next = &endless
	for name, v := range map[string]any{
		"function": func() {}, "channel": make(chan int), "complex": 1i, "itself": &endless,
		"key": map[struct{}]int{{}: 1}, "bad text": &custom{"{"}, "two values": json.RawMessage("1 2"),
		"number": json.Number("seven"), "panic": fails{}, "deep inside": []any{map[string]any{"739155": func() {}}},
	} {
		b, err := protocol.Marshal(v)
		if _, ok := errors.AsType[*protocol.MarshalError](err); !ok {
			t.Errorf("%s: %s, %v", name, b, err)
		} else if strings.Contains(err.Error(), "739155") {
			t.Errorf("%s: error holds a value: %v", name, err)
		}
	}
}

// All bodies were written by json.dumps; reading and writing them must change
// nothing but the order of keys.
func TestMarshalAsPython(t *testing.T) {
	for _, r := range messages(t) {
		got, err := protocol.Marshal(protocol.Raw(r.Body))
		if err != nil || string(got) != r.Body {
			t.Errorf("%s/%s: %v\nPython %s\nours   %s", r.folder, r.Name, err, r.Body, got)
		}
	}
	r := find(t, "celery-5.6.2/produced.jsonl", "args-numbers")
	m := decode(t, r.Raw)
	var args []any
	if err := protocol.Unmarshal(m.Args, &args); err != nil {
		t.Fatal(err)
	}
	got, err := protocol.Marshal(args)
	if err != nil || string(got) != string(m.Args) {
		t.Errorf("%v\nPython %s\nours   %s", err, m.Args, got)
	}
}
