package protocol

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/evently/workers/worker/protocol/internal/yaml"
)

// packYAML writes a JSON text as YAML 1.1 that yaml.safe_load reads as the same values:
// in brackets and braces, in one line, in ASCII. It differs from JSON: floats need a
// point, and characters beyond U+FFFF have another escape.
func packYAML(raw Raw) ([]byte, error) {
	w := yamlWriter{buf: make([]byte, 0, len(raw)+1)}
	if err := transcode(raw, &w); err != nil {
		return nil, err
	}
	return append(w.buf, '\n'), nil
}

type yamlWriter struct {
	buf []byte
	key bool // the next text is a key
	in  []kind
}

func (w *yamlWriter) word(text Raw, k kind) error {
	if k != kindFloat {
		w.buf = append(w.buf, text...)
		return nil
	}
	start := len(w.buf)
	w.buf = appendFloat(w.buf, float(text), 64)
	switch f := string(w.buf[start:]); {
	case f == "NaN":
		w.buf = append(w.buf[:start], ".nan"...)
	case strings.HasSuffix(f, "Infinity"):
		w.buf = append(w.buf[:start], strings.Replace(f, "Infinity", ".inf", 1)...)
	case !strings.Contains(f, "."): // 1e+16 would be a text
		w.buf = append(w.buf[:start], strings.Replace(f, "e", ".0e", 1)...)
	}
	return nil
}

// maxSimpleKey is well below the length up to which YAML recognises a key by its colon
// alone.
const maxSimpleKey = 128

func (w *yamlWriter) text(quoted Raw) error {
	if w.key && len(quoted) > maxSimpleKey {
		w.buf = append(w.buf, "? "...)
	}
	w.key = false
	w.buf = append(w.buf, '"')
	for q := quoted[1 : len(quoted)-1]; len(q) > 0; {
		c := q[0]
		switch {
		case c == '\\' && q[1] == 'u':
			r := hex4(q[2:])
			q = q[6:]
			if utf16.IsSurrogate(r) && len(q) >= 6 && q[0] == '\\' && q[1] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(q[2:])); pair != 0xfffd {
					r, q = pair, q[6:]
				}
			}
			w.escape(r)
		case c == '\\' && q[1] == '/': // an escape that older YAML does not have
			w.buf = append(w.buf, '/')
			q = q[2:]
		case c == '\\': // YAML has the other escapes of JSON
			w.buf = append(w.buf, c, q[1])
			q = q[2:]
		case c < 0x7f:
			w.buf = append(w.buf, c)
			q = q[1:]
		default:
			r, size := utf8.DecodeRune(q)
			w.escape(r)
			q = q[size:]
		}
	}
	w.buf = append(w.buf, '"')
	return nil
}

func (w *yamlWriter) escape(r rune) {
	if r <= 0xffff {
		w.buf = appendEscaped(w.buf, r)
		return
	}
	w.buf = append(w.buf, `\U`...)
	for shift := 28; shift >= 0; shift -= 4 {
		w.buf = append(w.buf, hexDigits[r>>shift&15])
	}
}

func (w *yamlWriter) bytes(data []byte) error {
	w.buf = append(w.buf, `!!binary "`...)
	w.buf = base64.StdEncoding.AppendEncode(w.buf, data)
	w.buf = append(w.buf, '"')
	return nil
}

func (w *yamlWriter) typed(typ, value string) error {
	if typ != "datetime" && typ != "date" {
		return errYAMLTyped
	}
	as, text, ok := yaml.Timestamp(value)
	if !ok || as != typ || typ == "date" && text != value { // 2026-1-1 would become 2026-01-01
		return errYAMLTime
	}
	// YAML reads more forms of a time than Python's JSON does. A text that is no time in
	// JSON must not become one.
	if _, err := ParseTime(value); err != nil && typ == "datetime" {
		return errYAMLTime
	}
	w.buf = append(w.buf, `!!timestamp "`+value+`"`...)
	return nil
}

func (w *yamlWriter) open(k kind) {
	w.in = append(w.in, k)
	w.buf = append(w.buf, opening(k))
}

func (w *yamlWriter) next(first bool) {
	if !first {
		w.buf = append(w.buf, ", "...)
	}
	w.key = w.in[len(w.in)-1] == kindObject
}

func (w *yamlWriter) colon() { w.buf = append(w.buf, ": "...) }

func (w *yamlWriter) close(k kind, _ int) {
	w.in = w.in[:len(w.in)-1]
	w.key = false
	w.buf = append(w.buf, opening(k)+2) // ']' is '[' + 2, '}' is '{' + 2
}

func opening(k kind) byte {
	if k == kindArray {
		return '['
	}
	return '{'
}
