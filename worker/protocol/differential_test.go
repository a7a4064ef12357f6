package protocol_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// yamlDocuments are texts in every corner of the grammar, and outside of it.
var yamlDocuments = []string{
	"\n", "~", "null", "# nothing", "a", "a b\n c\n\n d", "- a\n- b\n", "-\n- - -\n- - a\n  - b\n", "a: 1\nb:\n- x\n- y\n",
	"a:\n  b:\n    c: d\n  e: f\ng:\n", "? a\n: b\n? c\n", "? - a\n: b", "? |\n  block key\n: - v\n", "a: b: c", "a\nb: c", "[a, b]: c",
	"- |\n  lit\n   more\n\n  end\n- >\n  folded\n  text\n\n  para\n   in\n  out\n- >-\n  x\n- |+\n  keep\n\n- |-2\n   two\n- |1\n  a\n", "- |0\n  a", "- |x\n  a", "k: >\n\n\n  text\n  \n   more\n  end\n",
	"[a, b: c, {d, e: f, ? g : h}, [], {}, ]", "[a, b", "{a: 1, 'b': 2, \"c\":3, d:4, ? e}", "{a, b: , : c, ? }", "{a: b: c}", "[,]", "[a,,b]", "[? a, ? b : c]", "[a]b", "a]", "[-]", "[-, a]", "{-: a}", "[a:b, c: d, e :f]", "[http://a?b#c, x]",
	"'single ''quoted'' \n  over\n\n  lines'", "\"double \\\"quoted\\\" \\u00e9\\x41\\U0001F600 \\\n   folded\\tx\\ \"", "\"\\q\"", "\"\\u12\"", "\"\\ud800\\udc00 \\udfff\"", "\"\\U00110000\"", "'open", "\"open", "'a\n---\nb'", "\"\\0\\a\\b\\t\\n\\v\\f\\r\\e\\N\\_\\L\\P\\/\"",
	"- &x [1, 2]\n- *x\n- &y {k: v}\n- *y\n- &z s\n- *z\n- {*z : 1}", "&a [*a]", "*a", "- &a 1\n- &a 2", "&a a: *a", "- &a\n- *a", "- &b !!str\n- *b", "&a &b c", "!!str !!str a", "- & a", "- *", "- &a, b",
	"- !!int '12'\n- !!float 3\n- !!float '1.5'\n- !!str 5\n- !!null x\n- !!bool Yes\n- !!binary |\n  YWJj\n  ZGVm\n- !!timestamp '2026-01-31'", "!!seq [a]", "!!map {a: b}", "!!seq {a: b}", "!!map [a]", "! a", "! 12", "! '12'", "!", "!<tag:yaml.org,2002:int> 7", "!<!> 7", "!!in%74 7", "!!int x", "!!bool maybe",
	"!!set {a, b}", "!!omap [a: b]", "!!pairs [a: b]", "!!python/tuple [1]", "!!python/object/apply:os.system [x]", "!!python/name:os.system", "!local a", "!a!b c", "!!merge a", "{<<: {a: 1}, b: 2}", "{? << : a}", "{'<<': a}", "[<<]", "=", "{=: 1}", "a: =",
	"- 1_000\n- 0b1_0\n- 0x_f\n- 017\n- 08\n- 0o7\n- 190:20:30\n- 1:2.5\n- 1:60\n- +12\n- -0\n- 0\n- -0x1F\n- 0b\n- +0b1\n- 1__2_\n- _1\n- 00\n- 0_7",
	"- +.inf\n- -.INF\n- .Inf\n- .NaN\n- +.nan\n- 1.\n- .5\n- -.5\n- 1.e+3\n- 1e3\n- 1.0e3\n- 0.0e-5\n- 1_0.5_0\n- 1.5E-3\n- 1e+3\n- 1:30.5\n- -1:30.\n- 685_230.15", "0x_", "0b_",
	"- 2026-01-31\n- 2026-01-31t20:00:00.5 +5:30\n- 2026-1-1 1:00:00Z\n- 2026-01-31 20:00:00\t-03\n- 2026-01-31T20:00:00.123456789Z\n- 2026-01-31T20:00:00.\n- 2026-01-31T20:00:00+00:00", "2026-1-1", "2026-02-30", "0000-01-01", "2026-01-31 24:00:00", "2026-01-31 20:00:00 +24:00", "2026-01-31 20:00:60", "2024-02-29",
	"- yes\n- No\n- TRUE\n- on\n- oFF\n- y\n- n\n- ~\n- Null\n- nULL\n-", "{7: a, 2.50: b, ~: c, 0x10: e, .inf: f, .nan: g, 2026-01-31: h}", "{7: a, -2.50: b, ~: c, 0x10: e, .inf: f, .nan: g, '': h, : i}", "{yes: d, No: e}", "{!!binary YQ==: 1}", "a: 1\na: 2", "{[a]: b}",
	"%YAML 1.1\n---\na: b\n...\n", "%YAML 1.2\n--- a", "%YAML 2.0\n--- a", "%YAML 1.1\n%YAML 1.1\n--- a", "%YAML 1\n---", "%FOO bar\n--- a", "%TAG ! tag:x,2026:\n--- a", "%", "--- a\n--- b", "---\n---", "a\n...\n", "...", "a\n... x", "--- |\n a\n", "--- - a", "---a", "--", "- a\n...\n...\n# end", "a\n%b",
	"\ufeffa: b", "a: \ufeffb", "\ta: b", "a:\tb", "- \ta", "a\tb", "a\r\nb\r\n", "a: b\rc: d", "a\u0085b", "- a\u2028b", "'a\u2029 b'", "a\x00b", "a\x07", "a\x7f", "\xff", "\uffff", "\U0001f600: \u20ac", "@a", "`a", "%a: b", "a: 'b' c", "a: \"b\"c", "'a': b", "- 'a'b", "-a", "?a", ":a", "- ?", "- :", ": a", "? ", "a : b", "a  :  b", "a #b", "a# b", "a:#b", "k: v # c\n# d\nl: w",
	"a:\n - b\n c: d", "a:\n  b\n c", " a: b\nc: d", "- a\n b: c", "a:\n- b\nc:\n  - d", "a: - b", "- - a\n - b", "{\"" + strings.Repeat("k", 1100) + "\": v}", "{? \"" + strings.Repeat("k", 1100) + "\": v}", strings.Repeat("k", 1100) + ": v", "[" + strings.Repeat("a, ", 500) + "b]: c",
}

