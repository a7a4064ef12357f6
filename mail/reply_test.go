package mail

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/mail/internal/redact"
)

func TestCleanReply(t *testing.T) {
	t.Parallel()
	body := "Hello Jane,\n\nyour code is 482913 and your booking is BK-2026-XY77.\n"
	for in, want := range map[string]string{
		"2.0.0 Ok: queued as 4F3A12":                             "2.0.0 Ok: queued as 4F3A12",
		"two\nlines\r\n\tand  more":                              "two lines and more",
		"\x1b[31mred\x00\x07":                                    "[31mred",
		"bad \xff bytes":                                         "bad bytes",
		"<jane.roe@example.com>: unknown":                        "<j***@example.com>: unknown",
		"user=jane@example.com;x":                                "user=j***@example.com;x",
		"a@b.example,jane@example.com":                           "***j***@example.com",
		"spam: 482913":                                           "spam: ***",
		"spam: your code is 482913 and":                          "spam: ***",
		"see BK-2026-XY77":                                       "see BK-***-***",
		"no code 482914 in it":                                   "no code 482914 in it",
		"https://support.google.com/mail/?p=BadCredentials u1-2": "https://support.google.com/mail/?p=BadCredentials u1-2",
	} {
		if got := cleanReply(in, redact.Secrets{Quoted: []string{body, ""}}); got != want {
			t.Errorf("cleanReply(%q) = %q, want %q", in, got, want)
		}
	}
	if got := cleanReply("wrong: hunter2!", redact.Secrets{Login: []string{"hunter2!"}}); got != "wrong: ***" {
		t.Errorf("short secret: %q", got)
	}
	if got := cleanReply(strings.Repeat("ü", 1200), redact.Secrets{}); utf8.RuneCountInString(got) != maxReplyText+1 || !strings.HasSuffix(got, "ü…") {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

// An id at the server that shows a part of the mail or of the recipient is none.
func TestQueueID(t *testing.T) {
	t.Parallel()
	hide := redact.Secrets{Mail: []string{"482913"}, Login: []string{"hunter2!"}}
	to := Address{"jane.roe", "example.com"}
	for reply, want := range map[string]string{
		"2.0.0 Ok: queued as 4F3A12":                             "4F3A12",
		"2.0.0 Ok: queued as 202611290930.7@relay.example":       "202611290930.7@relay.example",
		"2.0.0 Ok: queued as 482913":                             "",
		"2.0.0 Ok: queued as A482913B":                           "",
		"2.0.0 Ok: queued as jane.roe@example.com":               "",
		"2.0.0 Ok: queued as 1-Jane.Roe@Example.com":             "",
		"2.0.0 Ok: queued as jane.roe1@example.com":              "",
		"2.0.0 Ok: queued as hunter2!":                           "",
		"2.0.0 Ok: queued as 4F3A12 " + strings.Repeat("x", 999): "4F3A12",
	} {
		if got := queueID(reply, to, hide); got != want {
			t.Errorf("queueID(%q) = %q, want %q", reply, got, want)
		}
	}
	if got := queueID("queued as roe1984", Address{"Roe1984", "example.com"}, hide); got != "" {
		t.Errorf("the name of the recipient is an id: %q", got)
	}
}

func TestCutEnhanced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code int
		in   string
		want [3]int
		rest string
	}{
		{550, "5.1.1 no such user", [3]int{5, 1, 1}, "no such user"},
		{550, "5.1.1", [3]int{5, 1, 1}, ""},
		{550, "5.1.10 x", [3]int{5, 1, 10}, "x"},
		{550, "5.1.1\nmore", [3]int{5, 1, 1}, "more "},
		{550, "4.1.1 other class", [3]int{}, "4.1.1 other class"},
		{550, "5.1 short", [3]int{}, "5.1 short"},
		{550, "5.1.1.1 long", [3]int{}, "5.1.1.1 long"},
		{550, "5.-1.1 x", [3]int{}, "5.-1.1 x"},
		{550, "5.1.1000 x", [3]int{}, "5.1.1000 x"},
		{550, "", [3]int{}, ""},
	} {
		if got, rest := cutEnhanced(tt.code, tt.in); got != tt.want || rest != tt.rest {
			t.Errorf("cutEnhanced(%d, %q) = %v, %q", tt.code, tt.in, got, rest)
		}
	}
}

