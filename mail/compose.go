package mail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/gomail.v2"
)

const (
	maxMessage    = 1 << 20 // octets of a finished mail
	maxHeaderText = 2000    // octets of a subject or name
	maxLine       = 998     // octets without CRLF, RFC 5322 section 2.1.1
	foldAt        = 76      // characters, RFC 2047 section 2
)

// Message is one mail to one recipient.
type Message struct {
	To      string // one address as [ParseAddress] takes it
	Subject string // one line; control characters are refused
	Text    string // text/plain part, never empty
	HTML    string // text/html part; "": the mail is plain text

	// TaskID identifies the mail. Message-ID, X-Entity-Ref-ID and the MIME
	// boundary derive from it: a mail that is sent again, with the same Date, is
	// the same to the last byte, so that receivers can tell a copy.
	TaskID string

	// Secrets are texts of the mail, such as a code, of which no trace may stay
	// in what is kept of the server's words: no matter how short they are, how the
	// server writes them, and what else is blanked with them.
	Secrets []string

	Kind string    // for logs: "otp_verification"; no header shows it
	Date time.Time // zero: now

	// Wait, when set, is called with the wait for a free connection, if there is a
	// wait. It returns the error of that wait. A caller that has a time limit can stop
	// its clock meanwhile.
	Wait func(ctx context.Context, wait func(context.Context) error) error

	// BeforeFinal, when set, decides whether the mail still goes out. It is called once,
	// when the server has the whole mail but for the last five octets, CRLF.CRLF, and
	// those are the next write. After an error the connection is closed without them,
	// so that the server delivers nothing; the [SendError] is then [ErrWithheld].
	// The server waits meanwhile: ten seconds are the least that servers allow.
	BeforeFinal func(ctx context.Context) error
}

// Composed is a finished mail: what goes over the wire, but for the dots.
type Composed struct {
	From      Address // of the envelope, and the same in the header
	To        Address // likewise
	MessageID string  // with its angle brackets
	Bytes     []byte  // CRLF line ends, 7-bit unless To needs SMTPUTF8

	beforeFinal func(context.Context) error
}

// Compose builds the mail that [Sender.Send] would send, without sending it.
// Its errors are of type [*SendError] with the command "COMPOSE".
func (s *Sender) Compose(m Message) (Composed, error) {
	c, err := compose(s.from, m)
	if err != nil {
		return Composed{}, &SendError{Command: "COMPOSE", Err: err}
	}
	return c, nil
}

func compose(id identity, m Message) (Composed, error) {
	to, err := ParseAddress(m.To)
	if err != nil {
		return Composed{}, err
	}
	if err := m.check(); err != nil {
		return Composed{}, err
	}
	date := m.Date
	if date.IsZero() {
		date = time.Now()
	}
	ref := refID(m.TaskID)
	c := Composed{From: id.from, To: to, MessageID: "<" + ref + "@" + id.from.Domain + ">"}

	g := gomail.NewMessage() // UTF-8, quoted-printable
	g.SetDateHeader("Date", date.UTC())
	g.SetAddressHeader("From", id.from.String(), id.name)
	if id.replyTo != "" {
		g.SetAddressHeader("Reply-To", id.replyTo, "")
	}
	g.SetAddressHeader("To", to.String(), "")
	g.SetHeader("Message-ID", c.MessageID)
	g.SetHeader("Subject", headerText(m.Subject))
	g.SetHeader("Auto-Submitted", "auto-generated")           // RFC 3834 section 5
	g.SetHeader("X-Auto-Response-Suppress", "OOF, AutoReply") // [MS-OXCMAIL]; not NDR, which would be our bounces
	g.SetHeader("X-Entity-Ref-ID", ref)                       // keeps Gmail from folding mails of one kind into a thread
	g.SetBody("text/plain", lines(m.Text))
	if m.HTML != "" {
		g.AddAlternative("text/html", lines(m.HTML)) // the last part is the preferred one, RFC 2046 section 5.1.4
	}
	// Into memory: gomail swallows errors of the writer in the header, and a
	// fault half way must never become half a mail.
	var raw bytes.Buffer
	raw.Grow(2048 + 2*(len(m.Text)+len(m.HTML)))
	if _, err := g.WriteTo(&raw); err != nil {
		return Composed{}, fmt.Errorf("compose: %w", err)
	}
	c.Bytes, err = finalise(raw.Bytes(), "=_"+ref)
	return c, err
}

// check refuses what would not make a proper mail. Its errors never quote.
func (m *Message) check() error {
	if m.TaskID == "" {
		return errors.New("no task id")
	}
	if strings.TrimSpace(m.Subject) == "" {
		return errors.New("no subject")
	}
	if reason := checkHeaderText(m.Subject); reason != "" {
		return errors.New("subject: " + reason)
	}
	if strings.TrimSpace(m.Text) == "" {
		return errors.New("no text part")
	}
	if !utf8.ValidString(m.Text) || !utf8.ValidString(m.HTML) {
		return errors.New("body: not valid UTF-8")
	}
	if len(m.Text)+len(m.HTML) > maxMessage {
		return errTooBig
	}
	return nil
}

var errTooBig = fmt.Errorf("mail larger than %d octets", maxMessage)

