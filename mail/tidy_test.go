package mail_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/mail"
)

func TestTidyAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"jane@example.com":                             "jane@example.com",
		" jane@example.com\r\n":                        "jane@example.com",
		"\ufeffjane@example.com":                       "jane@example.com",
		"jane\u200b@exam\u00adple.com\u200c":           "jane@example.com",
		"\u202ajane@example.com\u202c":                 "jane@example.com",
		"\u00a0jane@example.com\u3000":                 "jane@example.com",
		"ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ":                             "jane@example.com",
		"jane@example。co｡jp":                           "jane@example.co.jp",
		"mailto:jane@example.com":                      "jane@example.com",
		"MAILTO:jane@example.com?subject=hi@example.x": "jane@example.com",
		"Mailto:jane@example.com?subject=hi":           "jane@example.com",
		"<jane@example.com>":                           "jane@example.com",
		"<mailto:jane@example.com>":                    "jane@example.com",
		"Jane Roe <jane@example.com>":                  "jane@example.com",
		`"Roe, Jane" <jane@example.com>`:               "jane@example.com",
		"=?utf-8?q?J=C3=B6rg?= < joerg@example.com >":  "joerg@example.com",
		"用户@例え.jp":                                     "用户@例え.jp",
		"jane@ن\u200cن.example":                        "jane@ن\u200cن.example", // a joiner of its script
		"a..b@docomo.ne.jp":                            "a..b@docomo.ne.jp",
		"jane@example.com;":                            "jane@example.com",
		"jane@example.com, ":                           "jane@example.com",
		`"jane@example.com"`:                           "jane@example.com",
		"'jane@example.com'":                           "jane@example.com",
		`"a..b"@docomo.ne.jp`:                          `"a..b"@docomo.ne.jp`,
		"'jane@example.com":                            "'jane@example.com",

		// For ParseAddress to refuse.
		"":                                              "",
		"jane roe@example.com":                          "jane roe@example.com",
		"ja\nne@example.com":                            "ja\nne@example.com",
		"a@example.com, b@example.com":                  "a@example.com, b@example.com",
		"a@example.com, <b@example.com>":                "a@example.com, <b@example.com>",
		"a@example.com> RCPT TO:<x@example.com>":        "a@example.com> RCPT TO:<x@example.com>",
		"<a@example.com><b@example.com>":                "<a@example.com><b@example.com>",
		`"a@example.com" <b@example.com>`:               `"a@example.com" <b@example.com>`,
		"a\r\nBcc: <b@example.com>":                     "a\r\nBcc: <b@example.com>",
		"group: <a@example.com>;":                       "group: <a@example.com>;",
		"jane@example.com (Jane)":                       "jane@example.com (Jane)",
		"jane\xff@example.com":                          "jane\xff@example.com",
		strings.Repeat("\u200b", 9999) + "@example.com": strings.Repeat("\u200b", 9999) + "@example.com",
	} {
		got := mail.TidyAddress(in)
		if got != want {
			t.Errorf("TidyAddress(%q) = %q, want %q", in, got, want)
		}
	}
}

// A tidy address is unchanged, and an address never becomes another one.
func FuzzTidyAddress(f *testing.F) {
	for _, in := range hostileAddresses() {
		f.Add(in)
	}
	f.Add("\ufeffJane <mailto:jane@example.com?subject=x>")
	f.Fuzz(func(t *testing.T, in string) {
		tidy := mail.TidyAddress(in)
		if a, err := mail.ParseAddress(in); err == nil {
			if b, err := mail.ParseAddress(tidy); err != nil || a != b {
				t.Errorf("%q is %q, and %q, %v after TidyAddress", in, a, b, err)
			}
		}
		if a, err := mail.ParseAddress(tidy); err == nil {
			if again, err := mail.ParseAddress(mail.TidyAddress(tidy)); err != nil || again != a {
				t.Errorf("%q is %q, then %q, %v", in, a, again, err)
			}
		}
	})
}