// Codes are short, and servers repeat them in many forms.
func TestSecretsAreBlanked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ secret, in, want string }{
		{"KXQWZJ", "5.7.1 blocked word KXQWZJ in message", "5.7.1 blocked word *** in message"},
		{"KXQWZJ", "blocked word kxqwzj", "blocked word ***"},
		{"KXQWZJ", "blocked K X-Q.W:Z=J!", "blocked ***!"},
		{"KXQWZJ", "blockedKXQWZJword", "blocked***word"},
		{"x7q", "word x7q, <b>X7Q</b>", "word ***, <b>***</b>"},
		{"AB-12-CD", "AB-12-CD AB12CD ab 12 cd 12", "*** *** *** ***"},
		{"AB-12-CD", "the part CD was found", "the part *** was found"},
		{"4829 13", "4829 13, 482913, 4829, x 13, 48-29-13", "***, ***, ***, x ***, ***"},
		{"a&b<c", "a&amp;b&lt;c a%26b%3Cc a&b<c YSZiPGM=", "*** *** *** ***"},
		{"7", "Q7 and 7", "Q*** and ***"},
		{"--", "a -- b", "a *** b"},
		{"١٢٣", "code ١٢٣.", "code ***."},
		{"482913", strings.Repeat("x", 297) + "482913", strings.Repeat("x", 297) + "***"},
		{"482913", strings.Repeat("x ", 1198) + "482913 y", strings.Repeat("x ", 150) + "…"},
		{"482913", strings.Repeat(" ", 2395) + "482913 y", ""},
		{"482913", "nothing of it", "nothing of it"},
		{"", "nothing hidden", "nothing hidden"},
	} {
		if got := cleanReply(tt.in, redact.Secrets{Mail: []string{tt.secret}}); got != tt.want {
			t.Errorf("%q in %.60q: %q, want %q", tt.secret, tt.in, got, tt.want)
		}
	}
	// The words of a password may be words of the server, but the password is removed.
	login := redact.Secrets{Login: []string{" correct is-it horse\n"}}
	if got := cleanReply("it is: correct is-it horse, Horse", login); got != "it is: ***, ***" {
		t.Errorf("password: %q", got)
	}
}

func TestDelayInReply(t *testing.T) {
	t.Parallel()
	// A final reply asks for no delay.
	e := &SendError{}
	e.setReply(550, [3]int{5, 7, 1}, "greylisted, try again in 5 minutes", redact.Secrets{})
	if e.RetryAfter != 0 || e.Greylisted {
		t.Errorf("a final reply: %+v", e)
	}
	// A secret may be part of the delay.
	e.setReply(421, [3]int{4, 7, 0}, "try again in 4821 seconds", redact.Secrets{Mail: []string{"4821"}})
	if e.RetryAfter != time.Hour || e.Text != "try again in *** seconds" {
		t.Errorf("a time like a code: %v, %q", e.RetryAfter, e.Text)
	}
}

// A clean reply contains no long part of the message and no part of a secret.
func FuzzCleanReply(f *testing.F) {
	f.Add("554 spam: 482913", "your code is 482913", "482913")
	f.Add("<a@b@c>", "\xff", "a@")
	f.Add(strings.Repeat("x", 500), strings.Repeat("x", 17), "x")
	f.Add("A\u0130b \xff\u212a k", "", "k\u0130")
	f.Fuzz(func(t *testing.T, text, message, secret string) {
		got := cleanReply(text, redact.Secrets{Quoted: []string{message}})
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") || len(got) > 8*maxReplyText {
			t.Errorf("%q", got)
		}
		for i := 0; i+redact.MaxQuoted <= len(got); i++ {
			part := got[i : i+redact.MaxQuoted]
			// The mask may be part of the message.
			if strings.Contains(message, part) && !strings.Contains(part, "*") {
				t.Errorf("%q of the message in %q", part, got)
			}
		}
		got = cleanReply(text, redact.Secrets{Mail: []string{secret}})
		if secret = strings.TrimSpace(secret); secret != "" && utf8.ValidString(secret) && !strings.ContainsAny(secret, "*…") && strings.Contains(got, secret) {
			t.Errorf("the secret %q is in %q", secret, got)
		}
	})
}
