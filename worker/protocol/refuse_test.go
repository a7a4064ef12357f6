package protocol_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Messages that were broken by hand and given to real Python workers. They die
// of the refused ones, or drop them; of those accepted they run the task.
func TestDecodeCrafted(t *testing.T) {
	const accepted = protocol.Reason("")
	want := map[string]protocol.Reason{
		"bad-base64":           protocol.ReasonBadBase64,
		"bad-eta":              protocol.ReasonBadETA,
		"bad-expires":          protocol.ReasonBadExpires,
		"body-dict-args":       protocol.ReasonBadArgs, // Python passes the keys, which no producer means
		"body-embed-null":      accepted,
		"body-kwargs-list":     accepted, // it is empty, which is how PHP writes no arguments
		"body-not-json":        protocol.ReasonBadBody,
		"body-truncated":       protocol.ReasonBadBody,
		"body-two-elements":    protocol.ReasonBadBody,
		"empty-object":         protocol.ReasonNoProperties,
		"eta-z":                accepted,
		"extra-fields":         accepted,
		"headers-null":         protocol.ReasonNoHeaders,
		"json-scalar":          protocol.ReasonNotObject,
		"no-delivery-info":     protocol.ReasonNoDeliveryInfo,
		"no-delivery-tag":      protocol.ReasonNoDeliveryTag,
		"no-headers":           protocol.ReasonNoHeaders,
		"no-id-header":         protocol.ReasonNoID,
		"no-properties":        protocol.ReasonNoProperties,
		"no-task-header":       protocol.ReasonNoTask,
		"not-json":             protocol.ReasonNotJSON,
		"pickle-content-type":  protocol.ReasonPickle,
		"priority-null":        accepted,
		"retries-string":       accepted,
		"timelimit-null":       accepted,
		"unknown-compression":  protocol.ReasonCompression,
		"unknown-content-type": protocol.ReasonContentType,
		"wrong-arity":          accepted, // whether the call fits is for the task to say
	}
	for _, r := range records(t, "crafted/*.jsonl") {
		reason, known := want[r.Name]
		if !known {
			t.Errorf("%s: the table does not say what to expect", r.Name)
			continue
		}
		delete(want, r.Name)
		checkReason(t, r.Name, r.Raw, protocol.Limits{}, reason)
	}
	for name := range want {
		t.Errorf("%s was not recorded", name)
	}
}

// checkReason decodes and compares the reason; "" means accepted.
func checkReason(t *testing.T, name, raw string, lim protocol.Limits, want protocol.Reason) {
	t.Helper()
	m, err := protocol.Decode([]byte(raw), lim)
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v, want it accepted", name, err)
		}
		return
	}
	e, ok := errors.AsType[*protocol.DecodeError](err)
	if !ok || e.Reason != want {
		t.Errorf("%s: error %v, want %s", name, err, want)
	}
	if m != nil {
		t.Errorf("%s: a message in spite of the error", name)
	}
}

// parts make a message with any piece replaced.
type parts struct{ body, headers, properties, rest string }

func (p parts) String() string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	return `{"body": ` + or(p.body, quoted64(`[[1], {}, {}]`)) +
		`, "content-encoding": "utf-8", ` + or(p.rest, `"content-type": "application/json"`) +
		`, "headers": ` + or(p.headers, `{"task": "t", "id": "i"}`) +
		`, "properties": ` + or(p.properties, `{"delivery_info": {"exchange": "", "routing_key": "q"}, "body_encoding": "base64", "delivery_tag": "d"}`) + `}`
}

func quoted64(body string) string {
	return `"` + base64.StdEncoding.EncodeToString([]byte(body)) + `"`
}

func header(extra string) string { return `{"task": "t", "id": "i", ` + extra + `}` }

func deflated(body string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write([]byte(body)) // a bytes.Buffer takes everything
	w.Close()
	return b.String()
}

