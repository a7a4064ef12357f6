package preview

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"strings"

	"github.com/emersion/go-message"
)

// Header is a field of the header of a message, with its encoded words decoded.
type Header struct{ Name, Value string }

// Part is one node of the MIME tree of a message.
type Part struct {
	Depth    int
	Type     string // such as text/plain; charset=utf-8
	Encoding string // of the transfer
	Size     int    // bytes as they are sent; 0: it has parts
}

// read returns the header and the MIME tree of a message.
func read(raw []byte) (headers []Header, parts []Part) {
	entity, err := message.Read(bytes.NewReader(raw))
	if entity == nil {
		return []Header{{"(unreadable)", err.Error()}}, nil
	}
	for fields := entity.Header.Fields(); fields.Next(); {
		value, err := fields.Text()
		if err != nil {
			value = fields.Value()
		}
		headers = append(headers, Header{fieldName(fields), value})
	}
	return headers, walk(entity, 0)
}

// fieldName returns the name as the message has it: Message-ID, not Message-Id.
func fieldName(f message.HeaderFields) string {
	if raw, err := f.Raw(); err == nil {
		if name, _, ok := bytes.Cut(raw, []byte(":")); ok {
			return string(name)
		}
	}
	return f.Key()
}

func walk(e *message.Entity, depth int) (parts []Part) {
	const deepest = 10
	kind, params, _ := e.Header.ContentType()
	delete(params, "boundary")
	p := Part{Depth: depth, Type: mime.FormatMediaType(kind, params), Encoding: strings.ToLower(e.Header.Get("Content-Transfer-Encoding"))}
	children := e.MultipartReader()
	if children == nil || depth == deepest {
		n, _ := io.Copy(io.Discard, e.Body)
		p.Size = int(n)
		return []Part{p}
	}
	parts = append(parts, p)
	for {
		child, err := children.NextPart()
		if child == nil || err != nil && !message.IsUnknownCharset(err) {
			return parts
		}
		parts = append(parts, walk(child, depth+1)...)
	}
}

// SizeText writes a number of bytes.
func (p Part) SizeText() string {
	if p.Size < 1000 {
		return fmt.Sprintf("%d bytes", p.Size)
	}
	return fmt.Sprintf("%.1f kB", float64(p.Size)/1000)
}
