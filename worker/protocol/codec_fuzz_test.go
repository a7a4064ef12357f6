package protocol_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// recordedBodies adds the bodies of the recorded messages in a serializer.
func recordedBodies(f *testing.F, serializer string) {
	f.Helper()
	for _, r := range records(f, "celery-*/produced.jsonl") {
		if !strings.HasPrefix(r.Name, "serializer-"+serializer) {
			continue
		}
		var envelope struct{ Body string }
		if err := json.Unmarshal([]byte(r.Raw), &envelope); err != nil {
			f.Fatal(err)
		}
		body, err := base64.StdEncoding.DecodeString(envelope.Body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
}

// checkBody reads a body, and what comes out once more in its own serializer.
func checkBody(t *testing.T, body []byte,
	unpack func([]byte, protocol.Limits) ([]byte, error), pack func(protocol.Raw) ([]byte, error)) {
	t.Helper()
	lim := protocol.Limits{Size: 64 << 10, Depth: 32, Elements: 5000}
	before := bytes.Clone(body)
	text, err := unpack(body, lim)
	if !bytes.Equal(body, before) {
		t.Fatal("the argument was changed")
	}
	if err != nil {
		if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason == "" || text != nil {
			t.Fatalf("%d bytes, and an error of another kind: %v", len(text), err)
		}
		return
	}
	if len(text) > lim.Size || !json.Valid(withoutNaN(text)) {
		t.Fatalf("%d bytes that are not JSON: %.200s", len(text), text)
	}
	for _, c := range text {
		if c < ' ' || c > '~' {
			t.Fatalf("not as json.dumps writes it: %.200s", text)
		}
	}
	again, err := pack(text)
	if err != nil {
		if bytes.Contains(text, []byte("__type__")) || bytes.Contains(text, []byte(`\u`)) {
			return // types that this serializer does not have
		}
		t.Fatalf("%.200s is not written: %v", text, err)
	}
	back, err := unpack(again, protocol.Limits{Size: 8 << 20, Depth: 64, Elements: 50_000})
	if err != nil {
		t.Fatalf("%.200s became %.200q: %v", text, again, err)
	}
	// Objects that look like those of kombu become what they look like.
	if !bytes.Equal(text, back) && !bytes.Contains(text, []byte("__type__")) {
		t.Fatalf("changed on its way:\n%.500s\n%.500s", text, back)
	}
}

func FuzzDecodeYAML(f *testing.F) {
	recordedBodies(f, "yaml")
	for _, d := range yamlDocuments {
		f.Add([]byte(d))
	}
	f.Add([]byte(laughs(3, "*")))
	f.Fuzz(func(t *testing.T, body []byte) {
		checkBody(t, body, protocol.UnpackYAML, protocol.PackYAML)
	})
}

func FuzzDecodeMsgpack(f *testing.F) {
	recordedBodies(f, "msgpack")
	for _, s := range []string{
		"\x93\x91\xd6\xff\x6a\x00\x00\x00\x80\x80", "\x81\xa1k\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xc4\x02\xff\x00",
		"\xdc\x00\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "\x82\x01\xc0\xc2\xca\x3f\x80\x00\x00",
		"\xc7\x0c\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\xd9\x03\xed\xa0\x80", "\xde\x00\x01\xa0\x90",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checkBody(t, body, protocol.UnpackMsgpack, protocol.PackMsgpack)
	})
}

// Any JSON text is read back from every serializer as the same text, but for
// how its numbers and strings are spelled.
func FuzzTranscode(f *testing.F) {
	for _, s := range []string{
		`[1, -2.5e3, "a\ud83d\ude00\u0000", {"b": null, "b": true}, NaN, -Infinity]`, `{"__type__": "datetime", "__value__": "2026-01-31T20:00:00"}`,
		`1180591620717411303424`, `"\ud800"`, `{"": {"yes": "no"}}`, `{"__value__": "/w==", "__type__": "base64"}`, `[[[[]]]]`, `"é\/\b"`, `1e16`,
		`{"__type__": "uuid", "__value__": {"hex": ""}}`, `[-0, -0.0, 1E400]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want any
		if protocol.Unmarshal(text, &want) != nil {
			return
		}
		large := protocol.Limits{Size: 64 << 20, Depth: 2000, Elements: 1 << 20}
		for name, codec := range map[string]struct {
			pack   func(protocol.Raw) ([]byte, error)
			unpack func([]byte, protocol.Limits) ([]byte, error)
		}{
			"yaml":    {protocol.PackYAML, protocol.UnpackYAML},
			"msgpack": {protocol.PackMsgpack, protocol.UnpackMsgpack},
		} {
			body, err := codec.pack(text)
			if err != nil {
				continue // no form for it
			}
			back, err := codec.unpack(body, large)
			if err != nil {
				t.Fatalf("%s: %.200s became %.200q: %v", name, text, body, err)
			}
			var got any
			if err := protocol.Unmarshal(back, &got); err != nil {
				t.Fatalf("%s: %.200s: %v", name, back, err)
			}
			if a, b := sorted(t, want), sorted(t, got); a != b {
				t.Fatalf("%s: changed on its way:\n%.500s\n%.500s", name, a, b)
			}
		}
	})
}

// sorted writes a value with its keys in order.
func sorted(t *testing.T, v any) string {
	t.Helper()
	b, err := protocol.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