func TestDecodeReason(t *testing.T) {
	long := strings.Repeat("x", 64<<10+1)
	properties := func(info, encoding, tag string) string {
		return `{"delivery_info": ` + info + `, "body_encoding": ` + encoding + `, "delivery_tag": ` + tag + `}`
	}
	const info = `{"exchange": "", "routing_key": "q"}`
	tests := []struct {
		name string
		raw  fmt.Stringer
		want protocol.Reason
	}{
		{"plain", parts{}, ""},
		{"space around", text(" \r\n\t" + parts{}.String() + "\n"), ""},
		{"text behind", text(parts{}.String() + "x"), protocol.ReasonNotJSON},
		{"second object", text(parts{}.String() + "{}"), protocol.ReasonNotJSON},
		{"empty", text(""), protocol.ReasonNotJSON},
		{"byte order mark", text("\ufeff" + parts{}.String()), protocol.ReasonNotJSON},
		{"not utf-8", parts{headers: header("\"x\": \"\xff\"")}, protocol.ReasonNotUTF8},
		{"control character in string", parts{headers: header("\"x\": \"\x01\"")}, protocol.ReasonNotJSON},
		{"trailing comma", parts{headers: `{"task": "t", "id": "i",}`}, protocol.ReasonNotJSON},
		{"leading zero", parts{headers: header(`"x": 01`)}, protocol.ReasonNotJSON},
		{"bad escape", parts{headers: header(`"x": "\x"`)}, protocol.ReasonNotJSON},
		{"array", text("[]"), protocol.ReasonNotObject},
		{"null", text("null"), protocol.ReasonNotObject},
		{"unpaired surrogate elsewhere", parts{headers: header(`"x": "\ud800"`)}, ""},
		{"last of two members counts", text(with(t, parts{}.String(), `"headers"`, `"headers": null, "headers"`)), ""},
		{"escaped member name", text(with(t, parts{}.String(), `"headers"`, `"\u0068eaders"`)), ""},

		{"properties list", parts{properties: "[]"}, protocol.ReasonNoProperties},
		{"delivery info null", parts{properties: properties("null", `"base64"`, `"d"`)}, protocol.ReasonNoDeliveryInfo},
		{"no exchange", parts{properties: properties(`{"routing_key": "q"}`, `"base64"`, `"d"`)}, protocol.ReasonNoDeliveryInfo},
		{"no routing key", parts{properties: properties(`{"exchange": ""}`, `"base64"`, `"d"`)}, protocol.ReasonNoDeliveryInfo},
		{"tag null", parts{properties: properties(info, `"base64"`, `null`)}, protocol.ReasonNoDeliveryTag},
		{"tag number", parts{properties: properties(info, `"base64"`, `7`)}, ""},

		{"headers list", parts{headers: "[]"}, protocol.ReasonNoHeaders},
		{"task null", parts{headers: `{"task": null, "id": "i"}`}, protocol.ReasonNoTask},
		{"task number", parts{headers: `{"task": 1, "id": "i"}`}, ""},
		{"task true", parts{headers: `{"task": true, "id": "i"}`}, protocol.ReasonBadTask},
		{"task too long", parts{headers: `{"task": "` + long + `", "id": "i"}`}, protocol.ReasonBadTask},
		{"id null", parts{headers: `{"task": "t", "id": null}`}, protocol.ReasonNoID},
		{"id empty", parts{headers: `{"task": "t", "id": ""}`}, protocol.ReasonBadID},
		{"id number", parts{headers: `{"task": "t", "id": 7}`}, ""},
		{"id with a fraction", parts{headers: `{"task": "t", "id": 7.5}`}, protocol.ReasonBadID},
		{"id negative", parts{headers: `{"task": "t", "id": -7}`}, protocol.ReasonBadID},
		{"id true", parts{headers: `{"task": "t", "id": true}`}, protocol.ReasonBadID},
		{"id list", parts{headers: `{"task": "t", "id": ["i"]}`}, protocol.ReasonBadID},
		{"id as long as can be", parts{headers: `{"task": "t", "id": "` + long[1:] + `"}`}, ""},
		{"id too long", parts{headers: `{"task": "t", "id": "` + long + `"}`}, protocol.ReasonBadID},
		{"id with newline", parts{headers: `{"task": "t", "id": "a\nb"}`}, ""},
		{"id with unpaired surrogate", parts{headers: `{"task": "t", "id": "\udc00"}`}, protocol.ReasonBadID},
		{"id in other letters", parts{headers: `{"task": "t", "id": "\u00e9\ud83d\ude00"}`}, ""},
		{"root id number", parts{headers: header(`"root_id": 1`)}, ""},
		{"root id list", parts{headers: header(`"root_id": []`)}, ""},
		{"group with control character", parts{headers: header(`"group": "\u0000"`)}, ""},
		{"eta number", parts{headers: header(`"eta": 12`)}, protocol.ReasonBadETA},
		{"eta empty", parts{headers: header(`"eta": ""`)}, ""},
		{"expires false", parts{headers: header(`"expires": false`)}, ""},
		{"eta typed", parts{headers: header(`"eta": {"__type__": "datetime", "__value__": "2026-01-31T20:00:00"}`)}, ""},
		{"expires object", parts{headers: header(`"expires": {}`)}, protocol.ReasonBadExpires},

		{"body missing", text(with(t, parts{}.String(), `"body"`, `"bodies"`)), protocol.ReasonBadBody},
		{"body no string", parts{body: `{"a": 1}`}, protocol.ReasonBadBody},
		{"body empty", parts{body: `""`}, protocol.ReasonBadBody},
		{"body not utf-8", parts{body: quoted64("[[\"\xff\"], {}, {}]")}, protocol.ReasonBadBody},
		{"body scalar", parts{body: quoted64(`7`)}, protocol.ReasonBadBody},
		{"body of four", parts{body: quoted64(`[[], {}, {}, 1]`)}, protocol.ReasonBadBody},
		{"text behind the body", parts{body: quoted64(`[[], {}, {}] 1`)}, protocol.ReasonBadBody},
		{"args null", parts{body: quoted64(`[null, {}, {}]`)}, ""},
		{"args empty object", parts{body: quoted64(`[{ }, {}, {}]`)}, ""},
		{"args object", parts{body: quoted64(`[{"a": 1}, {}, {}]`)}, protocol.ReasonBadArgs},
		{"args text", parts{body: quoted64(`["ab", {}, {}]`)}, protocol.ReasonBadArgs},
		{"kwargs null", parts{body: quoted64(`[[], null, {}]`)}, ""},
		{"kwargs empty list", parts{body: quoted64(`[[], [ ], {}]`)}, ""},
		{"kwargs list", parts{body: quoted64(`[[], [1], {}]`)}, protocol.ReasonBadKwargs},
		{"embed empty list", parts{body: quoted64(`[[], {}, []]`)}, ""},
		{"embed list", parts{body: quoted64(`[[], {}, [1]]`)}, protocol.ReasonBadBody},
		{"embed of nothings", parts{body: quoted64(`[[], {}, {"callbacks": {}, "errbacks": "", "chain": false, "chord": []}]`)}, ""},
		{"NaN and the rest", parts{body: quoted64(`[[NaN, Infinity, -Infinity], {}, null]`)}, ""},
		{"base64 with line ends", parts{body: `"W1sxXSwg\r\ne30sIHt9XQ=="`}, ""},
		{"base64 with rubbish", parts{body: `"W1sxXSwg-e30s IHt9XQ=="`}, ""},
		{"base64 without padding", parts{body: `"W1sxXSwge30sIHt9XQ"`}, protocol.ReasonBadBase64},
		{"unknown body encoding", parts{properties: properties(info, `"rot13"`, `"d"`)}, protocol.ReasonBodyEncoding},
		{"plain text, null", parts{body: `"[[1], {}, {}]"`, properties: properties(info, `null`, `"d"`)}, ""},
		{"plain text that says base64", parts{body: `" [[1], {}, {}]"`, properties: properties(info, `"base64"`, `"d"`)}, ""},
		{"base64 that says nothing", parts{properties: properties(info, `null`, `"d"`)}, ""},
		{"base64 that says utf-8", parts{properties: properties(info, `"utf8"`, `"d"`)}, ""},
		{"plain text, utf-8", parts{body: `"[[1], {}, {}]"`, properties: properties(info, `"utf-8"`, `"d"`)}, ""},

		{"content type missing", parts{rest: `"x": 1`}, protocol.ReasonContentType},
		{"content type with charset", parts{rest: `"content-type": "Application/JSON; charset=\"UTF-8\""`}, ""},
		{"content type with another charset", parts{rest: `"content-type": "application/json; charset=utf-16"`}, protocol.ReasonContentType},
		{"content type text", parts{rest: `"content-type": "application/text"`}, protocol.ReasonContentType},
		{"content type data", parts{rest: `"content-type": "application/data"`}, protocol.ReasonContentType},
		{"zlib", parts{headers: header(`"compression": "zlib"`), body: quoted64(deflated(`[[], {}, {}]`))}, ""},
		{"compression null", parts{headers: header(`"compression": null`)}, ""},
		{"compression number", parts{headers: header(`"compression": 1`)}, protocol.ReasonCompression},
		{"zlib of something else", parts{headers: header(`"compression": "zlib"`)}, protocol.ReasonCompression},
		{"zlib cut off", parts{headers: header(`"compression": "zlib"`), body: quoted64(deflated(`[[], {}, {}]`)[:12])}, protocol.ReasonCompression},

		{"protocol 1 without task", parts{headers: `{}`, body: quoted64(`{"id": "i"}`)}, protocol.ReasonNoTask},
		{"protocol 1 without id", parts{headers: `null`, body: quoted64(`{"task": "t"}`)}, protocol.ReasonNoID},
		{"protocol 1, least", parts{headers: `null`, body: quoted64(`{"task": "t", "id": "i"}`)}, ""},
		{"protocol 1, bad kwargs", parts{headers: `{}`, body: quoted64(`{"task": "t", "id": "i", "kwargs": [1]}`)}, protocol.ReasonBadKwargs},
		{"protocol 1, nothings", parts{headers: `{}`, body: quoted64(`{"task": "t", "id": "i", "args": null, "kwargs": [], "eta": "", "chord": {}}`)}, ""},
		{"protocol 1, bad eta", parts{headers: `{}`, body: quoted64(`{"task": "t", "id": "i", "eta": "soon"}`)}, protocol.ReasonBadETA},
	}
	for _, tt := range tests {
		checkReason(t, tt.name, tt.raw.String(), protocol.Limits{}, tt.want)
	}
}

