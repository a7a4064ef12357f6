package mail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

func composer(t testing.TB) *mail.Sender {
	t.Helper()
	return newSender(t, mail.Config{
		Host: "smtp.example.com", FromName: "Evently, Inc.", FromAddress: "mail@evently.example", ReplyTo: "help@evently.example",
	})
}

func TestComposeWholeMail(t *testing.T) {
	t.Parallel()
	m := message()
	m.Subject = "Zürich: " + strings.Repeat("long ", 20) + "event"
	c, err := composer(t).Compose(m)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`Date: Tue, 24 Nov 2026 09:30:00 +0000
From: "Evently, Inc." <mail@evently.example>
Reply-To: help@evently.example
To: jane.roe@example.com
Message-ID: <632122fdd04721f582291d856bf81690@evently.example>
Subject: =?UTF-8?b?WsO8cmljaDogbG9uZyBsb25nIGxvbmcgbG9uZyBsb25nIGxvbmcg?=
 =?UTF-8?b?bG9uZyBsb25nIGxvbmcgbG9uZyBsb25nIGxvbmcgbG9uZyBsb25n?=
 =?UTF-8?b?IGxvbmcgbG9uZyBsb25nIGxvbmcgbG9uZyBsb25nIGV2ZW50?=
Auto-Submitted: auto-generated
X-Auto-Response-Suppress: OOF, AutoReply
X-Entity-Ref-ID: 632122fdd04721f582291d856bf81690
MIME-Version: 1.0
Content-Type: multipart/alternative;
 boundary="=_632122fdd04721f582291d856bf81690"

--=_632122fdd04721f582291d856bf81690
Content-Transfer-Encoding: quoted-printable
Content-Type: text/plain; charset=UTF-8

Hello Jane,

your verification code is

482913

--=_632122fdd04721f582291d856bf81690
Content-Transfer-Encoding: quoted-printable
Content-Type: text/html; charset=UTF-8

<!doctype html><html lang=3D"en"><title>Code</title><p>482913</p></html>
--=_632122fdd04721f582291d856bf81690--
`, "\n", "\r\n")
	if got := string(c.Bytes); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if c.From.String() != "mail@evently.example" || c.To.String() != recipient {
		t.Errorf("envelope %v to %v", c.From, c.To)
	}
}

// A mail that is sent again must be the same to the last byte, from whichever
// process; another task's must not be taken for it.
func TestComposeIsDeterministic(t *testing.T) {
	t.Parallel()
	first, err := composer(t).Compose(message())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // gomail's order of fields differs about every other time
		again, err := composer(t).Compose(message())
		if err != nil || !bytes.Equal(first.Bytes, again.Bytes) {
			t.Fatalf("differs: %v\n%s\n%s", err, first.Bytes, again.Bytes)
		}
	}
	other := message()
	other.TaskID = "another"
	second, err := composer(t).Compose(other)
	if err != nil || first.MessageID == second.MessageID {
		t.Errorf("two tasks, one Message-ID %q (%v)", second.MessageID, err)
	}
	if bytes.Contains(first.Bytes, []byte(message().TaskID)) {
		t.Error("the task id is readable in the mail")
	}
}

func TestComposeDateDefaultsToNow(t *testing.T) {
	t.Parallel()
	m := message()
	m.Date = time.Time{}
	before := time.Now().Truncate(time.Second)
	c, err := composer(t).Compose(m)
	if err != nil {
		t.Fatal(err)
	}
	date, err := netmail.ParseDate(header(t, c.Bytes, "Date"))
	if err != nil || date.Before(before) || date.After(time.Now()) {
		t.Errorf("Date %v, %v", date, err)
	}
}

