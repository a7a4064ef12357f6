package bounce

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // reports come in any charset
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
)

// mail is a message as a tree of parts. The multipart reader of go-message stops at the first
// header or boundary that is broken, which is common in bounces; so the tree is built here,
// and go-message decodes the leaves.
type mail struct {
	part
	parts int // number of parts of all depths
}

// part is a message or one part of it.
type part struct {
	header    header
	mediaType string // in lower case, "text/plain" without a field
	params    map[string]string
	body      string  // decoded and in UTF-8, with LF between lines; "" for a multipart
	children  []*part // of a multipart
}

// newMail builds the tree of a message.
func newMail(raw []byte) *mail {
	m := &mail{}
	m.part = *m.newPart(strings.TrimLeft(strings.TrimPrefix(normalizeLines(raw), "\ufeff"), "\n \t"), 0)
	return m
}

// newPart builds the tree of one part.
func (m *mail) newPart(text string, depth int) *part {
	m.parts++
	p := &part{}
	var body string
	p.header, body = readHeader(text)
	p.mediaType, p.params = contentType(p.header)
	if strings.HasPrefix(p.mediaType, "multipart/") && depth < maxDepth {
		pieces := splitParts(body, p.params["boundary"])
		for _, piece := range pieces {
			if m.parts < maxParts {
				p.children = append(p.children, m.newPart(piece, depth+1))
			}
		}
		if len(pieces) > 0 {
			return p
		}
		p.mediaType = "text/plain" // no boundary: what is there is text
	}
	p.body = p.decode(body)
	return p
}

// decode undoes the transfer encoding and the charset of a leaf.
func (p *part) decode(body string) string {
	var h message.Header
	if cte := strings.ToLower(p.header.get("content-transfer-encoding")); cte != "" {
		h.Set("Content-Transfer-Encoding", cte)
	}
	if strings.HasPrefix(p.mediaType, "text/") && p.params["charset"] != "" {
		h.SetContentType(p.mediaType, map[string]string{"charset": p.params["charset"]})
	}
	entity, _ := message.New(h, strings.NewReader(body))
	if entity == nil {
		return toUTF8(body)
	}
	decoded, _ := io.ReadAll(io.LimitReader(entity.Body, 2*MaxSize)) // what came before a fault counts
	if len(decoded) == 0 {
		decoded = []byte(body)
	}
	return toUTF8(normalizeLines(decoded))
}

// each calls f for every part, the outermost first, until f returns false.
func (p *part) each(f func(*part) bool) bool {
	if !f(p) {
		return false
	}
	for _, child := range p.children {
		if !child.each(f) {
			return false
		}
	}
	return true
}

// find returns the first part of one of the types, or nil.
func (p *part) find(types ...string) (found *part) {
	p.each(func(q *part) bool {
		for _, t := range types {
			if q.mediaType == t {
				found = q
				return false
			}
		}
		return true
	})
	return found
}

// contentType returns the media type of a header and its parameters.
func contentType(h header) (string, map[string]string) {
	value := h.get("content-type")
	if value == "" {
		return "text/plain", nil
	}
	mediaType, params, err := mime.ParseMediaType(value)
	if err == nil {
		return mediaType, params
	}
	// A fault in one parameter must not hide the boundary.
	mediaType, rest, _ := strings.Cut(value, ";")
	params = map[string]string{}
	for param := range strings.SplitSeq(rest, ";") {
		name, v, ok := strings.Cut(param, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); ok && params[name] == "" {
			params[name] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	if !strings.Contains(mediaType, "/") {
		mediaType = "text/plain"
	}
	return mediaType, params
}

// splitParts returns the parts between the lines of a boundary. With a boundary that is
// missing or that does not occur it takes the first line that looks like one.
func splitParts(body, boundary string) (parts []string) {
	delimiter := "--" + boundary
	if boundary == "" || !strings.Contains(body, delimiter) {
		if delimiter = guessDelimiter(body); delimiter == "" {
			return nil
		}
	}
	start := -1
	for at := 0; at < len(body) && len(parts) < maxParts; {
		line, _ := cutLine(body[at:])
		next := min(at+len(line)+1, len(body))
		if tail, ok := strings.CutPrefix(line, delimiter); ok && strings.Trim(tail, "- \t") == "" {
			if start >= 0 {
				parts = append(parts, strings.TrimSuffix(body[start:at], "\n"))
			}
			if start = next; strings.HasPrefix(tail, "--") {
				return parts
			}
		}
		at = next
	}
	if start >= 0 && start < len(body) && len(parts) < maxParts {
		parts = append(parts, body[start:]) // the end was cut off
	}
	return parts
}

// guessDelimiter returns the first line that begins with two hyphens and precedes a field
// Content-…
func guessDelimiter(body string) string {
	previous := ""
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(previous, "--") && len(line) > 8 && strings.EqualFold(line[:8], "content-") {
			return strings.TrimRight(previous, " \t")
		}
		previous = line
	}
	return ""
}

// normalizeLines returns a text with LF at the end of each line, where it had CRLF, CR or a
// mixture.
func normalizeLines(raw []byte) string {
	if bytes.IndexByte(raw, '\r') < 0 {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\r' {
			out = append(out, raw[i])
			i++
			continue
		}
		end := i
		for end < len(raw) && raw[end] == '\r' {
			end++
		}
		if end < len(raw) && raw[end] == '\n' {
			out = append(out, '\n')
			i = end + 1
			continue
		}
		out = append(out, bytes.Repeat([]byte{'\n'}, end-i)...)
		i = end
	}
	return string(out)
}

// toUTF8 returns a text without a known charset in UTF-8. It recognizes ISO-2022-JP by its
// escape sequences. Other invalid text becomes Windows-1252, which holds the letters of the
// West.
func toUTF8(text string) string {
	if strings.Contains(text, "\x1b$B") || strings.Contains(text, "\x1b$@") {
		if decoded, err := japanese.ISO2022JP.NewDecoder().String(text); err == nil {
			return decoded
		}
	}
	if utf8.ValidString(text) {
		return text
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(text)
	if err != nil {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return decoded
}