// checkHeaderText returns what is wrong with text for a header field, or "".
func checkHeaderText(s string) string {
	switch {
	case len(s) > maxHeaderText:
		return fmt.Sprintf("longer than %d octets", maxHeaderText)
	case !utf8.ValidString(s):
		return "not valid UTF-8"
	}
	for _, r := range s {
		// U+2028 and U+2029 end lines in the eyes of some.
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return "control character"
		}
	}
	return ""
}

// headerText encodes text for a header field (RFC 2047). gomail would do it for
// text outside of ASCII, on lines that are too long, but not for text that must
// not stand there as it is: what looks like an encoded word already, so that the
// reader would decode it, and words too long to fold.
func headerText(s string) string {
	const room = foldAt - len("Subject: ")
	plain := isASCII(s) && !strings.Contains(s, "=?")
	for word := range strings.SplitSeq(s, " ") {
		plain = plain && len(word) <= room
	}
	if plain {
		return s
	}
	const chunk = (room - len("=?UTF-8?b??=")) / 4 * 3 // octets that base64 makes fit
	var words []string
	for len(s) > 0 {
		n := min(chunk, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?UTF-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// refID derives a public identifier from a task id, which itself may hold any
// characters and is nobody's business.
func refID(taskID string) string {
	sum := sha256.Sum256([]byte("mail " + taskID))
	return hex.EncodeToString(sum[:16])
}

// fieldOrder returns the header fields that a mail may have, in their order.
func fieldOrder() []string {
	return []string{
		"Date", "From", "Reply-To", "To", "Message-ID", "Subject", "Auto-Submitted",
		"X-Auto-Response-Suppress", "X-Entity-Ref-ID", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding",
	}
}

// finalise brings gomail's output, with its random order of fields and random
// boundary, into the one form that it has for a task id, and checks what RFC
// 5322 asks of every line.
func finalise(raw []byte, boundary string) ([]byte, error) {
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		return nil, errors.New("compose: no end of header")
	}
	fields, err := parseFields(string(head))
	if err != nil {
		return nil, err
	}
	contentType, params, err := mime.ParseMediaType(fields["Content-Type"])
	if err != nil {
		return nil, fmt.Errorf("compose: content type: %w", err)
	}
	if old := params["boundary"]; old != "" {
		// No quoted-printable text has "=_" in it, so the new one, unlike the old
		// one, cannot stand in a part even by design.
		fields["Content-Type"] = contentType + `; boundary="` + boundary + `"`
		body = bytes.ReplaceAll(body, []byte("--"+old), []byte("--"+boundary))
	}
	var out bytes.Buffer
	out.Grow(len(raw) + 256)
	for _, name := range fieldOrder() {
		if value, ok := fields[name]; ok {
			writeField(&out, name, value)
			delete(fields, name)
		}
	}
	if len(fields) > 0 {
		return nil, errors.New("compose: header field that is not allowed")
	}
	out.WriteString("\r\n")
	out.Write(body)
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		out.WriteString("\r\n")
	}
	return out.Bytes(), checkLines(out.Bytes())
}

// parseFields reads an unfolded or folded header into a map. Each field may
// stand there once.
func parseFields(head string) (map[string]string, error) {
	fields := make(map[string]string)
	var name string
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, " ") && name != "" {
			fields[name] += line
			continue
		}
		var value string
		var ok bool
		if name, value, ok = strings.Cut(line, ":"); !ok {
			return nil, errors.New("compose: header line without a field")
		}
		if name == "Mime-Version" {
			name = "MIME-Version"
		}
		if _, twice := fields[name]; twice {
			return nil, errors.New("compose: header field stands twice")
		}
		fields[name] = strings.TrimPrefix(value, " ")
	}
	return fields, nil
}

// writeField folds at single spaces, never so that a line is all white space.
func writeField(out *bytes.Buffer, name, value string) {
	out.WriteString(name)
	out.WriteString(": ")
	column := len(name) + 2
	words := strings.Split(value, " ")
	for i, word := range words {
		switch {
		case i == 0:
		case word != "" && words[i-1] != "" && column+1+len(word) > foldAt:
			out.WriteString("\r\n ")
			column = 1
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	out.WriteString("\r\n")
}

// lines returns a text with LF alone at the ends of its lines: the encoder takes an LF
// somewhere behind a bare CR for the second half of it, and drops it.
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// checkLines holds the finished mail to RFC 5321 section 2.3.8: CR and LF stand
// together or not at all. A server that took a bare one for a line end could
// see a second mail in the first.
func checkLines(mail []byte) error {
	if len(mail) > maxMessage {
		return errTooBig
	}
	start := 0
	for i, c := range mail {
		switch c {
		case 0:
			return errors.New("compose: NUL")
		case '\r':
			if i+1 == len(mail) || mail[i+1] != '\n' {
				return errors.New("compose: bare CR")
			}
		case '\n':
			if i == 0 || mail[i-1] != '\r' {
				return errors.New("compose: bare LF")
			}
			if i-1-start > maxLine {
				return fmt.Errorf("compose: line longer than %d octets", maxLine)
			}
			start = i + 1
		}
	}
	return nil
}
