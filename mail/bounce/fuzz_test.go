package bounce_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/mail/bounce"
)

// checkMessage reports what no message may lead to, however hostile it is.
func checkMessage(t *testing.T, msg bounce.Message) {
	t.Helper()
	kinds := []bounce.Kind{bounce.Failed, bounce.Delayed, bounce.Delivered, bounce.Complaint, bounce.AutoReply, bounce.Unrelated}
	if !slices.Contains(kinds, msg.Kind) {
		t.Errorf("kind %q", msg.Kind)
	}
	if len(msg.Recipients) > bounce.MaxRecipients {
		t.Errorf("%d recipients", len(msg.Recipients))
	}
	if msg.Kind == bounce.Failed && !slices.ContainsFunc(msg.Recipients, func(r bounce.Recipient) bool { return r.Action == bounce.ActionFailed }) {
		t.Error("failed, but no recipient failed")
	}
	for _, r := range msg.Recipients {
		if r.Action == bounce.ActionFailed && msg.Kind != bounce.Failed {
			t.Errorf("a recipient of a %s message failed", msg.Kind)
		}
		if (r.Class != "") != (r.Action == bounce.ActionFailed || msg.Kind == bounce.Complaint) {
			t.Errorf("class %q of a %q recipient", r.Class, r.Action)
		}
		if !strings.Contains(r.Address, "@") {
			t.Errorf("address %q", r.Address)
		}
		for _, s := range []string{r.Address, r.Original, r.RemoteMTA} {
			checkField(t, s)
		}
		if utf8.RuneCountInString(r.Diagnostic) > 300 || strings.ContainsFunc(r.Diagnostic, unicode.IsControl) || !utf8.ValidString(r.Diagnostic) {
			t.Errorf("diagnostic %q", r.Diagnostic)
		}
	}
	for _, s := range []string{msg.MessageID, msg.EnvelopeID, msg.ReportingMTA, msg.ReturnPath, msg.FeedbackType} {
		checkField(t, s)
	}
}

func checkField(t *testing.T, s string) {
	t.Helper()
	if len(s) > 320 || strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
		t.Errorf("field %.100q of %d octets", s, len(s))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(report)
	for _, c := range readCorpus(f) {
		f.Add(c.raw)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkMessage(t, parse(t, raw)) })
}

