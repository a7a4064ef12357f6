package protocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

// seeds adds recorded and broken messages to the corpus.
func seeds(f *testing.F) {
	for _, name := range []string{"args-otp", "protocol1-eta-expires", "compression-zlib", "body-encoding-none", "args-nan-inf", "stamps", "eta-string"} {
		f.Add([]byte(find(f, "celery-5.6.2/produced.jsonl", name).Raw))
	}
	for _, r := range records(f, "crafted/*.jsonl") {
		f.Add([]byte(r.Raw))
	}
	f.Add([]byte(parts{}.String()))
	f.Add([]byte(parts{body: `"[[NaN, \"\\ud800\"], {}, null]"`, properties: `{"delivery_info": {"exchange": null, "routing_key": "q"}, "delivery_tag": 1}`}.String()))
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := protocol.Decode(raw, protocol.Limits{})
		sameAtOnce(t, raw, protocol.Limits{}, m)
		if err != nil {
			if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason == "" {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !utf8.Valid(raw) || !json.Valid(withoutNaN(raw)) {
			t.Fatal("accepted what is not JSON")
		}
		if m.ID == "" || m.Task == "" || m.DeliveryTag == "" || len(m.ID) > 255 || m.Args[0] != '[' || m.Kwargs[0] != '{' || m.Retries < 0 {
			t.Fatalf("incomplete message: %+v", m)
		}
		again, err := protocol.Encode(m)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		// The text may have grown, by escapes and by what was missing.
		back, err := protocol.Decode(again, protocol.Limits{Size: 64 << 20, Elements: 1 << 20})
		if err != nil {
			t.Fatalf("Decode of %s: %v", again, err)
		}
		want, got := *m, *back
		want.Headers, got.Headers = nil, nil
		if want.ID != got.ID || want.Task != got.Task || want.DeliveryTag != got.DeliveryTag || want.Retries != got.Retries ||
			!bytes.Equal(want.Args, got.Args) || !bytes.Equal(want.Kwargs, got.Kwargs) || !bytes.Equal(want.Chain, got.Chain) ||
			!want.ETA.Truncate(time.Microsecond).Equal(got.ETA) || !want.Expires.Truncate(time.Microsecond).Equal(got.Expires) {
			t.Fatalf("changed on its way:\n%+v\n%+v", want, got)
		}
	})
}

// withoutNaN replaces the words that only Python knows by numbers.
func withoutNaN(text []byte) []byte {
	var out []byte
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\' && i+1 < len(text):
			out = append(out, c)
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(text[i:], []byte("NaN")):
			out = append(out, '0')
			i += len("NaN") - 1
			continue
		case !quoted && bytes.HasPrefix(text[i:], []byte("Infinity")):
			out = append(out, '0')
			i += len("Infinity") - 1
			continue
		}
		out = append(out, text[i])
	}
	return out
}

