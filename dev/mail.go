package dev

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // mails in any charset are shown
	"github.com/emersion/go-message/mail"
)

// Mail is one caught message.
type Mail struct {
	ID           int
	Received     time.Time
	EnvelopeFrom string
	EnvelopeTo   []string

	From, To, Subject string
	Text, HTML        string
	Attachments       []string // file names, or media types
	Headers           []Header // in the order of the message, RFC 2047 words decoded
	MessageID         string   // with its angle brackets
	Defect            string   // why the message could not be read to its end, or ""
	Raw               []byte
}

// Header is one field of a message header.
type Header struct{ Name, Value string }

// readMail parses a message. It never fails, because the page must show faulty mails, too.
// Raw always is the whole message.
func readMail(raw []byte) *Mail {
	m := &Mail{Raw: raw}
	entity, err := message.Read(bytes.NewReader(raw))
	if entity == nil {
		m.Defect = "The header cannot be read: " + err.Error()
		return m
	}
	m.note(err)
	h := mail.Header{Header: entity.Header}
	m.From, m.To, m.Subject = addresses(h, "From"), addresses(h, "To"), text(h, "Subject")
	m.MessageID = h.Get("Message-ID")
	for fields := h.Fields(); fields.Next(); {
		value, err := fields.Text()
		if err != nil {
			value = fields.Value()
		}
		m.Headers = append(m.Headers, Header{fieldName(fields), value})
	}
	parts := mail.NewReader(entity)
	defer parts.Close()
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return m
		}
		if part == nil {
			m.note(err)
			return m
		}
		m.note(err)
		m.readPart(part)
	}
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

func (m *Mail) readPart(part *mail.Part) {
	switch h := part.Header.(type) {
	case *mail.InlineHeader:
		kind, _, _ := h.ContentType()
		body, err := io.ReadAll(part.Body)
		m.note(err)
		switch {
		case kind == "text/html" && m.HTML == "":
			m.HTML = string(body)
		case kind == "text/plain" && m.Text == "":
			m.Text = strings.ReplaceAll(string(body), "\r\n", "\n")
		default:
			m.Attachments = append(m.Attachments, kind)
		}
	case *mail.AttachmentHeader:
		name, _ := h.Filename()
		if name == "" {
			name, _, _ = h.ContentType()
		}
		m.Attachments = append(m.Attachments, name)
	}
}

// note keeps the first defect.
func (m *Mail) note(err error) {
	if err != nil && m.Defect == "" {
		m.Defect = "The message is malformed: " + err.Error()
	}
}

// text returns a header field. Encoded words that can be decoded are decoded.
func text(h mail.Header, name string) string {
	if s, err := h.Text(name); err == nil {
		return s
	}
	dec := mime.WordDecoder{CharsetReader: message.CharsetReader}
	if s, err := dec.DecodeHeader(h.Get(name)); err == nil {
		return s
	}
	return h.Get(name)
}

// addresses returns an address field as people write it: Ada <ada@example.com>.
func addresses(h mail.Header, name string) string {
	list, err := h.AddressList(name)
	if err != nil {
		return text(h, name)
	}
	shown := make([]string, len(list))
	for i, a := range list {
		shown[i] = a.Address
		if a.Name != "" {
			shown[i] = a.Name + " <" + a.Address + ">"
		}
	}
	return strings.Join(shown, ", ")
}

// preview returns the first words of the text for the list.
func (m *Mail) preview() string {
	const runes = 120
	words := strings.Join(strings.Fields(m.Text), " ")
	// Many mails begin with the name of their sender, which the list shows already.
	if name, _, ok := strings.Cut(m.From, " <"); ok {
		words = strings.TrimSpace(strings.TrimPrefix(words, name))
	}
	if r := []rune(words); len(r) > runes {
		return string(r[:runes]) + "…"
	}
	return words
}