// hostile holds messages of any size that a slow parser would choke on.
var hostile = map[string]func(size int) string{
	"header lines":  func(n int) string { return strings.Repeat("A: b\n", n/5) },
	"folded lines":  func(n int) string { return "Subject: x\n" + strings.Repeat(" x\n", n/3) },
	"one line":      func(n int) string { return "From: MAILER-DAEMON\n\n" + strings.Repeat("a", n) },
	"encoded words": func(n int) string { return "Subject: " + strings.Repeat("=?utf-8?q?a?= ", n/14) + "\n\n" },
	"at signs":      func(n int) string { return "From: MAILER-DAEMON\n\n" + strings.Repeat("@", n) },
	"long local": func(n int) string {
		return "From: MAILER-DAEMON\n\n" + strings.Repeat("a", n/2) + "@" + strings.Repeat("b", n/2)
	},
	"addresses": func(n int) string { return "From: MAILER-DAEMON\n\nundeliverable\n" + numbered("u%d@example.com\n", n) },
	"long line": func(n int) string {
		return "From: MAILER-DAEMON\n\n" + numbered("u%d@example.com\n", 2000) + "\n" + numbered("u%d@example.org is unknown, ", n)
	},
	"many in a line": func(n int) string {
		return "From: MAILER-DAEMON\n\n" + strings.Repeat("550 ", 500) + numbered("sent to u%d@example.org, ", n)
	},
	"failed header": func(n int) string {
		return "From: MAILER-DAEMON\nX-Failed-Recipients: " + numbered("u%d@example.com,\n ", n) + "\n\n"
	},
	"brackets": func(n int) string { return "From: MAILER-DAEMON\n\n" + strings.Repeat("<", n) },
	"open tags": func(n int) string {
		return "From: MAILER-DAEMON\nContent-Type: text/html\n\n" + strings.Repeat("<style <!-- <a ", n/15)
	},
	"carriage":      func(n int) string { return "From: a\r\r" + strings.Repeat("\r", n) },
	"parts":         func(n int) string { return multipart + strings.Repeat("--b\n\nx\n", n/8) },
	"boundaries":    func(n int) string { return multipart + strings.Repeat("--b\n", n/4) },
	"near boundary": func(n int) string { return multipart + strings.Repeat("--bb\n", n/5) },
	"hyphens":       func(n int) string { return "Content-Type: multipart/mixed\n\n" + strings.Repeat("--\n", n/3) },
	"depth":         func(n int) string { return nested(n / 60) },
	"recipients": func(n int) string {
		return reportOf(numbered("Final-Recipient: rfc822; u%d@example.com\nAction: failed\n\n", n))
	},
	"one recipient": func(n int) string {
		return reportOf("Final-Recipient: rfc822; a@example.com\nAction: failed\n" + strings.Repeat("Status: 5.1.1\n", n/14))
	},
	"diagnostic": func(n int) string {
		return reportOf("Final-Recipient: rfc822; a@example.com\nAction: failed\nDiagnostic-Code: smtp; " + strings.Repeat("550-5.1.1 x\n ", n/13))
	},
	"base64": func(n int) string { return "Content-Transfer-Encoding: base64\n\n" + strings.Repeat("QUJD\n", n/5) },
	"quoted": func(n int) string {
		return "From: MAILER-DAEMON\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("=\n", n/2)
	},
	"xtext":        func(n int) string { return reportOf("Original-Envelope-Id: " + strings.Repeat("+2B", n/3)) },
	"content type": func(n int) string { return "Content-Type: text/plain; " + strings.Repeat("a=\"b\\\"; ", n/9) + "\n\n" },
	"urls": func(n int) string {
		return "From: MAILER-DAEMON\n\na@example.com: 550 " + strings.Repeat("http://", n/7)
	},
	"dots":           func(n int) string { return "From: MAILER-DAEMON\n\na@example.com: 550 " + strings.Repeat("a.", n/2) },
	"nul":            func(n int) string { return strings.Repeat("\x00", n) },
	"escape":         func(n int) string { return "From: MAILER-DAEMON\n\n" + strings.Repeat("\x1b$B", n/3) },
	"labels":         func(n int) string { return "From: MAILER-DAEMON\n\n" + strings.Repeat("sent to the to the to ", n/22) },
	"status numbers": func(n int) string { return "From: MAILER-DAEMON\n\na@example.com: " + strings.Repeat("550 5.1.", n/8) },
}

const multipart = "From: MAILER-DAEMON\nContent-Type: multipart/mixed; boundary=b\n\n"

func numbered(format string, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	return b.String()
}

func reportOf(fields string) string {
	return "From: MAILER-DAEMON\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n" + fields + "\n--b--\n"
}

func TestHostileMessages(t *testing.T) {
	t.Parallel()
	for name, make := range hostile {
		for _, size := range []int{100, 10_000, 300_000, bounce.MaxSize + 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel()
				checkMessage(t, parse(t, make(size)))
			})
		}
	}
}

// A message of four times the size takes about four times as long, and never sixteen times. Times
// below a fifth of a second prove nothing.
func TestParseIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("measures times")
	}
	for name, make := range hostile {
		small, large := make(bounce.MaxSize/4), make(bounce.MaxSize)
		ratio := 0.0
		for range 5 { // a busy machine disturbs single measurements
			took := duration(t, large)
			if ratio = float64(took) / float64(duration(t, small)); ratio < 10 || took < time.Second/5 {
				ratio = 0
				break
			}
		}
		if ratio >= 10 {
			t.Errorf("%s: four times the size takes %.1f times as long", name, ratio)
		}
	}
}

// duration returns the time that parsing takes.
func duration(t *testing.T, raw string) time.Duration {
	t.Helper()
	start := time.Now()
	parse(t, raw)
	return time.Since(start)
}