type text string

func (t text) String() string { return string(t) }

func TestDecodeLimits(t *testing.T) {
	// Small limits, each just kept and just broken.
	args := func(s string) string { return parts{body: quoted64(`[[` + s + `], {}, {}]`)}.String() }
	bomb := parts{headers: header(`"compression": "zlib"`),
		body: quoted64(deflated(`[["` + strings.Repeat("a", 8<<20) + `"], {}, {}]`))}.String()
	size := len(args("1"))
	unpacked := `[["` + strings.Repeat("a", 1000) + `"], {}, {}]`
	packed := parts{headers: header(`"compression": "zlib"`), body: quoted64(deflated(unpacked))}.String()
	tests := []struct {
		name string
		raw  string
		lim  protocol.Limits
		want protocol.Reason
	}{
		{"size kept", args("1"), protocol.Limits{Size: size}, ""},
		{"size broken", args("1"), protocol.Limits{Size: size - 1}, protocol.ReasonTooLarge},
		{"size of default", args(strings.Repeat("1,", 8<<20) + "1"), protocol.Limits{}, protocol.ReasonTooLarge},
		{"bomb", bomb, protocol.Limits{}, protocol.ReasonTooLarge},
		{"unpacked size kept", packed, protocol.Limits{Size: len(unpacked)}, ""},
		{"unpacked size broken", packed, protocol.Limits{Size: len(unpacked) - 1}, protocol.ReasonTooLarge},
		{"depth kept", args("[[1]]"), protocol.Limits{Depth: 4}, ""},
		{"depth broken in the body", args("[[[1]]]"), protocol.Limits{Depth: 4}, protocol.ReasonTooDeep},
		{"depth broken in the envelope", parts{headers: header(`"x": [[[1]]]`)}.String(), protocol.Limits{Depth: 4}, protocol.ReasonTooDeep},
		{"depth of default", args(strings.Repeat("[", 100_000)), protocol.Limits{}, protocol.ReasonTooDeep},
		{"elements kept", args("1, 1"), protocol.Limits{Elements: 13}, ""},
		{"elements just broken", args("1, 1"), protocol.Limits{Elements: 12}, protocol.ReasonTooManyElements},
		{"elements broken in the body", args(strings.Repeat("1, ", 14) + "1"), protocol.Limits{Elements: 14}, protocol.ReasonTooManyElements},
		{"elements broken in the envelope", parts{headers: header(`"x": [1, 1, 1]`)}.String(), protocol.Limits{Elements: 14}, protocol.ReasonTooManyElements},
		{"elements of default", args(strings.Repeat("1,", 5<<20) + "1"), protocol.Limits{}, ""},
		{"digits kept", args(strings.Repeat("9", 4300)), protocol.Limits{}, ""},
		{"digits broken", args(strings.Repeat("9", 4301)), protocol.Limits{}, protocol.ReasonTooLarge},
	}
	for _, tt := range tests {
		checkReason(t, tt.name, tt.raw, tt.lim, tt.want)
	}
}

