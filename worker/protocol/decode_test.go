package protocol_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

// Everything that a producer of any version sent arrives with the right task, arguments
// and options. The expected values are read from the same text by other means:
// encoding/json, and the bodies that were unpacked when recording.
func TestDecodeRecorded(t *testing.T) {
	for _, r := range messages(t) {
		t.Run(r.folder+"/"+r.Name, func(t *testing.T) {
			m := decode(t, r.Raw)
			var want struct {
				Headers    map[string]any
				Properties map[string]any
			}
			if err := json.Unmarshal([]byte(r.Raw), &want); err != nil {
				t.Fatal(err)
			}
			options := want.Headers
			args, kwargs, embed := splitBody(t, r.Body)
			if _, ok := options["task"]; !ok { // protocol 1
				options = map[string]any{}
				if err := json.Unmarshal([]byte(r.Body), &options); err != nil {
					t.Fatal(err)
				}
				embed = r.Body
				if m.Protocol != 1 {
					t.Errorf("Protocol = %d", m.Protocol)
				}
			} else if m.Protocol != 2 {
				t.Errorf("Protocol = %d", m.Protocol)
			}
			if string(m.Args) != args || string(m.Kwargs) != kwargs {
				t.Errorf("arguments %s %s\nwant %s %s", m.Args, m.Kwargs, args, kwargs)
			}
			for name, got := range map[string]protocol.Raw{
				"callbacks": m.Callbacks, "errbacks": m.Errbacks, "chain": m.Chain, "chord": m.Chord,
			} {
				if want := member(t, embed, name); string(got) != want {
					t.Errorf("%s = %s, want %s", name, got, want)
				}
			}
			got := map[string]any{
				"task": m.Task, "id": m.ID, "shadow": m.Shadow, "group": m.Group, "root_id": m.RootID,
				"parent_id": m.ParentID, "lang": m.Lang, "origin": m.Origin, "argsrepr": m.ArgsRepr,
				"kwargsrepr": m.KwargsRepr,
			}
			for name, got := range got {
				if want, _ := options[name].(string); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if want, _ := options["retries"].(float64); m.Retries != int(want) {
				t.Errorf("Retries = %d, want %v", m.Retries, want)
			}
			if want, ok := options["group_index"].(float64); ok != (m.GroupIndex != nil) || ok && *m.GroupIndex != int(want) {
				t.Errorf("GroupIndex = %v, want %v", m.GroupIndex, options["group_index"])
			}
			if want, ok := options["ignore_result"].(bool); ok != (m.IgnoreResult != nil) || ok && *m.IgnoreResult != want {
				t.Errorf("IgnoreResult = %v, want %v", m.IgnoreResult, options["ignore_result"])
			}
			checkTime(t, "eta", m.ETA, options["eta"])
			checkTime(t, "expires", m.Expires, options["expires"])
			limits, _ := options["timelimit"].([]any)
			if fmt.Sprint(limits) != fmt.Sprint([]any{seconds(m.HardTimeLimit), seconds(m.SoftTimeLimit)}) {
				t.Errorf("time limits %v %v, want %v", m.HardTimeLimit, m.SoftTimeLimit, limits)
			}
			info := want.Properties["delivery_info"].(map[string]any)
			gotProperties := []any{m.CorrelationID, m.ReplyTo, m.DeliveryTag, float64(m.Priority), m.Exchange, m.RoutingKey, m.Redelivered}
			redelivered, _ := info["redelivered"].(bool)
			wantProperties := []any{want.Properties["correlation_id"], want.Properties["reply_to"], want.Properties["delivery_tag"],
				want.Properties["priority"], info["exchange"], info["routing_key"], redelivered}
			if diff := cmp.Diff(wantProperties, gotProperties); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
			headers := map[string]any{}
			for _, h := range m.Headers {
				var value any
				if err := json.Unmarshal(h.Value, &value); err != nil {
					t.Errorf("header %s = %s: %v", h.Name, h.Value, err)
				}
				headers[h.Name] = value
			}
			if diff := cmp.Diff(applications(want.Headers), headers); diff != "" {
				t.Errorf("headers of the application (-want +got):\n%s", diff)
			}
		})
	}
}

// applications returns the headers that neither Celery nor kombu defines.
func applications(headers map[string]any) map[string]any {
	own := map[string]any{}
	for name, value := range headers {
		switch name {
		case "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id", "parent_id",
			"argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps", "compression", "redelivered":
		default:
			own[name] = value
		}
	}
	return own
}

func seconds(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return d.Seconds()
}

func checkTime(t *testing.T, name string, got time.Time, want any) {
	t.Helper()
	s, _ := want.(string)
	if s == "" {
		if !got.IsZero() {
			t.Errorf("%s = %v, want none", name, got)
		}
		return
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, s); err == nil {
			if !got.Equal(at) {
				t.Errorf("%s = %v, want %v", name, got, at)
			}
			return
		}
	}
	t.Errorf("%s: recorded %q has a form that the test does not know", name, s)
}

