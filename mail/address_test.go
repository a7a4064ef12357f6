package mail_test

import (
	"errors"
	netmail "net/mail"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/mail"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64)
	for in, want := range map[string]string{
		"jane@example.com":                      "jane@example.com",
		"Jane.Roe+tag@Example.COM":              "Jane.Roe+tag@example.com",
		"!#$%&'*+-/=?^_`{|}~@example.com":       "!#$%&'*+-/=?^_`{|}~@example.com",
		"1@2.example":                           "1@2.example",
		"o'neil@mail-1.example.co.uk":           "o'neil@mail-1.example.co.uk",
		`"jane"@example.com`:                    `"jane"@example.com`,
		`"jane..roe."@docomo.example`:           `"jane..roe."@docomo.example`,
		"jane@bücher.example":                   "jane@xn--bcher-kva.example",
		"jane@BÜCHER.example":                   "jane@xn--bcher-kva.example",
		"jane@xn--bcher-kva.example":            "jane@xn--bcher-kva.example",
		"jane@faß.example":                      "jane@xn--fa-hia.example",
		"jörg@bücher.example":                   "jörg@xn--bcher-kva.example",
		"jo\u0308rg@bu\u0308cher.example":       "jörg@xn--bcher-kva.example", // NFD
		"jane@BU\u0308CHER.example":             "jane@xn--bcher-kva.example",
		"jane@example.com.":                     "jane@example.com",
		"jane@example\u3002com":                 "jane@example.com",
		"jane@mail\uff0eexample\uff61com":       "jane@mail.example.com",
		"a..b@docomo.ne.jp":                     `"a..b"@docomo.ne.jp`,
		"a.@docomo.ne.jp":                       `"a."@docomo.ne.jp`,
		".a...b-c.@ezweb.ne.jp":                 `".a...b-c."@ezweb.ne.jp`,
		"用户@例え.jp":                              "用户@xn--r8jz45g.jp",
		long + "@example.com":                   long + "@example.com",
		"a@" + strings.Repeat("y.", 120) + "de": "a@" + strings.Repeat("y.", 120) + "de",
	} {
		got, err := mail.ParseAddress(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", in, got, err, want)
		}
		if got.UTF8() != strings.ContainsAny(got.Local, "ö用") {
			t.Errorf("%q: UTF8 %v", in, got.UTF8())
		}
	}
}

func hostileAddresses() []string {
	return []string{
		"", " ", "@", "a@", "@example.com", "jane", "jane@example", "jane@localhost", "jane@@example.com", "a@b@example.com",
		" jane@example.com", "jane@example.com ", "jane @example.com", "jane@ example.com", "jane@example.com\x00",
		"jane@example.com\r\n", "jane\r\n@example.com", "jane@example.com\r\nBcc: x@example.com", "\"a\r\nb\"@example.com",
		"<jane@example.com>", "Jane <jane@example.com>", "jane@example.com> RCPT TO:<x@example.com", "a@example.com> SIZE=1 X=<",
		"a@example.com,b@example.com", "a@example.com;b@example.com", "a@b.example,evil@example.com", "group: a@example.com;",
		"@relay.example:jane@example.com", "jane%relay.example@", "(comment)jane@example.com", "jane(comment)@example.com",
		"jane@example.com(comment)", "jane@(x)example.com", "jane@[127.0.0.1]", "jane@[IPv6:::1]", "jane@127.0.0.1", "jane@1.2.3",
		"jane@::1", ".@example.com", "..@example.com", `"."@example.com`, "jane@.example.com", "jane@example..com",
		"jane@example.com..", "jane@.", "jane@-example.com", "jane@example-.com", "jane@exa_mple.com", "jane@exa mple.com", "jane@example.com/x",
		`""@example.com`, `"a b"@example.com`, `"a\"b"@example.com`, `"a\b"@example.com`, `"a@b"@example.com`, `"a,b"@example.com`,
		`"a<b>"@example.com`, `"@example.com`, `"a@example.com`, `a"@example.com`, `a"b"@example.com`, `"a"."b"@example.com`,
		`"toni.tester@example.com> ORCPT=admin@admin.example"@example.com`, "a:b@example.com", "a\tb@example.com", "a\x7fb@example.com",
		strings.Repeat("x", 65) + "@example.com", "a@" + strings.Repeat("y", 64) + ".com", "a@" + strings.Repeat("y.", 130) + "de",
		strings.Repeat("x", 10_000) + "@example.com", "a@" + strings.Repeat("ü", 5000) + ".de",
		"jane\u200b@example.com", "jane\u202e@example.com", "jane\u00a0@example.com", "jane\u2028@example.com", "jane\uff20x@example.com",
		"ﬁ@example.com", "jane@example.com\u200b", "jane@exa\u2100mple.com", "jane@example\u3002\u3002com", "jane@\uff45xample.com", "jane@xn--a.example", "jane@xn--.example", "jane\xff@example.com",
		"jane\u034f@example.com", "jane\ufffd@example.com", "jane\ufe0f@example.com", "ja\u115fne@example.com", "\u3164@example.com", "\u2800jane@example.com", "\u0301jane@example.com", "jane\U000e0101@example.com",
		"jane@\xff.com", "=?utf-8?q?a?= <a@example.com>",
	}
}

func TestParseAddressRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range hostileAddresses() {
		got, err := mail.ParseAddress(in)
		refused, ok := errors.AsType[*mail.AddressError](err)
		if !ok || !errors.Is(err, mail.ErrAddress) || got != (mail.Address{}) {
			t.Errorf("ParseAddress(%q) = %q, %v; want an AddressError", in, got, err)
			continue
		}
		if refused.Reason == "" || len(err.Error()) > 200 {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// net/mail parses every accepted address as the same single address.
func FuzzParseAddress(f *testing.F) {
	for _, in := range hostileAddresses() {
		f.Add(in)
	}
	f.Add("jane@example.com")
	f.Add(`"a..b"@bücher.example`)
	f.Fuzz(func(t *testing.T, in string) {
		masked := mail.MaskAddress(in)
		if !utf8.ValidString(masked) || utf8.RuneCountInString(masked) > 70 || strings.ContainsFunc(masked, unsafe) {
			t.Errorf("MaskAddress(%q) = %q", in, masked)
		}
		got, err := mail.ParseAddress(in)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		s := got.String()
		if len(s) > 254 || strings.Count(s, "@") != 1 || strings.ContainsAny(s, " <>()[],;:\\\r\n") || strings.ContainsFunc(s, unsafe) {
			t.Errorf("ParseAddress(%q) = %q", in, s)
		}
		reference, err := netmail.ParseAddress(s)
		if err != nil || reference.Name != "" || reference.Address != strings.ReplaceAll(s, `"`, "") {
			t.Errorf("net/mail reads %q as %v, %v", s, reference, err)
		}
		list, err := netmail.ParseAddressList(s)
		if err != nil || len(list) != 1 {
			t.Errorf("net/mail reads %q as %v, %v", s, list, err)
		}
		again, err := mail.ParseAddress(s)
		if err != nil || again != got {
			t.Errorf("%q is %q, again %q, %v", in, s, again, err)
		}
	})
}

func unsafe(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == utf8.RuneError }

func TestMaskAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"jane.roe@example.com":            "j***@example.com",
		"j@example.com":                   "***@example.com",
		"jo@example.com":                  "***@example.com",
		"joe@example.com":                 "j***@example.com",
		"ab@x":                            "***@x",
		"öß@example.com":                  "***@example.com",
		"jörg@bücher.example":             "j***@bücher.example",
		"örg@example.com":                 "ö***@example.com",
		"a@b@example.com":                 "a***@example.com",
		"":                                "***",
		"jane":                            "***",
		"482913":                          "***",
		"@example.com":                    "***@example.com",
		"jane@":                           "j***@***",
		`"jane"@example.com`:              "***@example.com",
		"jane@example.com\r\nBcc: x":      "j***@***",
		"\r\n@example.com":                "***@example.com",
		"jane@" + strings.Repeat("x", 99): "j***@***",
		"\xff@\xff":                       "***@***",
	} {
		if got := mail.MaskAddress(in); got != want {
			t.Errorf("MaskAddress(%q) = %q, want %q", in, got, want)
		}
	}
}