// A message is broken in every place it can be, and its secret is never told.
func TestDecodeErrorHoldsNoContent(t *testing.T) {
	const secret = "739155"
	body := `[[{"otp": "` + secret + `"}, ` + secret + `], {"k": "` + secret + `"}, {}]`
	raw := parts{body: `"` + strings.ReplaceAll(body, `"`, `\"`) + `"`,
		headers:    header(`"eta": "` + secret + `", "expires": null, "compression": null, "x": ` + secret),
		properties: `{"delivery_info": {"exchange": "", "routing_key": "` + secret + `"}, "body_encoding": null, "delivery_tag": "` + secret + `"}`}.String()
	refused := 0
	for i := range raw {
		for _, replacement := range []string{"", "x", `"`, "7", "[", "}"} {
			_, err := protocol.Decode([]byte(raw[:i]+replacement+raw[i+1:]), protocol.Limits{})
			if err == nil {
				continue
			}
			refused++
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("error tells the secret: %v", err)
			}
		}
	}
	if refused < len(raw) {
		t.Errorf("only %d broken messages were refused", refused)
	}
}

func TestDecodeLenientValues(t *testing.T) {
	tests := []struct {
		header string
		check  func(*protocol.Message) bool
	}{
		{`"retries": "3"`, func(m *protocol.Message) bool { return m.Retries == 3 }},
		{`"retries": " 3 "`, func(m *protocol.Message) bool { return m.Retries == 3 }},
		{`"retries": 2.0`, func(m *protocol.Message) bool { return m.Retries == 2 }},
		{`"retries": null`, func(m *protocol.Message) bool { return m.Retries == 0 }},
		{`"retries": -5`, func(m *protocol.Message) bool { return m.Retries == 0 }},
		{`"retries": "many"`, func(m *protocol.Message) bool { return m.Retries == 0 }},
		{`"retries": NaN`, func(m *protocol.Message) bool { return m.Retries == 0 }},
		{`"retries": 1e99`, func(m *protocol.Message) bool { return m.Retries == 1<<31-1 }},
		{`"timelimit": null`, func(m *protocol.Message) bool { return m.HardTimeLimit == 0 && m.SoftTimeLimit == 0 }},
		{`"timelimit": [60, 45.5]`, func(m *protocol.Message) bool {
			return m.HardTimeLimit == time.Minute && m.SoftTimeLimit == 45500*time.Millisecond
		}},
		{`"timelimit": [-1, NaN]`, func(m *protocol.Message) bool { return m.HardTimeLimit == 0 && m.SoftTimeLimit == 0 }},
		{`"timelimit": [Infinity, 1e300]`, func(m *protocol.Message) bool { return m.HardTimeLimit > 0 && m.SoftTimeLimit > 0 }},
		{`"timelimit": [9223372036.854775807, null]`, func(m *protocol.Message) bool { return m.HardTimeLimit > 0 }},
		{`"timelimit": [5]`, func(m *protocol.Message) bool { return m.HardTimeLimit == 0 }},
		{`"redelivered": true`, func(m *protocol.Message) bool { return m.Redelivered }},
		{`"ignore_result": null`, func(m *protocol.Message) bool { return m.IgnoreResult == nil }},
		{`"stamps": null, "stamped_headers": null`, func(m *protocol.Message) bool { return m.Stamps == nil && m.StampedHeaders == nil }},
		{`"shadow": 7`, func(m *protocol.Message) bool { return m.Shadow == "" }},
		{`"x": 1, "x": 2`, func(m *protocol.Message) bool { return string(m.Header("x")) == "2" && len(m.Headers) == 2 }},
		{`"retries": 1, "retries": 2`, func(m *protocol.Message) bool { return m.Retries == 2 }},
	}
	for _, tt := range tests {
		if m := decode(t, parts{headers: header(tt.header)}.String()); !tt.check(m) {
			t.Errorf("%s gives %+v", tt.header, m)
		}
	}
}

