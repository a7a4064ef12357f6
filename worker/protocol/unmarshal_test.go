package protocol_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

var equal = []cmp.Option{
	cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }),
	cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b }),
}

func TestUnmarshalAny(t *testing.T) {
	big70, _ := new(big.Int).SetString("1180591620717411303424", 10)
	at := time.Date(2026, 1, 31, 20, 0, 0, 0, time.UTC)
	tests := []struct {
		in   string
		want any
	}{
		{`null`, nil},
		{` [1, -2, 1.0, 1e3, true, null] `, []any{int64(1), int64(-2), 1.0, 1000.0, true, nil}},
		{`9223372036854775807`, int64(math.MaxInt64)},
		{`1180591620717411303424`, big70},
		{`[NaN, Infinity, -Infinity, 1e999]`, []any{math.NaN(), math.Inf(1), math.Inf(-1), math.Inf(1)}},
		{`"\u00C9\uDBFF\uDFFF\uFfFf"`, "\u00c9\U0010ffff\uffff"},
		{`"a\ud83d\ude00\ud800\u00e9\n\/"`, "a\U0001f600\ufffdé\n/"},
		{`{"a": {"b": []}, "a": 2}`, map[string]any{"a": int64(2)}},
		{`{"__type__": "datetime", "__value__": "2026-01-31T20:00:00"}`, at},
		{`{"__value__": "2026-01-31T20:00:00Z", "__type__": "datetime"}`, at},
		{`{"__type__": "date", "__value__": "2026-01-31"}`, protocol.Date("2026-01-31")},
		{`{"__type__": "time", "__value__": "20:00:01"}`, protocol.TimeOfDay("20:00:01")},
		{`{"__type__": "decimal", "__value__": "59.90"}`, protocol.Decimal("59.90")},
		{`{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678", "version": 4}}`, protocol.UUID("12345678-1234-5678-1234-567812345678")},
		{`{"__type__": "bytes", "__value__": "hi"}`, []byte("hi")},
		{`{"__type__": "base64", "__value__": "/wA="}`, []byte{255, 0}},
		{`{"__type__": "other", "__value__": 1}`, map[string]any{"__type__": "other", "__value__": int64(1)}},
		{`{"__type__": "date", "__value__": "x", "z": 1}`, map[string]any{"__type__": "date", "__value__": "x", "z": int64(1)}},
		{`{"__type__": "datetime", "__value__": "soon"}`, map[string]any{"__type__": "datetime", "__value__": "soon"}},
	}
	for _, tt := range tests {
		var got any
		err := protocol.Unmarshal(protocol.Raw(tt.in), &got)
		if diff := cmp.Diff(tt.want, got, equal...); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.in, err, diff)
		}
	}
}

type booking struct {
	Event string    `json:"event_name"`
	Price float64   `json:"total_price"`
	Count int8      `json:"quantity"`
	At    time.Time `json:"booking_date"`
	Tags  []string
	Extra map[string]any
	Note  *string
	base
	*Extra2
	Big     *big.Int
	Secret  []byte
	Pair    [2]int
	Keys    map[int]bool
	Raw     protocol.Raw
	Plain   json.RawMessage
	Number  json.Number
	Quoted  int     `json:",string"`
	Ratio   float64 `json:",string"`
	Any     any
	Label   lowered
	private string
}

type Extra2 struct{ Deep float32 }

type lowered string

func (l *lowered) UnmarshalText(b []byte) error {
	if string(b) == "bad" {
		return errors.New("739155")
	}
	*l = lowered(strings.ToLower(string(b)))
	return nil
}