// splitBody finds the parts of a body without any JSON parser, which would lose
// number text: Python's separators are enough in what was recorded.
func splitBody(t *testing.T, body string) (args, kwargs, embed string) {
	t.Helper()
	if body[0] == '{' {
		return member(t, body, "args"), member(t, body, "kwargs"), ""
	}
	parts := elements(t, body)
	if len(parts) != 3 {
		t.Fatalf("body of %d parts", len(parts))
	}
	return parts[0], parts[1], parts[2]
}

// elements splits the text of an array or object at the commas of its own level.
func elements(t *testing.T, text string) []string {
	t.Helper()
	var parts []string
	depth, start, quoted := 0, 1, false
	for i := 1; i < len(text)-1; i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '[', c == '{':
			depth++
		case c == ']', c == '}':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(text[start:len(text)-1]))
}

// member returns the text of a member of an object, "" for absent and null.
func member(t *testing.T, object, name string) string {
	t.Helper()
	for _, part := range elements(t, object) {
		if v, ok := strings.CutPrefix(part, `"`+name+`": `); ok && v != "null" {
			return v
		}
	}
	return ""
}

func TestDecodeRefusesRecorded(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range records(t, "celery-*/produced.jsonl") {
		want, refused := notDecoded[r.Name]
		if !refused {
			continue
		}
		seen[r.Name] = true
		_, err := protocol.Decode([]byte(r.Raw), protocol.Limits{})
		if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason != want {
			t.Errorf("%s/%s: %v, want %s", r.folder, r.Name, err, want)
		}
	}
	if len(seen) != len(notDecoded) {
		t.Errorf("only %d of %d cases occur", len(seen), len(notDecoded))
	}
}

var update = flag.Bool("update", false, "rewrite golden files")

func TestDecodeGolden(t *testing.T) {
	var got strings.Builder
	for _, r := range records(t, "celery-5.6.2/produced.jsonl") {
		if notDecoded[r.Name] == protocol.ReasonPickle {
			continue
		}
		m, err := everything.Decode([]byte(r.Raw))
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		fmt.Fprintf(&got, "== %s\n", r.Name)
		text, err := json.MarshalIndent(printable(m), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got.Write(text)
		got.WriteByte('\n')
	}
	const file = "testdata/decoded.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("decoded messages changed (-want +got):\n%s", diff)
	}
}

// printable shows texts of JSON as such, and of long ones only the beginning.
func printable(m *protocol.Message) map[string]any {
	short := func(r protocol.Raw) string {
		if len(r) > 2000 {
			return fmt.Sprintf("%s... %d bytes", r[:60], len(r))
		}
		return string(r)
	}
	var headers []string
	for _, h := range m.Headers {
		headers = append(headers, h.Name+": "+short(h.Value))
	}
	out := map[string]any{
		"protocol": m.Protocol, "task": m.Task, "id": m.ID, "shadow": m.Shadow, "root_id": m.RootID,
		"parent_id": m.ParentID, "group": m.Group, "group_index": m.GroupIndex, "origin": m.Origin,
		"retries": m.Retries, "hard": m.HardTimeLimit.String(), "soft": m.SoftTimeLimit.String(),
		"ignore_result": m.IgnoreResult, "nesting": m.ReplacedTaskNesting,
		"stamped_headers": m.StampedHeaders, "stamps": string(m.Stamps),
		"args": short(m.Args), "kwargs": short(m.Kwargs), "callbacks": short(m.Callbacks), "errbacks": short(m.Errbacks),
		"chain": short(m.Chain), "chord": short(m.Chord), "correlation_id": m.CorrelationID, "reply_to": m.ReplyTo,
		"delivery_tag": m.DeliveryTag, "exchange": m.Exchange, "routing_key": m.RoutingKey, "priority": m.Priority,
		"expiration": m.Expiration, "compression": m.Compression, "custom headers": headers,
	}
	if !m.ETA.IsZero() {
		out["eta"] = m.ETA.Format(time.RFC3339Nano)
	}
	if !m.Expires.IsZero() {
		out["expires"] = m.Expires.Format(time.RFC3339Nano)
	}
	return out
}
