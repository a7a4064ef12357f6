package protocol_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

func TestParseEntryRecorded(t *testing.T) {
	for _, r := range records(t, "celery-*/entries.jsonl") {
		e, err := protocol.ParseEntry([]byte(r.Raw))
		if err != nil {
			t.Fatalf("%s: %v", r.folder, err)
		}
		want := elements(t, r.Raw)
		if e.Exchange != "" || `"`+e.RoutingKey+`"` != want[2] || string(e.Raw) != want[0] {
			t.Errorf("%s: exchange %q, routing key %q, message %s", r.folder, e.Exchange, e.RoutingKey, e.Raw)
		}
		if got := string(protocol.EncodeEntry(e)); got != r.Raw {
			t.Errorf("%s:\nCelery %s\nours   %s", r.folder, r.Raw, got)
		}
		m := decode(t, string(e.Raw))
		if !strings.Contains(r.Key, m.DeliveryTag) {
			t.Errorf("%s: delivery tag %s is not in %s", r.folder, m.DeliveryTag, r.Key)
		}
	}
}

func TestParseEntry(t *testing.T) {
	tests := []struct {
		in   string
		want protocol.Entry
	}{
		// As a Lua script joins it, with the text of the message untouched.
		{`[{"a" :1.0,"b":[ 1180591620717411303424]},"","q"]`, protocol.Entry{Raw: []byte(`{"a" :1.0,"b":[ 1180591620717411303424]}`), RoutingKey: "q"}},
		{` [ {} , "e\"\u00fc" , null ] `, protocol.Entry{Raw: []byte(`{}`), Exchange: `e"ü`}},
	}
	for _, tt := range tests {
		got, err := protocol.ParseEntry([]byte(tt.in))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.in, err, diff)
		}
	}
	for _, in := range []string{``, `{}`, `[]`, `[{},"",""`, `[{},""]`, `[{},"","",""]`, `[1,"",""]`, `[{},1,""]`, `[{},"",{}]`, `[{},"",""] 1`, "[{},\"\",\"\xff\"]"} {
		if e, err := protocol.ParseEntry([]byte(in)); err == nil {
			t.Errorf("%s gives %+v", in, e)
		} else if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
			t.Errorf("%s: %T", in, err)
		}
	}
}

// The message that Celery has put back differs from the one in its entry by
// nothing but the marks.
func TestMarkRedeliveredAsCelery(t *testing.T) {
	e, err := protocol.ParseEntry([]byte(find(t, "celery-5.2.6/entries.jsonl", "unacked-entry").Raw))
	if err != nil {
		t.Fatal(err)
	}
	got, err := protocol.MarkRedelivered(e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	want := find(t, "celery-5.2.6/restored.jsonl", "restored-by-visibility-timeout-late").Raw
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-Celery +ours):\n%s", diff)
	}
	if again, err := protocol.MarkRedelivered(got); err != nil || string(again) != string(got) {
		t.Errorf("marked twice: %v\n%s", err, again)
	}
}

func TestMarkRedelivered(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"headers":{},"properties":{"delivery_info":{}}}`,
			`{"headers":{"redelivered": true},"properties":{"delivery_info":{"redelivered": true}}}`},
		{`{"headers":{"a":1 } ,"properties":{"delivery_info":{"redelivered" : false,"b":2}}}`,
			`{"headers":{"a":1, "redelivered": true } ,"properties":{"delivery_info":{"redelivered" : true,"b":2}}}`},
		{`{"properties":{"delivery_info":{"x":1.0}},"headers":{"redelivered":null}}`,
			`{"properties":{"delivery_info":{"x":1.0, "redelivered": true}},"headers":{"redelivered":true}}`},
		{`{"headers":{"redelivered":1,"redelivered":{"deep":[]},"z":0}}`,
			`{"headers":{"redelivered":1,"redelivered":true,"z":0}}`},
		// Of two objects of the same name the last one counts, here and in Python.
		{`{"headers":{},"headers":{"a":1}}`, `{"headers":{},"headers":{"a":1, "redelivered": true}}`},
		{`{"properties":{"delivery_info":{}},"properties":{"delivery_info":null}}`,
			`{"properties":{"delivery_info":{}},"properties":{"delivery_info":null}}`},
		{`{"headers":null,"properties":{}}`, `{"headers":null,"properties":{}}`},
		{`{"headers":[],"properties":7}`, `{"headers":[],"properties":7}`},
		{`{"properties":{"delivery_info":{}}}`, `{"properties":{"delivery_info":{"redelivered": true}}}`},
		{`{}`, `{}`},
		{` {"n":NaN,"headers":{ }}` + "\n", ` {"n":NaN,"headers":{"redelivered": true }}` + "\n"},
		{`{"\u0068eaders":{}}`, `{"\u0068eaders":{"redelivered": true}}`},
	}
	for _, tt := range tests {
		got, err := protocol.MarkRedelivered([]byte(tt.in))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tt.in, err, got, tt.want)
		}
	}
	for _, in := range []string{``, `[]`, `1`, `{`, `{} x`, `{"headers":{]}`, "{\"\xff\":1}"} {
		if got, err := protocol.MarkRedelivered([]byte(in)); err == nil {
			t.Errorf("%s gives %s", in, got)
		}
	}
}

// All recorded messages decode to the same message after they were marked.
func TestMarkRedeliveredRecorded(t *testing.T) {
	for _, r := range messages(t) {
		marked, err := protocol.MarkRedelivered([]byte(r.Raw))
		if err != nil {
			t.Fatalf("%s/%s: %v", r.folder, r.Name, err)
		}
		got := decode(t, string(marked))
		if !got.Redelivered || !bytes.Contains(marked, []byte(`"redelivered": true`)) {
			t.Errorf("%s/%s is not marked", r.folder, r.Name)
		}
		sameTask(t, decode(t, r.Raw), got)
	}
}

func TestParseEnvelope(t *testing.T) {
	for _, r := range messages(t) {
		m := decode(t, r.Raw)
		e, err := protocol.ParseEnvelope([]byte(r.Raw))
		if err != nil {
			t.Fatalf("%s/%s: %v", r.folder, r.Name, err)
		}
		want := protocol.Envelope{Task: m.Task, ID: m.ID, RootID: m.RootID, CorrelationID: m.CorrelationID, GroupID: m.Group, Retries: m.Retries,
			Priority: m.Priority, DeliveryTag: m.DeliveryTag, Exchange: m.Exchange, RoutingKey: m.RoutingKey,
			Redelivered: m.Redelivered, ContentType: m.ContentType, Expires: m.Expires}
		if all, _ := plainJSON([]byte(r.Raw)); m.Protocol == 1 && memberOf(memberOf(all, "headers"), "task") == nil {
			want.Task, want.Retries, want.GroupID, want.Expires = "", 0, "", time.Time{}
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("%s/%s (-Decode +ParseEnvelope):\n%s", r.folder, r.Name, diff)
		}
	}
	// Nothing but an object is asked for: dead letters hold worse.
	got, err := protocol.ParseEnvelope([]byte(`{"headers": {"id": 7, "task": "t"}, "properties": {"priority": "4", "delivery_info": []}}`))
	if diff := cmp.Diff(protocol.Envelope{Task: "t", ID: "7", Priority: 4}, got); err != nil || diff != "" {
		t.Errorf("damaged envelope: %v (-want +got):\n%s", err, diff)
	}
	for _, in := range []string{``, `hello`, `42`, `[]`, `{`} {
		if _, err := protocol.ParseEnvelope([]byte(in)); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}