func FuzzMarkRedelivered(f *testing.F) {
	seeds(f)
	f.Add([]byte(`{"headers":{"redelivered":false,"a":1 } ,"properties":{"delivery_info":{"redelivered":null}}}`))
	f.Add([]byte(`{"headers":{},"headers":{},"properties":{"delivery_info":{},"delivery_info":[]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		marked, err := protocol.MarkRedelivered(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("the argument was changed")
		}
		e, envelopeErr := protocol.ParseEnvelope(raw)
		if (err == nil) != (envelopeErr == nil) {
			t.Fatalf("MarkRedelivered: %v, ParseEnvelope: %v", err, envelopeErr)
		}
		if err != nil {
			return
		}
		got, err := protocol.ParseEnvelope(marked)
		if err != nil {
			t.Fatalf("marked: %s: %v", marked, err)
		}
		e.Redelivered = got.Redelivered
		if got != e {
			t.Fatalf("changed by the mark: %+v, %+v", e, got)
		}
		if again, err := protocol.MarkRedelivered(marked); err != nil || !bytes.Equal(again, marked) {
			t.Fatalf("marked twice: %s, %v", again, err)
		}
		large := protocol.Limits{Size: 64 << 20, Elements: 20_000}
		want, err := protocol.Decode(raw, large)
		if err != nil {
			return
		}
		message, err := protocol.Decode(marked, large)
		if err != nil || !message.Redelivered {
			t.Fatalf("marked: %+v, %v", message, err)
		}
		message.Redelivered = want.Redelivered
		message.Headers, want.Headers = nil, nil
		if diff := cmp.Diff(want, message); diff != "" {
			t.Fatalf("changed by the mark:\n%s", diff)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for _, r := range records(f, "celery-*/entries.jsonl") {
		f.Add([]byte(r.Raw))
	}
	f.Add([]byte(`[{"a" :1.0, "b":NaN},"","q"]`))
	f.Add([]byte(`[{}, "\u00e9\ud800", null]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := protocol.ParseEntry(b)
		if err != nil {
			return
		}
		if !bytes.Contains(b, e.Raw) {
			t.Fatal("the message is not the text of the entry")
		}
		var python []any
		if err := json.Unmarshal(withoutNaN(b), &python); err != nil || len(python) != 3 {
			t.Fatalf("accepted: %v", err)
		}
		again, err := protocol.ParseEntry(protocol.EncodeEntry(e))
		if diff := cmp.Diff(e, again); err != nil || diff != "" {
			t.Fatalf("changed on its way: %v\n%s", err, diff)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	// Package time alone is laxer: it takes hours of one digit, for instance.
	rfc3339 := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	for _, s := range []string{"2026-01-31T20:00:05.188338+00:00", "20260131T200005,5Z", "2026-W05-6", "2026-031", "2026-01-31 24:00-0430"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := protocol.ParseTime(s)
		var strict time.Time
		if rfc3339.MatchString(s) && strict.UnmarshalText([]byte(s)) == nil {
			if y := strict.UTC().Year(); y >= 1 && y <= 9999 && (err != nil || !got.Equal(strict)) {
				t.Fatalf("%q: %v, %v; want %v", s, got, err, strict)
			}
		}
		if err != nil {
			if len(s) > 4 && strings.Contains(err.Error(), s) {
				t.Fatalf("error holds the text: %v", err)
			}
			return
		}
		back, err := protocol.ParseTime(protocol.FormatTime(got))
		if err != nil || !back.Equal(got.Truncate(time.Microsecond)) {
			t.Fatalf("%q: %v became %v, %v", s, got, back, err)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{
		`[1, -2.5e3, "a\ud83d\ude00\u0000", {"b": null, "b": true}, NaN, -Infinity]`, `{"__type__": "decimal", "__value__": "1"}`,
		`1180591620717411303424`, `{"event_name": "x", "Tags": ["a"], "Pair": [1], "booking_date": "2026-01-31", "Keys": {"1": true}, "Quoted": "1"}`,
		`[01]`, `"\ud800"`, "\"\xff\"", `[1,]`, `{"a"}`, ` `, `-`, `[[[[]]]]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got any
		err := protocol.Unmarshal(b, &got)
		typed := new(booking)
		if typedErr := protocol.Unmarshal(b, typed); typedErr == nil && err != nil {
			t.Fatalf("read into a struct, but not into any: %v", err)
		}
		plain := withoutNaN(b)
		valid := utf8.Valid(b) && json.Valid(plain)
		if e, ok := errors.AsType[*protocol.DecodeError](err); ok && (e.Reason == protocol.ReasonTooDeep || e.Reason == protocol.ReasonTooLarge) {
			return
		}
		if valid != (err == nil) && !(valid && bytes.Contains(b, []byte("N"))) && !joined(b, plain) {
			t.Fatalf("valid for encoding/json: %v, for us: %v", valid, err)
		}
		if err != nil {
			return
		}
		out, err := protocol.Marshal(got)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		var again any
		if err := protocol.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if !bytes.Contains(b, []byte("__")) && !bytes.Contains(b, []byte(`\u`)) {
			if diff := cmp.Diff(got, again, equal...); diff != "" {
				t.Fatalf("changed on its way:\n%s", diff)
			}
		}
		if !joined(b, plain) && !bytes.Contains(b, []byte("__")) && !bytes.Contains(b, []byte(`\u`)) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			var want any
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(numbers(want), numbers(got), equal...); diff != "" {
				t.Fatalf("(-encoding/json +ours):\n%s", diff)
			}
		}
	})
}

// joined reports whether b has words that only Python knows; what is left of
// text like 1NaN without them is no proof for anything.
func joined(b, plain []byte) bool { return !bytes.Equal(b, plain) }

// numbers makes the numbers of encoding/json and of this package comparable.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, ok := new(big.Int).SetString(string(v), 10); ok {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			f = math.Copysign(f, f)
		}
		return f
	case int64:
		return big.NewInt(v)
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