func TestComposeTextOnly(t *testing.T) {
	t.Parallel()
	m := message()
	m.HTML = ""
	c, err := composer(t).Compose(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := header(t, c.Bytes, "Content-Type"); got != "text/plain; charset=UTF-8" {
		t.Errorf("Content-Type %q", got)
	}
	if got := parseMail(t, c.Bytes); got.text != m.Text || got.html != "" {
		t.Errorf("parts %+v", got)
	}
}

func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*mail.Message){
		"CR LF in the subject":     func(m *mail.Message) { m.Subject = "a\r\nBcc: " + recipient },
		"LF in the subject":        func(m *mail.Message) { m.Subject = "a\nb" },
		"CR in the subject":        func(m *mail.Message) { m.Subject = "a\rb" },
		"NUL in the subject":       func(m *mail.Message) { m.Subject = "a\x00b" },
		"tab in the subject":       func(m *mail.Message) { m.Subject = "a\tb" },
		"DEL in the subject":       func(m *mail.Message) { m.Subject = "a\x7fb" },
		"NEL in the subject":       func(m *mail.Message) { m.Subject = "a\u0085b" },
		"U+2028 in the subject":    func(m *mail.Message) { m.Subject = "a\u2028b" },
		"invalid UTF-8 in subject": func(m *mail.Message) { m.Subject = "a\xffb" },
		"long subject":             func(m *mail.Message) { m.Subject = strings.Repeat("x", 3000) },
		"no subject":               func(m *mail.Message) { m.Subject = " " },
		"no text":                  func(m *mail.Message) { m.Text = "\n" },
		"invalid UTF-8 in text":    func(m *mail.Message) { m.Text = "a\xffb" },
		"invalid UTF-8 in HTML":    func(m *mail.Message) { m.HTML = "a\xffb" },
		"no task id":               func(m *mail.Message) { m.TaskID = "" },
		"more than 1 MiB":          func(m *mail.Message) { m.HTML = strings.Repeat("x", 1<<20) },
		"1 MiB when encoded":       func(m *mail.Message) { m.Text = strings.Repeat("ü", 1<<18) },
		"address list":             func(m *mail.Message) { m.To = recipient + ", x@example.com" },
		"address with CR LF":       func(m *mail.Message) { m.To = recipient + "\r\nBcc: x@example.com" },
		"address with parameters":  func(m *mail.Message) { m.To = "a@example.com> SIZE=1 X=<" },
	} {
		m := message()
		change(&m)
		_, err := composer(t).Compose(m)
		failed := sendError(t, err)
		if failed.Command != "COMPOSE" || failed.Retryable() || failed.Unknown() || failed.CountsForBreaker() || failed.ConfigurationFault() {
			t.Errorf("%s: %v, verdict %q", name, err, verdict(failed))
		}
		if address := strings.HasPrefix(name, "address"); failed.AddressFault() != address || errors.Is(err, mail.ErrAddress) != address {
			t.Errorf("%s: AddressFault %v for %v", name, failed.AddressFault(), err)
		}
		if err := notIn(err.Error()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Subjects arrive as they were written, whatever they look like.
func TestComposeSubjects(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{
		"plain", "two  spaces", "trailing ", "Привет, мир", "日本語の件名", "emoji 🎉 party", "a: b; c, d <e>",
		"=?utf-8?q?Bcc=3A?= looks encoded", "=?utf-8?b?", "ends in =?",
		strings.Repeat("word ", 60) + "end", strings.Repeat("x", 1500), strings.Repeat("ü", 900),
		strings.Repeat(" ", 300) + "x", "<script>alert(1)</script> {{.}} %s ${x}",
	} {
		m := message()
		m.Subject = subject
		c, err := composer(t).Compose(m)
		if err != nil {
			t.Errorf("%q: %v", subject, err)
			continue
		}
		got, err := new(mime.WordDecoder).DecodeHeader(header(t, c.Bytes, "Subject"))
		// Readers drop white space at the edges of a field.
		if err != nil || strings.TrimSpace(got) != strings.TrimSpace(subject) {
			t.Errorf("subject %q arrives as %q (%v)", subject, got, err)
		}
		head, _, _ := bytes.Cut(c.Bytes, []byte("\r\n\r\n"))
		for line := range strings.SplitSeq(string(head), "\r\n") {
			if len(line) > 76 && !strings.HasPrefix(subject, "  ") {
				t.Errorf("%q: header line of %d octets", subject, len(line))
			}
			if strings.TrimSpace(line) == "" {
				t.Errorf("%q: header line of white space", subject)
			}
		}
	}
}

// parsed is a mail as a reader sees it.
type parsed struct {
	header     netmail.Header
	text, html string
}

func parseMail(t testing.TB, data []byte) parsed {
	t.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("parse mail: %v", err)
	}
	p := parsed{header: msg.Header}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatalf("Content-Type: %v", err)
	}
	if kind == "text/plain" {
		p.text = decodeQP(t, msg.Body)
		return p
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for _, want := range []string{"text/plain", "text/html"} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatalf("part %s: %v", want, err)
		}
		if got := part.Header.Get("Content-Type"); got != want+"; charset=UTF-8" {
			t.Fatalf("part is %q, want %s", got, want)
		}
		if body := decodeQP(t, part); want == "text/plain" {
			p.text = body
		} else {
			p.html = body
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Fatalf("after the last part: %v", err)
	}
	return p
}

func decodeQP(t testing.TB, r io.Reader) string {
	t.Helper()
	body, err := io.ReadAll(quotedprintable.NewReader(r))
	if err != nil {
		t.Fatalf("quoted-printable: %v", err)
	}
	return newlines(string(body))
}

