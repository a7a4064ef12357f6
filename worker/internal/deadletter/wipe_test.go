package deadletter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/deadletter"
	"github.com/evently/workers/worker/protocol"
)

const canary = "c4n4ry"

// A wiped message keeps its shape and shows no value, wherever that was.
func TestWipe(t *testing.T) {
	m := &protocol.Message{
		ID: "id", Task: "t", DeliveryTag: "d", RoutingKey: "q", Shadow: canary, ArgsRepr: canary, KwargsRepr: canary,
		Args:      protocol.Raw(`["c4n4ry", 739155, -1.5e3, true, null, [], {}, [["c4n4ry"]], {"c4n4ry@example.com": 1, "user_id": "c4n4ry"}]`),
		Kwargs:    protocol.Raw(`{"code": "c4n4ry", "0c4n4ry": 1}`),
		Callbacks: protocol.Raw(`[{"task": "c4n4ry", "args": ["c4n4ry"]}]`), Chain: protocol.Raw(`[]`), Stamps: protocol.Raw(`{"s": "c4n4ry"}`),
		Headers:       []protocol.Header{{Name: "custom", Value: protocol.Raw(`"c4n4ry"`)}, protocol.TimeHeader(broker.SetAsideHeader, time.Unix(1, 0))},
		Properties:    []protocol.Field{{Name: "app_id", Value: protocol.Raw(`"c4n4ry"`)}},
		CorrelationID: canary, ReplyTo: canary,
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	wiped := deadletter.Wipe(raw)
	w, err := protocol.Decode(wiped, protocol.Limits{})
	if err != nil || strings.Contains(string(wiped), canary) {
		t.Fatalf("%s, %v", wiped, err)
	}
	if got, want := string(w.Args), `["", 0, 0, false, null, [], {}, [[""]], {"(name)": 0, "user_id": ""}]`; got != want {
		t.Errorf("args are %s, want %s", got, want)
	}
	if got, want := string(w.Kwargs), `{"code": "", "(name)": 0}`; got != want {
		t.Errorf("kwargs are %s, want %s", got, want)
	}
	if w.ID != "id" || w.Task != "t" || w.Header(broker.SetAsideHeader) == nil || w.Header("custom") != nil {
		t.Errorf("wiped: %+v", w)
	}
	if deadletter.Wipe([]byte("no message "+canary)) != nil {
		t.Error("something is left of bytes that are no message")
	}
	if _, err := protocol.Decode(deadletter.Mark(wiped), protocol.Limits{}); err == nil {
		t.Error("an earlier version can read the stored form, and would send it")
	}
	if string(deadletter.Unmark(deadletter.Mark(wiped))) != string(wiped) || deadletter.Unmark(deadletter.Mark(nil)) != nil {
		t.Error("the stored form is not read back")
	}
}

// No text of the arguments survives in any message.
func FuzzWipe(f *testing.F) {
	f.Add(`["c4n4ry", {"a": [1, {"c4n4ry": "c4n4ry"}]}]`, `{"k": {"c4n4ry ": 1}}`)
	f.Add(`[`+strings.Repeat(`[`, 50)+`"c4n4ry"`+strings.Repeat(`]`, 50)+`]`, `{}`)
	f.Fuzz(func(t *testing.T, args, kwargs string) {
		raw, err := protocol.Encode(&protocol.Message{ID: "id", Task: "t", DeliveryTag: "d", Args: protocol.Raw(args), Kwargs: protocol.Raw(kwargs)})
		if err != nil {
			return
		}
		if _, err := protocol.Decode(raw, protocol.Limits{}); err != nil {
			return
		}
		wiped := deadletter.Wipe(raw)
		m, err := protocol.Decode(wiped, protocol.Limits{})
		if err != nil {
			t.Fatalf("%s cannot be read: %v", wiped, err)
		}
		for _, r := range "0123456789" {
			if r != '0' && (strings.ContainsRune(stripNames(string(m.Args)), r) || strings.ContainsRune(stripNames(string(m.Kwargs)), r)) {
				t.Errorf("a digit survives in %s %s", m.Args, m.Kwargs)
			}
		}
	})
}

// stripNames removes names of fields, which may be kept.
func stripNames(text string) string {
	var b strings.Builder
	for i, part := range strings.Split(text, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// An entry of an earlier version, and one of any other program, can be read.
func TestEntries(t *testing.T) {
	for text, want := range map[string]string{
		`{"queue":"q","reason":"r","at":"1764440000.123456"}`:             "q r 2025-11-29T18:13:20.123456Z",
		`{"queue":"q","reason":"r","at":1764440000.5,"v":2,"future":[1]}`: "q r 2025-11-29T18:13:20.5Z",
		`nonsense`: "  0001-01-01T00:00:00Z", ``: "  0001-01-01T00:00:00Z", `{"at":"x"}`: "  0001-01-01T00:00:00Z",
	} {
		e := deadletter.Parse([]byte(text))
		if got := e.Queue + " " + e.Reason + " " + e.At.Time().Format(time.RFC3339Nano); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	e := deadletter.Entry{Queue: "q", At: deadletter.SecondsOf(time.UnixMicro(1764440000123456)), Expires: 2e9, Note: "a\nb"}
	if text := string(e.Encode()); strings.Contains(text, "\n") || !strings.Contains(text, `"at":1764440000.123456`) || !strings.Contains(text, `"expires":2000000000.000000`) {
		t.Errorf("encoded as %s", text)
	}
	if again := deadletter.Parse(e.Encode()); again != e {
		t.Errorf("%+v became %+v", e, again)
	}
}
