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
	To      string // one address, as [ParseAddress] accepts it
	Subject string // one line; control characters are refused
	Text    string // text/plain part, never empty
	HTML    string // text/html part; "": the mail is plain text

	// TaskID identifies the mail: the id of its task, and what else tells it from other
	// mails under that id. Message-ID, X-Entity-Ref-ID and the MIME boundary derive from
	// it. A mail that is sent again with the same Date is identical to the
	// last byte, so receivers can recognise the copy.
	TaskID string

	// Secrets are texts of the mail, such as a code, that are removed from the words of
	// the server before those are kept: in every form in which the server repeats them, however
	// short they are, and even if other words are removed with them.
	Secrets []string

	Kind string    // for logs: "otp_verification"; no header shows it
	Date time.Time // zero: now

	// Wait, if set, is called when the mail must wait for a free connection. It must call
	// wait and return its error. A caller with a time limit can stop its clock meanwhile.
	Wait func(ctx context.Context, wait func(context.Context) error) error

	// BeforeFinal, if set, decides whether the mail is still sent. It is called once,
	// when the server has the whole mail except the last five octets, CRLF.CRLF, and
	// those are the next write. After an error the connection is closed without them, so
	// the server delivers nothing, and the [SendError] matches [ErrWithheld]. The server
	// waits meanwhile; all servers allow at least ten seconds.
	BeforeFinal func(ctx context.Context) error
}

// Composed is a finished mail as it is sent, except for the doubled dots.
type Composed struct {
	From      Address // of the envelope: the sender, or its address for bounces of this mail
	To        Address // of the envelope and of the header
	MessageID string  // with its angle brackets
	Bytes     []byte  // CRLF line ends, 7-bit unless To needs SMTPUTF8

	ref         string // of the Message-ID
	beforeFinal func(context.Context) error
}

// Compose builds the mail that [Sender.Send] would send, without sending it. All errors are of
// type [*SendError] with the command "COMPOSE".
func (s *Sender) Compose(m Message) (Composed, error) {
	if m.Date.IsZero() {
		m.Date = time.Now()
	}
	c, err := compose(s.from, m)
	if err != nil {
		return Composed{}, &SendError{Command: "COMPOSE", Err: err}
	}
	c.Bytes = s.sign(c.Bytes, m.Date)
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
	ref := Reference(m.TaskID)
	c := Composed{From: id.from, To: to, MessageID: "<" + ref + "@" + id.from.Domain + ">", ref: ref}

	if id.bounces != nil {
		if c.From, err = bounceAddress(id.bounces, ref); err != nil {
			return Composed{}, err
		}
	}
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
	g.SetHeader("X-Auto-Response-Suppress", "OOF, AutoReply") // [MS-OXCMAIL]; without NDR, which would suppress bounces
	g.SetHeader("X-Entity-Ref-ID", ref)                       // prevents Gmail from grouping mails of one kind in a thread
	g.SetBody("text/plain", lines(m.Text))
	if m.HTML != "" {
		g.AddAlternative("text/html", lines(m.HTML)) // the last part is the preferred one, RFC 2046 section 5.1.4
	}
	// The mail is written to memory first. gomail drops errors of the writer in the
	// header, and an error must never leave half a mail on the wire.
	var raw bytes.Buffer
	raw.Grow(2048 + 2*(len(m.Text)+len(m.HTML)))
	if _, err := g.WriteTo(&raw); err != nil {
		return Composed{}, fmt.Errorf("compose: %w", err)
	}
	c.Bytes, err = finalise(raw.Bytes(), "=_"+ref)
	return c, err
}

// check refuses a message that makes no valid mail. Its errors never quote the message.
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

// checkHeaderText returns the reason why text is refused for a header field, or "".
func checkHeaderText(s string) string {
	switch {
	case len(s) > maxHeaderText:
		return fmt.Sprintf("longer than %d octets", maxHeaderText)
	case !utf8.ValidString(s):
		return "not valid UTF-8"
	}
	for _, r := range s {
		// Some software treats U+2028 and U+2029 as line ends.
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return "control character"
		}
	}
	return ""
}

// headerText encodes text for a header field (RFC 2047). gomail encodes text outside of ASCII,
// on lines that are too long. It does not encode text that looks like an encoded word, which
// the reader would decode, nor words that are too long to fold.
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

// Reference returns the id by which a bounce names the mail of a task: the part of the
// Message-ID before the @, the envelope id, and the id in the address for bounces. The task
// id itself stays private, and it may contain any characters.
func Reference(taskID string) string {
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

// finalise replaces the random order of fields and the random boundary in gomail's output by
// those of the task id, and checks that every line conforms to RFC 5322.
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
		// No quoted-printable text contains "=_", so no part can contain the new
		// boundary, not even on purpose.
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

// parseFields parses a folded or unfolded header. Each field may appear once.
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
			return nil, errors.New("compose: header field appears twice")
		}
		fields[name] = strings.TrimPrefix(value, " ")
	}
	return fields, nil
}

// writeField writes a field, folded at single spaces. No line consists of white space alone.
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

// lines returns a text with LF as its only line end. The encoder drops an LF that follows a
// bare CR, even at a distance.
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// checkLines checks the finished mail against RFC 5321 section 2.3.8: CR and LF appear only
// together. A server that accepts a bare one as a line end could read a second mail inside
// the first.
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
