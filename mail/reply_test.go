package mail

import (
	"strings"
	"testing"
	"unicode/utf8"
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
		if got := cleanReply(in, body, ""); got != want {
			t.Errorf("cleanReply(%q) = %q, want %q", in, got, want)
		}
	}
	if got := cleanReply("wrong: hunter2!", "hunter2!"); got != "wrong: ***" {
		t.Errorf("short secret: %q", got)
	}
	if got := cleanReply(strings.Repeat("ü", 9999)); utf8.RuneCountInString(got) != maxReplyText+1 || !strings.HasSuffix(got, "ü…") {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
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

// Nothing of the message that is worth a name gets through, whatever the server
// makes of it.
func FuzzCleanReply(f *testing.F) {
	f.Add("554 spam: 482913", "your code is 482913")
	f.Add("<a@b@c>", "\xff")
	f.Add(strings.Repeat("x", 500), strings.Repeat("x", 17))
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := cleanReply(text, secret)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") || len(got) > 8*maxReplyText {
			t.Errorf("%q", got)
		}
		for i := 0; i+maxShared <= len(got); i++ {
			part := got[i : i+maxShared]
			// What the masking itself writes may happen to be in the secret.
			if strings.Contains(secret, part) && !strings.Contains(part, "*") {
				t.Errorf("%q of the secret in %q", part, got)
			}
		}
	})
}