// A text means here what it means for PyYAML, or is refused by both; what is
// refused here alone, stricter knows. Besides the documents above, there are
// thousands made of pieces of them.
func TestYAMLAsPyYAML(t *testing.T) {
	p := startPeer(t, "celery-5")
	for _, d := range yamlDocuments {
		kombuEquals(t, p, "application/x-yaml", []byte(d))
	}
	pieces := []string{"- ", "? ", ": ", "\n", "  ", " ", "[", "]", "{", "}", ",", "'", "\"", "|\n", ">\n", "|-\n", ">+\n", "&a ", "*a",
		"!!str ", "! ", " #c\n", "a", "b: ", "1", "~", "---\n", "...\n", "\\n", "\t", "\u2028", "\u0085", ":", "-", "?", "\r\n", "|2\n"}
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	const n = 4000
	for range n {
		text := yamlDocuments[r.IntN(len(yamlDocuments))]
		for range 1 + r.IntN(3) {
			at, end := r.IntN(len(text)+1), 0
			switch r.IntN(4) {
			case 0:
				end = min(len(text), at+1+r.IntN(3))
				text = text[:at] + text[end:]
			case 1:
				other := yamlDocuments[r.IntN(len(yamlDocuments))]
				from := r.IntN(len(other) + 1)
				text = text[:at] + other[from:min(len(other), from+r.IntN(12))] + text[at:]
			default:
				text = text[:at] + pieces[r.IntN(len(pieces))] + text[at:]
			}
		}
		if len(text) > 0 && len(text) < 1000 && kombuEquals(t, p, "application/x-yaml", []byte(text)) {
			accepted++
		}
	}
	if accepted < n/10 {
		t.Errorf("only %d of %d are YAML", accepted, n)
	}
}

// The same for msgpack, with values that are made up byte by byte.
func TestMsgpackAsPython(t *testing.T) {
	p := startPeer(t, "celery-5")
	r := rand.New(rand.NewPCG(3, 4))
	accepted := 0
	const n = 4000
	for range n {
		if kombuEquals(t, p, "application/x-msgpack", someMsgpack(r, 0)) {
			accepted++
		}
	}
	if accepted < n/4 {
		t.Errorf("only %d of %d are msgpack", accepted, n)
	}
}

