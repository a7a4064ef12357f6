package protocol_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

// surrogate is an escape that encoding/json and Python read in different ways.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// plainJSON reads text by encoding/json alone; ok is false for what is not JSON
// for that, or would not mean the same for Python.
func plainJSON(text []byte) (v any, ok bool) {
	if !utf8.Valid(text) || surrogate.Match(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, json.Valid(text) && d.Decode(&v) == nil
}

// memberOf returns a member of an object; nil when there is none.
func memberOf(v any, name string) any {
	object, _ := v.(map[string]any)
	return object[name]
}

// plainBody reads the body of a message; nil when it is beyond this reader.
func plainBody(envelope any) any {
	text, _ := memberOf(envelope, "body").(string)
	properties, compression := memberOf(envelope, "properties"), memberOf(memberOf(envelope, "headers"), "compression")
	if compression != nil {
		return nil
	}
	body := []byte(text)
	if memberOf(properties, "body_encoding") == "base64" {
		var err error
		if body, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil
		}
	}
	v, ok := plainJSON(body)
	if !ok {
		return nil
	}
	return v
}

// The scanner walks once over the text and keeps spans of it. encoding/json builds
// a tree; both must find the same values, and the same texts to be JSON.
func FuzzDecodeAsEncodingJSON(f *testing.F) {
	seeds(f)
	for i, r := range messages(f) {
		if i%10 == 0 && len(r.Raw) < 4096 {
			f.Add([]byte(r.Raw))
		}
	}
	f.Add([]byte(`{"b\u006fdy": "W1tdLHt9LHt9XQ==", "headers": {"task": "a"}, "he\u0061ders": {"t\u0061sk": "t", "id": "i", "id": "j", "retries": 2, "retries": 3}, ` +
		`"properties": {"priority": 1, "delivery_tag": "d", "body_encoding": "base64", "delivery_info": {}, "delivery_info": {"exchange": "", "routing_key": "\u00fc\n"}}, "content-type": "application/json"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// On its word messages are entered without a further look.
		if protocol.Restorable(raw) == nil && !(utf8.Valid(raw) && json.Valid(withoutNaN(raw))) {
			t.Fatal("restorable, though it is not JSON")
		}
		want, ok := plainJSON(raw)
		if !ok {
			return
		}
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil {
			if e, _ := errors.AsType[*protocol.DecodeError](err); e != nil && (e.Reason == protocol.ReasonNotJSON || e.Reason == protocol.ReasonNotUTF8) && plainBody(want) != nil {
				t.Fatalf("refused, though all of it is JSON: %v", err)
			}
			return
		}
		properties, headers, body := memberOf(want, "properties"), memberOf(want, "headers"), plainBody(want)
		info := memberOf(properties, "delivery_info")
		same := func(what string, want any, got string) {
			t.Helper()
			if s, ok := want.(string); (ok || want == nil) && s != got {
				t.Errorf("%s is %q, for encoding/json %q", what, got, s)
			}
		}
		same("delivery tag", memberOf(properties, "delivery_tag"), m.DeliveryTag)
		same("correlation id", memberOf(properties, "correlation_id"), m.CorrelationID)
		same("reply to", memberOf(properties, "reply_to"), m.ReplyTo)
		same("exchange", memberOf(info, "exchange"), m.Exchange)
		same("routing key", memberOf(info, "routing_key"), m.RoutingKey)
		same("content encoding", memberOf(want, "content-encoding"), m.ContentEncoding)
		whole(t, "priority", memberOf(properties, "priority"), m.Priority)
		// Headers win over the body of protocol 1.
		of := func(name string) any {
			if v, there := headers.(map[string]any)[name]; there || m.Protocol == 2 {
				return v
			}
			return memberOf(body, name)
		}
		if _, ok := headers.(map[string]any); ok && (body != nil || m.Protocol == 2) {
			same("id", of("id"), m.ID)
			same("task", of("task"), m.Task)
			same("root id", of("root_id"), m.RootID)
			same("parent id", of("parent_id"), m.ParentID)
			same("lang", of("lang"), m.Lang)
			same("origin", of("origin"), m.Origin)
			same("argsrepr", of("argsrepr"), m.ArgsRepr)
			same("kwargsrepr", of("kwargsrepr"), m.KwargsRepr)
			whole(t, "retries", of("retries"), m.Retries)
			sameHeaders(t, headers, m)
		}
		if triple, ok := body.([]any); ok && len(triple) == 3 {
			sameOrNothing(t, "args", triple[0], m.Args)
			sameOrNothing(t, "kwargs", triple[1], m.Kwargs)
			for name, got := range map[string]protocol.Raw{"callbacks": m.Callbacks, "errbacks": m.Errbacks, "chain": m.Chain, "chord": m.Chord} {
				sameOrNothing(t, name, memberOf(triple[2], name), got)
			}
		}
	})
}

// whole compares a whole number that is not negative and small.
func whole(t *testing.T, what string, want any, got int) {
	t.Helper()
	number, _ := want.(json.Number)
	if n, err := strconv.ParseUint(string(number), 10, 31); err == nil && int(n) != got {
		t.Errorf("%s is %d, for encoding/json %s", what, got, number)
	}
}

func sameHeaders(t *testing.T, want any, m *protocol.Message) {
	t.Helper()
	names := map[string]bool{}
	for _, h := range m.Headers {
		names[h.Name] = true
	}
	wanted := applications(want.(map[string]any))
	if len(names) != len(wanted) {
		t.Errorf("%d headers, for encoding/json %d", len(names), len(wanted))
	}
	for name, v := range wanted {
		sameValue(t, "header "+name, v, m.Header(name))
	}
}

// sameOrNothing compares a value with the text that was kept of it. An empty value may
// be kept as another empty value.
func sameOrNothing(t *testing.T, what string, want any, got protocol.Raw) {
	t.Helper()
	nothing := []string{"", "null", "[]", "{}"}
	if slices.Contains([]string{"<nil>", "[]", "map[]", "", "0", "false"}, fmt.Sprint(want)) && slices.Contains(nothing, string(got)) {
		return
	}
	sameValue(t, what, want, got)
}

// sameValue compares a value with the text that was kept of it.
func sameValue(t *testing.T, what string, want any, got protocol.Raw) {
	t.Helper()
	if got == nil && want == nil {
		return
	}
	v, ok := plainJSON(got)
	if diff := cmp.Diff(want, v); !ok || diff != "" {
		t.Errorf("%s is %s (-encoding/json +scanner):\n%s", what, got, diff)
	}
}