func TestUnmarshalTyped(t *testing.T) {
	in := `{"event_name": "Conc\u00e9rt", "total_price": NaN, "QUANTITY": 2, "booking_date": "2026-01-31T20:00:00", "Tags": ["a", null],
		"Extra": {"n": 1}, "Note": "x", "id": 7, "Deep": -Infinity, "Big": 1180591620717411303424, "Secret": "aGk=", "Pair": [1, 2, 3],
		"Keys": {"5": true}, "Raw": {"a":1.0}, "Plain": [NaN], "Number": 1.00, "Quoted": "12", "Ratio": "0.5", "Any": [1], "Label": "ABC", "private": "no",
		"unknown": {"x": []}}`
	var got booking
	if err := protocol.Unmarshal(protocol.Raw(in), &got); err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(got.Price) || !math.IsInf(float64(got.Deep), -1) || got.private != "" {
		t.Errorf("price %v, deep %v", got.Price, got.Deep)
	}
	note := "x"
	n, _ := new(big.Int).SetString("1180591620717411303424", 10)
	want := booking{Event: "Concért", Count: 2, At: time.Date(2026, 1, 31, 20, 0, 0, 0, time.UTC), Tags: []string{"a", ""},
		Extra: map[string]any{"n": int64(1)}, Note: &note, base: base{ID: 7}, Big: n, Secret: []byte("hi"), Pair: [2]int{1, 2},
		Keys: map[int]bool{5: true}, Raw: protocol.Raw(`{"a":1.0}`), Plain: json.RawMessage(`[NaN]`), Number: "1.00", Quoted: 12, Ratio: 0.5,
		Any: []any{int64(1)}, Label: "abc"}
	got.Price, got.Extra2 = 0, nil
	if diff := cmp.Diff(want, got, append(equal, cmp.AllowUnexported(booking{}))...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// null changes nothing but what can be nil.
	if err := protocol.Unmarshal(protocol.Raw(`{"event_name": null, "Note": null, "Tags": null, "booking_date": null, "Big": null, "Pair": null}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Event != "Concért" || got.Note != nil || got.Tags != nil || got.At.IsZero() || got.Big != nil || got.Pair != [2]int{1, 2} {
		t.Errorf("after null: %+v", got)
	}
}

// kombu's typed objects fit where their text does.
func TestUnmarshalTypedObjects(t *testing.T) {
	var got struct {
		At            time.Time
		Price, ID     string
		Data          []byte
		Label         lowered
		Kept          map[string]string
		PointerToText *string
	}
	in := `{"At": {"__type__": "datetime", "__value__": "2026-01-31T20:00:00+01:00"}, "Price": {"__type__": "decimal", "__value__": "59.90"},
		"ID": {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}, "Data": {"__type__": "base64", "__value__": "/w=="},
		"Label": {"__type__": "bytes", "__value__": "X"}, "Kept": {"__type__": "decimal", "__value__": "1"},
		"PointerToText": {"__type__": "date", "__value__": "2026-01-31"}}`
	if err := protocol.Unmarshal(protocol.Raw(in), &got); err != nil {
		t.Fatal(err)
	}
	if got.At.Format(time.RFC3339) != "2026-01-31T20:00:00+01:00" || got.Price != "59.90" || got.ID != "12345678-1234-5678-1234-567812345678" ||
		string(got.Data) != "\xff" || got.Label != "x" || got.Kept["__type__"] != "decimal" || *got.PointerToText != "2026-01-31" {
		t.Errorf("%+v", got)
	}
}

func TestUnmarshalRecordedTypes(t *testing.T) {
	for _, folder := range []string{"celery-5.2.6", "celery-5.6.2"} {
		m := decode(t, find(t, folder+"/produced.jsonl", "args-typed").Raw)
		var args []any
		if err := protocol.Unmarshal(m.Args, &args); err != nil || len(args) == 0 {
			t.Errorf("%s: %v, %v", folder, args, err)
		}
		if strings.Contains(string(m.Args), "__type__") != (folder == "celery-5.6.2") {
			t.Errorf("%s: %s", folder, m.Args)
		}
		if first, ok := args[0].(map[string]any); ok {
			if _, untouched := first["__type__"]; untouched {
				t.Errorf("%s: typed object left: %v", folder, first)
			}
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	type inner struct {
		Code int `json:"code"`
		List []struct{ Deep lowered }
		Keys map[int]int
		Map  map[string]int
		At   time.Time
		Big  big.Int
		Q    int `json:",string"`
		IO   error
	}
	tests := []struct{ in, path string }{
		{`{"code": "739155"}`, "code"},
		{`{"code": 739155.5}`, "code"},
		{`{"code": 73915573915573915573915}`, "code"},
		{`{"code": {"739155": 1}}`, "code"},
		{`{"List": [{}, {"Deep": 739155}]}`, "List[1].Deep"},
		{`{"List": [{"Deep": "bad"}]}`, "List[0].Deep"},
		{`{"List": "739155"}`, "List"},
		{`{"Keys": {"739155x": 1}}`, "Keys.*"},
		{`{"Map": {"739155": "739155"}}`, "Map.*"},
		{`{"At": "739155"}`, "At"},
		{`{"At": 739155}`, "At"},
		{`{"Big": 739155.5}`, "Big"},
		{`{"Q": "739155x"}`, "Q"},
		{`{"Q": 739155}`, "Q"},
		{`{"IO": 739155}`, "IO"},
		{`["739155"]`, ""},
	}
	for _, tt := range tests {
		var v inner
		err := protocol.Unmarshal(protocol.Raw(tt.in), &v)
		e, ok := errors.AsType[*protocol.UnmarshalError](err)
		if !ok {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if e.Path != tt.path {
			t.Errorf("%s: path %q, want %q", tt.in, e.Path, tt.path)
		}
		if strings.Contains(err.Error(), "739155") {
			t.Errorf("error tells the value: %v", err)
		}
	}
	for _, in := range []string{``, `{`, `{} 1`, `"\ug000"`, `"\u0g00"`, `"\u00g0"`, `"\u000g"`, `"\u000`, `"\`, `"\x"`, `-`, `1.`, `1e`, `.5`, `+1`, `-NaN`, `[1 2]`, `[1,`, `{"a":1,}`, `{"Keys": {"1": }}`, `{"List": [{},`, `[1,]`, "\"\xff\"", strings.Repeat("[", 2000), `nul`, `tru`} {
		for _, v := range []any{new(any), new(inner), new([]int), new(protocol.Raw)} {
			if err := protocol.Unmarshal(protocol.Raw(in), v); err == nil {
				t.Errorf("%.20q was read into %T", in, v)
			}
		}
	}
	for _, v := range []any{nil, inner{}, (*inner)(nil)} {
		if err := protocol.Unmarshal(protocol.Raw(`{}`), v); err == nil {
			t.Errorf("read into %T", v)
		}
	}
}

func TestRawParts(t *testing.T) {
	r := protocol.Raw(` [1.0 , {"a":[ ]},"x,]"] `)
	got, err := r.Elements()
	if diff := cmp.Diff([]protocol.Raw{protocol.Raw(`1.0`), protocol.Raw(`{"a":[ ]}`), protocol.Raw(`"x,]"`)}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	fields, err := protocol.Raw(`{"b": 1, "\u0061": {"c":2}, "b": NaN}`).Fields()
	want := []protocol.Field{{"b", protocol.Raw("1")}, {"a", protocol.Raw(`{"c":2}`)}, {"b", protocol.Raw("NaN")}}
	if diff := cmp.Diff(want, fields); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []protocol.Raw{nil, protocol.Raw(`{}`), protocol.Raw(`[1`), protocol.Raw(`[] []`), protocol.Raw(`1`)} {
		if _, err := bad.Elements(); err == nil {
			t.Errorf("Elements of %q", bad)
		}
	}
	for _, bad := range []protocol.Raw{nil, protocol.Raw(`[]`), protocol.Raw(`{"a":1`), protocol.Raw(`{a:1}`), protocol.Raw(`{"a" 1}`)} {
		if _, err := bad.Fields(); err == nil {
			t.Errorf("Fields of %q", bad)
		}
	}
	if b, err := json.Marshal(map[string]protocol.Raw{"a": protocol.Raw("1.0"), "b": nil}); err != nil || string(b) != `{"a":1.0,"b":null}` {
		t.Errorf("encoding/json writes %s, %v", b, err)
	}
	// An element can be appended to without touching the next one.
	_ = append(got[0], "xxxxxxxxxxxx"...)
	if string(got[1]) != `{"a":[ ]}` {
		t.Errorf("elements share memory: %s", got[1])
	}
}

func TestUnmarshalFloats(t *testing.T) {
	var got []float64
	if err := protocol.Unmarshal(protocol.Raw(`[60, 59.9, 1180591620717411303424]`), &got); err != nil || !cmp.Equal(got, []float64{60, 59.9, 1 << 70}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, in := range []string{`["1"]`, `[true]`, `[{}]`, `[[]]`} {
		if err := protocol.Unmarshal(protocol.Raw(in), &got); err == nil {
			t.Errorf("%s was read into %T", in, got)
		}
	}
}

func TestUnmarshalMapKeys(t *testing.T) {
	var small map[uint8]int
	if err := protocol.Unmarshal(protocol.Raw(`{"5": 1, "255": 2}`), &small); err != nil || small[5] != 1 || small[255] != 2 {
		t.Errorf("%v, %v", small, err)
	}
	var named map[lowered]int
	if err := protocol.Unmarshal(protocol.Raw(`{"ABC": 1}`), &named); err != nil || named["abc"] != 1 {
		t.Errorf("%v, %v", named, err)
	}
	for in, v := range map[string]any{
		`{"256": 1}`: &small, `{"-1": 1}`: &small, `{"x": 1}`: new(map[int8]int), `{"128": 1}`: new(map[int8]int),
		`{"bad": 1}`: &named, `{"1.5": 1}`: new(map[float64]int),
	} {
		if err := protocol.Unmarshal(protocol.Raw(in), v); err == nil {
			t.Errorf("%s was read into %T", in, v)
		}
	}
}
