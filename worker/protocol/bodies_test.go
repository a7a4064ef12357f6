package protocol_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

func TestDecodeRefusesBodies(t *testing.T) {
	const yaml, msgpack = typeYAML, typeMsgpack
	in := func(value string) string { return "- [" + value + "]\n- {}\n- {}\n" }
	for _, tt := range []struct {
		name, contentType, body string
		want                    protocol.Reason
	}{
		{"python object", yaml, in("!!python/object/apply:os.system ['true']"), protocol.ReasonBadBody},
		{"python tuple", yaml, in("!!python/tuple [1]"), protocol.ReasonBadBody},
		{"python name", yaml, in("!!python/name:os.system x"), protocol.ReasonBadBody},
		{"tag of an application", yaml, in("!money 5"), protocol.ReasonBadBody},
		{"set", yaml, in("!!set {a, b}"), protocol.ReasonBadBody},
		{"merge key", yaml, in("{<<: {a: 1}}"), protocol.ReasonBadBody},
		{"date as key", yaml, in("{2026-01-31: 1}"), protocol.ReasonBadBody},
		{"sequence as key", yaml, in("{[1]: 1}"), protocol.ReasonBadBody},
		{"alias to nothing", yaml, in("*a"), protocol.ReasonBadBody},
		{"alias in itself", yaml, in("&a [*a]"), protocol.ReasonBadBody},
		{"date that is none", yaml, in("2026-02-30"), protocol.ReasonBadBody},
		{"two documents", yaml, in("1") + "---\n1\n", protocol.ReasonBadBody},
		{"UTF-16", yaml, "\xff\xfea\x00", protocol.ReasonBadBody},
		{"not UTF-8", yaml, in("\xff"), protocol.ReasonBadBody},
		{"unprintable", yaml, in("\x07"), protocol.ReasonBadBody},
		{"open bracket", yaml, "[[1], {}", protocol.ReasonBadBody},
		{"empty", yaml, "", protocol.ReasonBadBody},
		{"a text", yaml, "hello", protocol.ReasonBadBody},
		{"two elements", yaml, "- []\n- {}\n", protocol.ReasonBadBody},
		{"args a mapping", yaml, "- {a: 1}\n- {}\n- {}\n", protocol.ReasonBadArgs},
		{"kwargs a sequence", yaml, "- []\n- [a]\n- {}\n", protocol.ReasonBadKwargs},
		{"deep", yaml, in(strings.Repeat("[", 100) + strings.Repeat("]", 100)), protocol.ReasonTooDeep},
		{"deep without end", yaml, strings.Repeat("[", 700_000), protocol.ReasonTooDeep},
		{"deep in blocks", yaml, strings.Repeat("- ", 100_000) + "a", protocol.ReasonTooDeep},
		{"deep keys", yaml, strings.Repeat("? ", 100_000) + "a", protocol.ReasonBadBody},
		{"many", yaml, in(strings.Repeat("a, ", 20_000)), protocol.ReasonTooManyElements},
		{"many keys", yaml, in("{" + strings.Repeat("a, ", 20_000) + "}"), protocol.ReasonTooManyElements},
		{"many nothings", yaml, "-\n" + strings.Repeat("-\n", 300_000), protocol.ReasonTooManyElements},
		{"digits", yaml, in(strings.Repeat("9", 4301)), protocol.ReasonTooLarge},
		{"digits of base 2", yaml, in("0b" + strings.Repeat("1", 100_000)), protocol.ReasonTooLarge},
		{"digits of base 60", yaml, in("1" + strings.Repeat(":59", 100_000)), protocol.ReasonTooLarge},
		{"text that grows", yaml, in(`"` + strings.Repeat("\u00e9", 300_000) + `"`), protocol.ReasonTooLarge},
		{"laughs", yaml, laughs(9, "*"), protocol.ReasonTooManyElements},
		{"long laughs", yaml, longLaughs(), protocol.ReasonTooLarge},

		{"cut off", msgpack, "\x93\x91\x01\x80", protocol.ReasonBadBody},
		{"empty", msgpack, "", protocol.ReasonBadBody},
		{"data behind", msgpack, "\x93\x90\x80\x80\x80", protocol.ReasonBadBody},
		{"reserved type", msgpack, "\x93\x91\xc1\x80\x80", protocol.ReasonBadBody},
		{"text not UTF-8", msgpack, "\x93\x91\xa1\xff\x80\x80", protocol.ReasonBadBody},
		{"bytes as key", msgpack, "\x93\x90\x81\xc4\x01a\x01\x80", protocol.ReasonBadBody},
		{"array as key", msgpack, "\x93\x90\x81\x90\x01\x80", protocol.ReasonBadBody},
		{"timestamp out of range", msgpack, "\x93\x91\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x80\x80", protocol.ReasonBadBody},
		{"array of 4 billion", msgpack, "\xdd\xff\xff\xff\xff", protocol.ReasonBadBody},
		{"map of 4 billion", msgpack, "\xdf\xff\xff\xff\xff\x01", protocol.ReasonBadBody},
		{"text of 4 GiB", msgpack, "\xdb\xff\xff\xff\xff", protocol.ReasonBadBody},
		{"bytes of 4 GiB", msgpack, "\xc6\xff\xff\xff\xff", protocol.ReasonBadBody},
		{"extension of 4 GiB", msgpack, "\xc9\xff\xff\xff\xff\x01", protocol.ReasonBadBody},
		{"deep", msgpack, strings.Repeat("\x91", 100_000), protocol.ReasonTooDeep},
		{"many", msgpack, "\x93\xdd\x00\x02\x00\x00" + strings.Repeat("\xc0", 0x20000) + "\x80\x80", protocol.ReasonTooManyElements},
		{"text that grows", msgpack, "\x93\x91\xdb\x00\x09\x27\xc0" + strings.Repeat("\u00e9", 300_000) + "\x80\x80", protocol.ReasonTooLarge},
	} {
		m, err := everySmall.Decode([]byte(bodyOf(tt.contentType, tt.body)))
		if e, ok := errors.AsType[*protocol.DecodeError](err); !ok || e.Reason != tt.want || m != nil {
			t.Errorf("%s, %s: %v, want %s", tt.contentType, tt.name, err, tt.want)
		}
	}
}

