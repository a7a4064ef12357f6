package protocol_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

// bodyOf makes a message with a body of the given type.
func bodyOf(contentType, body string) string {
	return parts{body: quoted64(body), rest: `"content-type": "` + contentType + `"`}.String()
}

const (
	typeYAML    = "application/x-yaml"
	typeMsgpack = "application/x-msgpack"
	typePickle  = "application/x-python-serialize"
)

// bodies are the same message in each serializer.
var bodies = map[string]string{
	"application/json": `[[1], {}, {}]`,
	typeYAML:           "- [1]\n- {}\n- {}\n",
	typeMsgpack:        "\x93\x91\x01\x80\x80",
	typePickle:         "\x80\x04]\x94(]\x94K\x01a}\x94}\x94e.",
}

func TestDecoderAccept(t *testing.T) {
	for _, tt := range []struct {
		accept []string
		want   []string
	}{
		{nil, []string{"application/json"}},
		{[]string{"json"}, []string{"application/json"}},
		{[]string{"yaml"}, []string{typeYAML}},
		{[]string{"application/x-msgpack", "json"}, []string{"application/json", typeMsgpack}},
		{[]string{"json", "yaml", "msgpack", "pickle", typePickle}, []string{"application/json", typeYAML, typeMsgpack}},
		{[]string{"JSON", ""}, nil},
	} {
		d := protocol.Decoder{Accept: tt.accept}
		for contentType, body := range bodies {
			want := protocol.ReasonContentType
			if contentType == typePickle {
				want = protocol.ReasonPickle
			}
			for _, w := range tt.want {
				if w == contentType {
					want = ""
				}
			}
			m, err := d.Decode([]byte(bodyOf(contentType, body)))
			if want == "" {
				if err != nil || string(m.Args) != "[1]" || m.ContentType != contentType {
					t.Errorf("%q: %s: %v", tt.accept, contentType, err)
				}
				continue
			}
			if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason != want || m != nil {
				t.Errorf("%q: %s: %v, want %s", tt.accept, contentType, err, want)
			}
		}
		// Neither a name nor anything like one stands for a content type.
		for _, contentType := range []string{"json", "yaml", "pickle", "", "application/x-yaml; charset=latin-1"} {
			if _, err := d.Decode([]byte(bodyOf(contentType, "[[], {}, {}]"))); err == nil {
				t.Errorf("%q: content type %q accepted", tt.accept, contentType)
			}
		}
	}
}

func TestDecoderValidate(t *testing.T) {
	good := protocol.Decoder{Accept: []string{"json", "application/json", "yaml", typeYAML, "msgpack", typeMsgpack}}
	if err := errors.Join(good.Validate(), (&protocol.Decoder{}).Validate()); err != nil {
		t.Errorf("Validate: %v", err)
	}
	bad := protocol.Decoder{Accept: []string{"json", "pickle", typePickle, "yml"}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("pickle is valid")
	}
	want := `accept "pickle": pickle runs code that the sender chooses and is never read; let producers send json, yaml or msgpack
accept "application/x-python-serialize": pickle runs code that the sender chooses and is never read; let producers send json, yaml or msgpack
accept "yml": no such serializer; accepted can be json, yaml or msgpack`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeOptionsValidate(t *testing.T) {
	for _, o := range []protocol.EncodeOptions{
		{}, {Serializer: "json"}, {Serializer: typeYAML, Compression: "gzip"}, {Serializer: "msgpack", Compression: "application/zstd"},
	} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	m := &protocol.Message{ID: "i", Task: "t", DeliveryTag: "d"}
	for o, want := range map[protocol.EncodeOptions]string{
		{Serializer: "pickle"}:    `serializer "pickle": pickle is never written; use json, yaml or msgpack`,
		{Serializer: "toml"}:      `serializer "toml": no such serializer; use json, yaml or msgpack`,
		{Compression: "rot13"}:    `compression "rot13": no such method; use zlib, xz, zstd or brotli`,
		{Compression: "bzip2"}:    `compression "bzip2": bzip2 is only read: no maintained Go library writes it; use zlib, xz, zstd or brotli`,
		{"pickle", "application"}: "serializer \"pickle\": pickle is never written; use json, yaml or msgpack\ncompression \"application\": no such method; use zlib, xz, zstd or brotli",
	} {
		if err := o.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v:\n got %v\nwant %s", o, err, want)
		}
		if _, err := protocol.EncodeAs(m, o); err == nil {
			t.Errorf("%+v writes a message", o)
		}
		if _, err := protocol.EncodeResultAs(&protocol.Result{TaskID: "i", Status: "SUCCESS"}, o); err == nil {
			t.Errorf("%+v writes a result", o)
		}
	}
}

// Messages in msgpack are the same as kombu's, byte for byte.
func TestEncodeAsMsgpackAsCelery(t *testing.T) {
	same := 0
	for _, folder := range []string{"celery-5.6.2", "celery-main"} {
		for _, r := range records(t, folder+"/produced.jsonl") {
			if !strings.HasPrefix(r.Name, "serializer-msgpack") {
				continue
			}
			m, err := everySmall.Decode([]byte(r.Raw))
			if err != nil {
				t.Fatal(err)
			}
			got, err := protocol.EncodeAs(m, protocol.EncodeOptions{Serializer: "msgpack"})
			if diff := cmp.Diff(r.Raw, string(got)); err != nil || diff != "" {
				t.Errorf("%s/%s: %v (-Celery +ours):\n%s", folder, r.Name, err, diff)
			}
			same++
		}
	}
	if same != 4 {
		t.Errorf("%d messages compared", same)
	}
}