// newlines makes all line ends LF, as quoted-printable does with them.
func newlines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// Either the mail is refused, or it has exactly the expected header fields, and its parts
// contain the given texts.
func FuzzCompose(f *testing.F) {
	f.Add(recipient, "subject", "text", "<p>html</p>", "id")
	f.Add(recipient+"\r\nBcc: x@example.com", "a\r\nBcc: x@example.com", "\r\n.\r\nMAIL FROM:<x@y.example>\r\n", "", "id")
	f.Add(`"a..b"@example.com`, "=?utf-8?q?=0d=0aBcc:_x?=", "\n.\n", "\r.\r", "\r\n")
	f.Add("jörg@bücher.example", "ü", "--=_boundary\r\nContent-Type: x", "--=_0--", "=_0")
	f.Add(recipient, "\u2028", "a\x00b\u0085", "<a href='x'>"+strings.Repeat("=", 80), "")
	f.Add(recipient, strings.Repeat("x ", 200)+" ", strings.Repeat("y", 5000), "\xff", "id")
	sender := composer(f)
	f.Fuzz(func(t *testing.T, to, subject, text, html, id string) {
		m := mail.Message{To: to, Subject: subject, Text: text, HTML: html, TaskID: id, Date: time.Unix(1e9, 0)}
		c, err := sender.Compose(m)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		checkWire(t, c.Bytes)
		got := parseMail(t, c.Bytes)
		want := []string{
			"Auto-Submitted", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Reply-To", "Subject",
			"To", "X-Auto-Response-Suppress", "X-Entity-Ref-Id",
		}
		if html == "" {
			want = append(want, "Content-Transfer-Encoding")
		}
		for name, values := range got.header {
			if !slices.Contains(want, name) || len(values) != 1 {
				t.Errorf("header field %s: %q", name, values)
			}
		}
		if len(got.header) != len(want) {
			t.Errorf("header %v", got.header)
		}
		if got.header.Get("To") != c.To.String() {
			t.Errorf("To %q, envelope %q", got.header.Get("To"), c.To)
		}
		if list, err := got.header.AddressList("To"); err != nil || len(list) != 1 {
			t.Errorf("To: %v, %v", list, err)
		}
		if s, err := new(mime.WordDecoder).DecodeHeader(got.header.Get("Subject")); err != nil || strings.TrimSpace(s) != strings.TrimSpace(subject) {
			t.Errorf("subject %q arrives as %q", subject, s)
		}
		if trimEnd(got.text) != trimEnd(newlines(text)) || trimEnd(got.html) != trimEnd(newlines(html)) {
			t.Errorf("text %q arrives as %q, HTML %q as %q", text, got.text, html, got.html)
		}
	})
}

// trimEnd leaves out the last line end, which belongs to the boundary.
func trimEnd(s string) string { return strings.TrimRight(s, "\n") }

// checkWire holds finished bytes to what RFC 5321 and 5322 ask of each.
func checkWire(t testing.TB, data []byte) {
	t.Helper()
	for line := range bytes.SplitSeq(data, []byte("\r\n")) {
		if bytes.ContainsAny(line, "\r\n\x00") || len(line) > 998 {
			t.Fatalf("line %q", line)
		}
	}
	if !bytes.HasSuffix(data, []byte("\r\n")) {
		t.Fatal("no line end at the end")
	}
}

// A server that takes LF.LF or LF.CRLF for the end of data must see one mail in
// each of these, and the whole of it.
func TestNoSmuggling(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{LenientEnd: true})
	sender := newSender(t, config(server))
	run(t, sender)
	ends := []string{"\r\n", "\n", "\r", "\n\r", "\r\r\n", "\u0085", "\u2028", "\x0b", "\x00"}
	n := 0
	for _, before := range ends {
		for _, after := range ends {
			text := "hello" + before + "." + after + "MAIL FROM:<evil@example.net>" + after + "RCPT TO:<x@example.com>" + after + "DATA"
			m := message()
			m.Text = text + before + "." + after + ".."
			m.HTML = "<pre>" + m.Text + "</pre>"
			composed, err := sender.Compose(m)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if _, err := sender.Send(t.Context(), m); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			n++
			mails := server.WaitMails(n)
			if got := mails[len(mails)-1]; len(mails) != n || !bytes.Equal(got.Data, composed.Bytes) {
				t.Fatalf("%q: %d mails for %d, last:\n%s", text, len(mails), n, got.Data)
			}
		}
	}
	for _, m := range server.Mails() {
		checkWire(t, m.Raw)
		if m.From != "mail@evently.example" || m.To != recipient {
			t.Errorf("mail from %q to %q", m.From, m.To)
		}
		for line := range bytes.SplitSeq(bytes.TrimSuffix(m.Raw, []byte("\r\n.\r\n")), []byte("\r\n")) {
			if bytes.Equal(line, []byte(".")) {
				t.Errorf("a lonely dot inside:\n%s", m.Raw)
			}
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	sender := composer(b)
	m := message()
	m.HTML = strings.Repeat("<p>The quick brown fox jumps over the lazy dog.</p>\n", 400) // 20 kB
	for b.Loop() {
		if _, err := sender.Compose(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	for _, tls := range []bool{false, true} {
		b.Run(fmt.Sprintf("TLS=%v", tls), func(b *testing.B) {
			server := smtptest.New(b, smtptest.Options{STARTTLS: tls})
			cfg := config(server)
			if tls {
				cfg.Security = mail.StartTLS
			}
			sender := newSender(b, cfg)
			run(b, sender)
			m := message()
			m.HTML = strings.Repeat("<p>The quick brown fox jumps over the lazy dog.</p>\n", 400)
			for b.Loop() {
				if _, err := sender.Send(context.Background(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