// everySmall accepts all serializers within small limits, everything more than that.
var (
	everySmall  = protocol.Decoder{Accept: []string{"json", "yaml", "msgpack"}, Limits: smallLimits}
	smallLimits = protocol.Limits{Size: 1 << 20, Depth: 64, Elements: 10_000}
	everything  = protocol.Decoder{Accept: []string{"json", "yaml", "msgpack"}, Limits: protocol.Limits{Size: 4 << 20}}
)

// laughs is a document of some hundred bytes that stands for ten to the power of
// levels.
func laughs(levels int, alias string) string {
	var b strings.Builder
	b.WriteString("- - &a0 [x]\n")
	for i := range levels {
		fmt.Fprintf(&b, "  - &a%d [%s]\n", i+1, strings.Repeat(fmt.Sprintf("%sa%d, ", alias, i), 10))
	}
	return b.String() + "- {}\n- {}\n"
}

// longLaughs repeats one long text rather than many elements.
func longLaughs() string {
	return "- - &a " + strings.Repeat("x", 5000) + "\n" + strings.Repeat("  - *a\n", 5000) + "- {}\n- {}\n"
}

// Bodies that unpack to too much are refused before they do: at the price of a
// few limits, however they are written.
func TestDecodeBombsAreCheap(t *testing.T) {
	const size = 1 << 20
	for name, raw := range map[string]string{
		"laughs":              bodyOf(typeYAML, laughs(9, "*")),
		"long laughs":         bodyOf(typeYAML, longLaughs()),
		"nothings of yaml":    bodyOf(typeYAML, strings.Repeat("-\n", 350_000)),
		"scalars of yaml":     bodyOf(typeYAML, "["+strings.Repeat("a,", 350_000)+"]"),
		"keys of yaml":        bodyOf(typeYAML, "{"+strings.Repeat("a,", 350_000)+"}"),
		"brackets of yaml":    bodyOf(typeYAML, strings.Repeat("[", 700_000)),
		"pairs of yaml":       bodyOf(typeYAML, "["+strings.Repeat("?,", 350_000)+"]"),
		"anchors of yaml":     bodyOf(typeYAML, "- &a"+strings.Repeat("a\n- &a", 100_000)),
		"comments of yaml":    bodyOf(typeYAML, strings.Repeat("#\n", 350_000)),
		"text of yaml":        bodyOf(typeYAML, `"`+strings.Repeat(`\0`, 350_000)+`"`),
		"breaks of yaml":      bodyOf(typeYAML, "a"+strings.Repeat("\n", 700_000)+"b"),
		"nothings of msgpack": bodyOf(typeMsgpack, "\xdd\x00\x0a\x00\x00"+strings.Repeat("\xc0", 0xa0000)),
		"brackets of msgpack": bodyOf(typeMsgpack, strings.Repeat("\x91", 700_000)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := everySmall.Decode([]byte(raw))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		// The message as text, its body, and what the text has become.
		if n := after.TotalAlloc - before.TotalAlloc; n > 12*size {
			t.Errorf("%s: %d bytes allocated, limit %d", name, n, size)
		}
	}
}

// An alias is counted each time.
func TestYAMLAliasesAreLimited(t *testing.T) {
	body := "- [&a [1, 2], *a, *a]\n- {}\n- {}\n"
	for elements, want := range map[int]bool{13: true, 12: false} {
		d := protocol.Decoder{Accept: []string{"yaml"}, Limits: protocol.Limits{Elements: elements}}
		if _, err := d.Decode([]byte(bodyOf(typeYAML, body))); (err == nil) != want {
			t.Errorf("%d elements: %v", elements, err)
		}
	}
	for size, want := range map[int]bool{300: true, 100: false} {
		d := protocol.Decoder{Accept: []string{"yaml"}, Limits: protocol.Limits{Size: size + 400}}
		raw := bodyOf(typeYAML, "- [&a "+strings.Repeat("x", 60)+strings.Repeat(", *a", 7)+"]\n- {}\n- {}\n")
		if _, err := d.Decode([]byte(raw)); (err == nil) != want {
			t.Errorf("size %d: %v", size+400, err)
		}
	}
}

func TestDecodeErrorsOfBodiesHoldNoContent(t *testing.T) {
	const secret = "s3cr3t"
	for contentType, body := range map[string]string{
		typeYAML:    "- [" + secret + ", !!" + secret + " x, '" + secret + "']\n- {" + secret + ": *" + secret + "}\n- {}\n",
		typeMsgpack: "\x93\x92\xa6" + secret + "\xc4\x06" + secret + "\x81\xa6" + secret + "\xa6" + secret + "\x80",
	} {
		for i := range body {
			for _, spoilt := range []string{body[:i], body[:i] + "\xff" + body[i:], body[:i] + "'" + body[i:]} {
				_, err := everySmall.Decode([]byte(bodyOf(contentType, spoilt)))
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Fatalf("the error tells the secret: %v", err)
				}
			}
		}
	}
	m := &protocol.Message{ID: "i", Task: "t", DeliveryTag: "d"}
	for _, args := range []string{`["` + secret + `\ud800"]`, `[` + strings.Repeat("7391", 10) + `]`, `[{"__type__": "decimal", "__value__": "` + secret + `"}]`} {
		m.Args = protocol.Raw(args)
		_, err := protocol.EncodeAs(m, protocol.EncodeOptions{Serializer: "msgpack"})
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "7391") {
			t.Errorf("EncodeAs of %s: %v", args, err)
		}
	}
}