// A retry can be written like the message that it repeats, and has then all that
// goes with it.
func TestEncodeRetryEncoding(t *testing.T) {
	before := find(t, "celery-5.6.2/produced.jsonl", "serializer-yaml-typed")
	m, err := everySmall.Decode([]byte(before.Raw))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.EncodeRetry(m, protocol.RetryOptions{DeliveryTag: "d", Encoding: protocol.EncodeOptions{Serializer: "yaml", Compression: "zlib"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"content-type": "application/x-yaml"`, `"content-encoding": "utf-8"`, `"stamps": {}, "compression": "application/x-gzip"}`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	again, err := everySmall.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Args, again.Args); diff != "" || again.Retries != 1 {
		t.Errorf("%d retries, arguments:\n%s", again.Retries, diff)
	}
	// By default it is JSON, which every reader accepts.
	raw, err = protocol.EncodeRetry(m, protocol.RetryOptions{DeliveryTag: "d"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Args, decode(t, string(raw)).Args); diff != "" {
		t.Errorf("arguments as JSON:\n%s", diff)
	}
}

func TestDecodeResultOfSerializers(t *testing.T) {
	r := &protocol.Result{TaskID: "i", Status: protocol.StateFailure,
		Exception: &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{"no", int64(1), 2.5}}}
	for _, o := range []protocol.EncodeOptions{
		{}, {Serializer: "yaml"}, {Serializer: "msgpack"}, {Compression: "xz"}, {Serializer: "msgpack", Compression: "brotli"},
	} {
		b, err := protocol.EncodeResultAs(r, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := everySmall.DecodeResult(b, or(o.Serializer, "json"))
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if diff := cmp.Diff(r.Exception, got.Exception); diff != "" || got.TaskID != "i" {
			t.Errorf("%+v:\n%s", o, diff)
		}
	}
	mark := "\x00celery-compressed\x00"
	for _, tt := range []struct {
		name, serializer, raw string
		accept                []string
		want                  protocol.Reason
	}{
		{"not accepted", "yaml", "{}", nil, protocol.ReasonContentType},
		{"pickle", "pickle", "", []string{"pickle"}, protocol.ReasonPickle},
		{"no serializer", "toml", "", nil, protocol.ReasonContentType},
		{"no status", "yaml", "{a: b}", []string{"yaml"}, protocol.ReasonBadBody},
		{"not yaml", "yaml", "{a", []string{"yaml"}, protocol.ReasonBadBody},
		{"mark alone", "json", mark, nil, protocol.ReasonCompression},
		{"unknown method", "json", mark + "rot13\x00{}", nil, protocol.ReasonCompression},
		{"damaged", "json", mark + "application/x-gzip\x00{}", nil, protocol.ReasonCompression},
		{"too large", "json", `{"status": "` + strings.Repeat("S", protocol.DefaultSize) + `"}`, nil, protocol.ReasonTooLarge},
		{"bomb", "json", mark + "zlib\x00" + deflated(strings.Repeat(" ", 8<<20)), nil, protocol.ReasonTooLarge},
		{"too deep", "json", strings.Repeat("[", 501), nil, protocol.ReasonTooDeep},
	} {
		d := protocol.Decoder{Accept: tt.accept}
		r, err := d.DecodeResult([]byte(tt.raw), tt.serializer)
		if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason != tt.want || r != nil {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// Every method is undone, by all the names that kombu has for it.
func TestDecodeCompressed(t *testing.T) {
	packed := map[string]string{
		"application/x-gzip": deflated(`[[1], {}, {}]`),
		// bz2.compress, lzma.compress, brotli.compress and zstd.compress of Python.
		"application/x-bz2":    unbase64(t, "QlpoOTFBWSZTWYpxR/cAAAMagEAEIAAACgAKIAAhKB6QhgLOiY6kPF3JFOFCQinFH9w="),
		"application/x-lzma":   unbase64(t, "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAMW1sxXSwge30sIHt9XQAAAAD5mhlypRddrgABJQ1xGcS2H7bzfQEAAAAABFla"),
		"application/x-brotli": unbase64(t, "CwaAW1sxXSwge30sIHt9XQM="),
		"application/zstd":     unbase64(t, "KLUv/SANaQAAW1sxXSwge30sIHt9XQ=="),
	}
	names := map[string][]string{
		"application/x-gzip": {"gzip", "zlib"}, "application/x-bz2": {"bzip2", "bzip"}, "application/x-lzma": {"lzma", "xz"},
		"application/x-brotli": {"brotli"}, "application/zstd": {"zstd", "zstandard"},
	}
	for contentType, body := range packed {
		for _, name := range append(names[contentType], contentType) {
			m := decode(t, parts{headers: header(`"compression": "` + name + `"`), body: quoted64(body)}.String())
			if string(m.Args) != "[1]" || m.Compression != name {
				t.Errorf("%s: %+v", name, m)
			}
		}
		for name, spoilt := range map[string]string{"cut": body[:len(body)-1], "empty": "", "plain": `[[1], {}, {}]`} {
			raw := parts{headers: header(`"compression": "` + contentType + `"`), body: quoted64(spoilt)}.String()
			checkReason(t, contentType+" "+name, raw, protocol.Limits{}, protocol.ReasonCompression)
		}
	}
}

func unbase64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