// someMsgpack makes up a value, mostly a whole one.
func someMsgpack(r *rand.Rand, depth int) []byte {
	some := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(26))
			if r.IntN(8) == 0 {
				b[i] = byte(r.Uint32())
			}
		}
		return b
	}
	values := func(b []byte, n int, keys bool) []byte {
		for range n {
			if keys && r.IntN(10) > 0 {
				b = append(append(b, 0xa3), some(3)...)
			} else if keys {
				b = append(b, someMsgpack(r, 9)...)
			}
			b = append(b, someMsgpack(r, depth+1)...)
		}
		return b
	}
	n := r.IntN(4)
	if depth > 4 {
		n = 0
	}
	switch r.IntN(16) {
	case 0:
		return some(1)
	case 1:
		return values([]byte{0x90 | byte(n)}, n, false)
	case 2:
		return values([]byte{0xdc, 0, byte(n)}, n, false)
	case 3:
		return values([]byte{0xdd, 0, 0, 0, byte(n)}, n, false)
	case 4, 5:
		return values([]byte{0x80 | byte(n)}, n, true)
	case 6:
		return values([]byte{0xde, 0, byte(n)}, n, true)
	case 7:
		n := r.IntN(20)
		return append([]byte{0xa0 | byte(n)}, some(n)...)
	case 8:
		n := r.IntN(60)
		return append([]byte{[]byte{0xc4, 0xd9}[r.IntN(2)], byte(n)}, some(n)...)
	case 9:
		n := r.IntN(60)
		return append([]byte{[]byte{0xc5, 0xda}[r.IntN(2)], 0, byte(n)}, some(n)...)
	case 10:
		n := []int{4, 8, 12, 5}[r.IntN(4)]
		b := append([]byte{0xc7, byte(n), byte(r.IntN(4) - 2)}, some(n)...)
		if n == 12 && r.IntN(2) == 0 {
			copy(b[3:], []byte{1, 2, 3, 4, 0, 0, 0, byte(r.IntN(64))})
		}
		return b
	case 11:
		width := r.IntN(5)
		return append([]byte{0xd4 + byte(width), byte(r.IntN(4) - 2)}, some(1<<width)...)
	default:
		kind := r.IntN(10) // floats and integers
		return append([]byte{0xca + byte(kind)}, some([]int{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}[kind])...)
	}
}

// kombuEquals compares what a body is here and for kombu.
func kombuEquals(t *testing.T, p *peer, contentType string, body []byte) (accepted bool) {
	t.Helper()
	got, err := transcode(contentType, body)
	a := p.ask(t, map[string]any{"op": "transcode", "type": contentType, "body": body})
	switch {
	case err != nil && a.Error == "" && !stricter(err):
		t.Errorf("%q: refused with %v, for kombu it is %s", body, err, a.Got)
	case err == nil && a.Error != "":
		t.Errorf("%q: %s, kombu refuses it: %s", body, got, a.Error)
	case err == nil && got != a.Got && !sameJSON(t, got, a.Got):
		t.Errorf("%q:\n got %s\nwant %s", body, got, a.Got)
	}
	return err == nil
}

// transcode returns the JSON of a body.
func transcode(contentType string, body []byte) (string, error) {
	unpack := protocol.UnpackYAML
	if contentType == "application/x-msgpack" {
		unpack = protocol.UnpackMsgpack
	}
	b, err := unpack(body, protocol.Limits{Size: 1 << 20, Depth: 64, Elements: 10_000})
	return string(b), err
}

// stricter reports whether a body is refused on purpose, though Python takes it.
func stricter(err error) bool {
	for _, what := range []string{"merge key", "tag that is not safe", "neither text nor number", "%TAG"} {
		if strings.Contains(err.Error(), what) {
			return true
		}
	}
	return false
}

// sameJSON compares texts in which the order of keys, or a key that is there
// twice, may differ.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	norm := func(s string) string {
		var v any
		if err := protocol.Unmarshal(protocol.Raw(s), &v); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out, err := protocol.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	return norm(a) == norm(b)
}