func TestDecodeProtocol1(t *testing.T) {
	body := quoted64(`{"task": "old", "id": "i", "args": [1], "group": "g", "taskset": "ts", "retries": 4, "eta": "2026-01-31T20:00:00",
		"timelimit": [9, null], "callbacks": [{"task": "next"}], "chain": [1]}`)
	m := decode(t, parts{headers: `{}`, body: body}.String())
	if m.Task != "old" || m.Group != "ts" || m.Retries != 4 || string(m.Kwargs) != "{}" || m.Chain != nil ||
		string(m.Callbacks) != `[{"task": "next"}]` || m.HardTimeLimit != 9*time.Second {
		t.Errorf("protocol 1: %+v", m)
	}
	// The mixture: a header takes precedence even with null.
	m = decode(t, parts{headers: `{"task": "new", "id": "j", "eta": null, "retries": 5}`, body: body}.String())
	if m.Protocol != 1 || m.Task != "new" || m.ID != "j" || !m.ETA.IsZero() || m.Retries != 5 || string(m.Args) != "[1]" {
		t.Errorf("mixture: %+v", m)
	}
}

// The message must stay the same if the broker reuses its buffer.
func TestDecodeKeepsNothingOfRaw(t *testing.T) {
	for _, name := range []string{"stamps", "protocol1", "compression-zlib", "body-encoding-none", "headers-custom"} {
		r := find(t, "celery-5.6.2/produced.jsonl", name)
		raw := []byte(r.Raw)
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprintf("%+v", printable(m)) + fmt.Sprint(m.Headers)
		clear(raw)
		if after := fmt.Sprintf("%+v", printable(m)) + fmt.Sprint(m.Headers); after != before {
			t.Errorf("%s changed with the buffer", name)
		}
	}
}
