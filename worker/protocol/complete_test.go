package protocol_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

func TestComplete(t *testing.T) {
	const info = `"delivery_info": {"exchange": "", "routing_key": "q"}`
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing is missing", `{"body": "", "properties": {"delivery_tag": "d", ` + info + `}}`, `{"body": "", "properties": {"delivery_tag": "d", ` + info + `}}`},
		{"no properties", `{"body": ""}`, `{"body": "", "properties": {"delivery_tag": "t", ` + info + `}}`},
		{"null properties", `{"properties": null, "body": ""}`, `{"properties": {"delivery_tag": "t", ` + info + `}, "body": ""}`},
		{"empty array", `{"body": "", "properties": [ ]}`, `{"body": "", "properties": {"delivery_tag": "t", ` + info + `}}`},
		{"null tag", `{"body": "", "properties": {"delivery_tag": null, "x": 1.0}}`, `{"body": "", "properties": {"x": 1.0, "delivery_tag": "t", ` + info + `}}`},
		{"tag number", `{"body": "", "properties": {"delivery_tag": 7}}`, `{"body": "", "properties": {"delivery_tag": 7, ` + info + `}}`},
		{"exchange null", `{"body": "", "properties": {"delivery_tag": "d", "delivery_info": {"exchange": null, "routing_key": "other", "priority": 3}}}`,
			`{"body": "", "properties": {"delivery_tag": "d", "delivery_info": {"priority": 3, "exchange": "", "routing_key": "q"}}}`},
		{"headers null", `{"body": "", "headers": null}`, `{"body": "", "headers": {}, "properties": {"delivery_tag": "t", ` + info + `}}`},
		{"headers empty array", `{"body": "", "headers": []}`, `{"body": "", "headers": {}, "properties": {"delivery_tag": "t", ` + info + `}}`},
		{"last of two counts", `{"body": "", "properties": {"delivery_tag": "d"}, "properties": null}`,
			`{"body": "", "properties": {"delivery_tag": "d"}, "properties": {"delivery_tag": "t", ` + info + `}}`},
		// A part of another type was not left out.
		{"exchange number", `{"body": "", "properties": {"delivery_tag": "d", "delivery_info": {"exchange": 1, "routing_key": "q"}}}`, ""},
		{"properties text", `{"body": "", "properties": "x"}`, ""},
		{"properties list", `{"body": "", "properties": [1]}`, ""},
		{"delivery info text", `{"body": "", "properties": {"delivery_info": "q"}}`, ""},
		{"headers text", `{"body": "", "headers": "x"}`, ""},
		{"no body", `{"headers": {}}`, ""},
		{"array", `[]`, ""},
		{"no JSON", `{"body": ""`, ""},
		{"priority infinite", `{"body": "", "properties": {"priority": Infinity}}`, ""},
		{"type unknown", `{"body": "", "x": {"__type__": "no", "__value__": 1}}`, ""},
	} {
		got, err := protocol.Complete([]byte(tt.raw), "q", "t")
		if tt.want == "" {
			if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
				t.Errorf("%s: %v and %s, want a DecodeError", tt.name, err, got)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tt.name, err, got, tt.want)
		}
	}
}

func TestSalvage(t *testing.T) {
	const chord = `{"task": "body", "options": {"task_id": "b"}}`
	body := `[[1], {}, {"callbacks": null, "errbacks": [{"task": "e"}], "chain": null, "chord": ` + chord + `}]`
	member := header(`"group": "g", "group_index": 2, "root_id": "r"`)
	small := protocol.Decoder{Limits: protocol.Limits{Size: 2000, Depth: 6, Elements: 100}}
	for _, tt := range []struct {
		name, raw, id, chord string
	}{
		{"too large", parts{headers: member, body: quoted64(strings.Replace(body, "[1]", `["`+strings.Repeat("x", 3000)+`"]`, 1))}.String(), "i", chord},
		{"much too large", parts{headers: member, body: quoted64(strings.Replace(body, "[1]", `["`+strings.Repeat("x", 30_000)+`"]`, 1))}.String(), "i", ""},
		{"too deep", parts{headers: member, body: quoted64(strings.Replace(body, "[1]", strings.Repeat("[", 50)+strings.Repeat("]", 50), 1))}.String(), "i", chord},
		{"too many elements", parts{headers: member, body: quoted64(strings.Replace(body, "[1]", "["+strings.Repeat("1,", 300)+"1]", 1))}.String(), "i", chord},
		{"bad args", parts{headers: member, body: quoted64(strings.Replace(body, "[1]", `"x"`, 1))}.String(), "i", chord},
		{"bad kwargs", parts{headers: member, body: quoted64(strings.Replace(body, "{}", "[1]", 1))}.String(), "i", chord},
		{"bad eta", parts{headers: header(`"group": "g", "group_index": 2, "root_id": "r", "eta": "soon"`), body: quoted64(body)}.String(), "i", chord},
		{"no base64", parts{headers: member, body: `"x"`}.String(), "i", ""},
		{"pickle", parts{headers: member, rest: `"content-type": "application/x-python-serialize"`}.String(), "i", ""},
		{"no task", parts{headers: `{"id": "i", "group": "g", "group_index": 2, "root_id": "r"}`, body: quoted64(body)}.String(), "i", chord},
		{"the end alone", parts{headers: member, body: quoted64(body)}.String()[40:], "i", ""},
		{"no id", parts{headers: `{"task": "t"}`, body: quoted64(body)}.String(), "", ""},
		{"no JSON", `{"id": "i"`, "", ""},
	} {
		if _, err := small.Decode([]byte(tt.raw)); err == nil {
			t.Errorf("%s: it can be decoded", tt.name)
		}
		m := small.Salvage([]byte(tt.raw))
		if tt.id == "" {
			if m != nil {
				t.Errorf("%s: %+v, want nothing", tt.name, m)
			}
			continue
		}
		if m == nil || m.ID != tt.id || m.Group != "g" || m.RootID != "r" || *m.GroupIndex != 2 || string(m.Chord) != tt.chord {
			t.Errorf("%s: %+v", tt.name, m)
			continue
		}
		if (tt.chord == "") != (m.Errbacks == nil) {
			t.Errorf("%s: errbacks are %s", tt.name, m.Errbacks)
		}
		if _, err := protocol.Encode(m); err != nil && m.Task != "" && m.DeliveryTag != "" {
			t.Errorf("%s: cannot be encoded: %v", tt.name, err)
		}
	}
	correlated := parts{headers: `{"task": "t"}`, properties: `{"correlation_id": "c", "body_encoding": "base64"}`}.String()
	if m := small.Salvage([]byte(correlated)); m == nil || m.ID != "c" {
		t.Errorf("without an id: %+v, want the correlation id", m)
	}
}

// Salvage does not unpack a bomb.
func TestSalvageOfBombs(t *testing.T) {
	for name, raw := range map[string]string{
		"zlib": parts{headers: header(`"compression": "zlib"`), body: quoted64(deflated(`[["` + strings.Repeat("a", 64<<20) + `"], {}, {}]`))}.String(),
		"yaml": bodyOf(typeYAML, laughs(9, "*")),
	} {
		d := protocol.Decoder{Accept: []string{"json", "yaml"}}
		m := d.Salvage([]byte(raw))
		if m == nil || m.ID == "" || string(m.Args) != "[]" {
			t.Errorf("%s: %v", name, m != nil)
		}
	}
}
