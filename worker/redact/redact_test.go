package redact_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

func TestNames(t *testing.T) {
	r := redact.New("card number", "Kundennummer")
	for name, secret := range map[string]bool{
		"otp": true, "OTP": true, "otpCode": true, "otp_code": true, "OTPCode": true, "verification-code": true, "codes": true,
		"token": true, "accesstoken": true, "resetToken": true, "user_password": true, "userpassword": true, "api_key": true,
		"apiKey": true, "X-Api-Key": true, "Authorization": true, "cardNumber": true, "card_numbers": true, "kundennummer": true,
		"pin": true, "client_secret": true,
		"email": false, "decode": false, "encoded": false, "spinning": false, "key": false, "monkey": false, "username": false,
		"optimal": false, "card": false, "": false, "shopping": false,
	} {
		if got := r.Secret(name); got != secret {
			t.Errorf("%s: secret is %v", name, got)
		}
	}
}

func TestValues(t *testing.T) {
	r := redact.New()
	for raw, want := range map[string]string{
		`[5, {"z": 3}]`: `[5, {"z": 3}]`,
		`[{"email": "ann.lee@example.org", "otp": "123456", "n": 1.0}]`: `[{"email": "a***@example.org", "otp": "[redacted]", "n": 1.0}]`,
		`{"otp": 123456, "token": null, "has_code": true, "code": ""}`:  `{"otp": "[redacted]", "token": null, "has_code": true, "code": ""}`,
		`{"codes": [1, 2], "secret": {"a": 1}}`:                         `{"codes": "[redacted]", "secret": "[redacted]"}`,
		`"your code: 123456"`:                                           `"your code: [redacted]"`,
		`{"a@example.org": 1}`:                                          `{"***@example.org": 1}`,
		`NaN`:                                                           `NaN`,
		`{"broken`:                                                      `"[redacted]"`,
		``:                                                              `"[redacted]"`,
	} {
		if got := string(r.Value(protocol.Raw(raw))); got != want {
			t.Errorf("%s became %s, want %s", raw, got, want)
		}
	}
	deep := strings.Repeat("[", 500) + `"4711"` + strings.Repeat("]", 500)
	if got := string(r.Value(protocol.Raw(deep))); strings.Contains(got, "4711") {
		t.Error("what lies too deep is shown")
	}
}

func TestArgs(t *testing.T) {
	r := redact.New()
	got := string(r.Args(protocol.Raw(`["ann@example.org", "123456", 7]`), []string{"email", "otp"}))
	if want := `["a***@example.org", "[redacted]", 7]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnnamed(t *testing.T) {
	r := redact.New().Unnamed()
	for args, want := range map[string]string{
		`[{"otp": "123456", "name": "kofi", "list": ["654321", {"n": 1}]}]`: `[{"otp": "[redacted]", "name": "kofi", "list": ["[redacted]", {"n": 1}]}]`,
		`["a@example.org", "123456", null, 123456, [["123456"]]]`:           `["[redacted]", "[redacted]", null, "[redacted]", [["[redacted]"]]]`,
	} {
		if got := string(r.Args(protocol.Raw(args), []string{"data"})); got != want {
			t.Errorf("%s became %s, want %s", args, got, want)
		}
	}
	if got, want := string(r.Value(protocol.Raw(`{"data": "123456", "more": {"x": "y"}}`))), `{"data": "[redacted]", "more": {"x": "y"}}`; got != want {
		t.Errorf("keywords became %s, want %s", got, want)
	}
	secrets := append(r.Secrets(protocol.Raw(`["1234", [567890], {"x": "shown"}]`), nil), r.Secrets(protocol.Raw(`{"data": "123456", "more": {"x": "y"}}`), nil)...)
	if want := []string{"1234", "567890", "123456"}; !slices.Equal(secrets, want) {
		t.Errorf("secrets are %q, want %q", secrets, want)
	}
}

func TestText(t *testing.T) {
	r := redact.New()
	for text, want := range map[string]string{
		"nothing to see: 17":                        "nothing to see: 17",
		"{'otp': '123456', 'n': 1}":                 "{'otp': '[redacted]', 'n': 1}",
		`{"user_token": "a\"b c", "n": 1}`:          `{"user_token": "[redacted]", "n": 1}`,
		"[{'a': 1, 'otp': '12345...":                "[{'a': 1, 'otp': '[redacted]'",
		"otp=123456&user=7":                         "otp=[redacted]&user=7",
		"Password : hunter2, user: ann":             "Password : [redacted], user: ann",
		"apiKey=>abc)":                              "apiKey=>[redacted])",
		"decode: failed":                            "decode: failed",
		"token: None":                               "token: None",
		"mail to bob@mail.example.org bounced":      "mail to b***@mail.example.org bounced",
		"redis://:pw@host:6379/0 and x://u:p@h/":    "redis://:[redacted]@host:6379/0 and x://u:[redacted]@h/",
		"worker@host may be an address":             "w***@host may be an address",
		"to ab@x and a@[1.2.3.4]":                   "to ***@x and ***@[1.2.3.4]",
		"redis://:p@ss?w/rd@host:6379/0, a":         "redis://:[redacted]@host:6379/0, a",
		"ValueError(\"secret: 'a b'\")":             "ValueError(\"secret: '[redacted]'\")",
		"the otp 991122 was wrong":                  "the otp [redacted] was wrong",
		"expected 991122, got 991123 for 991122":    "expected [redacted], got 991123 for [redacted]",
		"\u00fcmit@ex\u00e4mple.com and a@b.c, d@e": "\u00fc***@ex\u00e4mple.com and ***@b.c, ***@e",
	} {
		if got := r.Text(text, "991122"); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestSecretsAreFoundElsewhere(t *testing.T) {
	r := redact.New()
	secrets := r.Secrets(protocol.Raw(`["s3cret-value", {"otp": 123456, "codes": ["abcd", "x"], "email": "a@b.org"}]`), []string{"token"})
	if got := strings.Join(secrets, " "); got != "s3cret-value 123456 abcd" {
		t.Errorf("found %q", got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add(`[{"otp": "123456"}]`, "123456")
	f.Add(`{"a": {"token": ["0xdeadbeef"]}}`, "otp: '")
	f.Fuzz(func(t *testing.T, raw, secret string) {
		r := redact.New()
		_ = r.Text(raw, secret)
		v := r.Value(protocol.Raw(raw))
		var x any
		if err := protocol.Unmarshal(v, &x); err != nil {
			t.Fatalf("%q became %q, which is no JSON: %v", raw, v, err)
		}
		object, err := protocol.Marshal(map[string]any{"x": []any{map[string]any{"otp": secret}}})
		if err != nil || len(secret) < 8 || strings.Contains(`{"x": [{"otp": "[redacted]"}]}`, secret) {
			return
		}
		if got := string(r.Value(object)); strings.Contains(got, secret) {
			t.Errorf("%q is in %s", secret, got)
		}
	})
}

// Secrets are found in any quotes, inside other texts, and in values that were cut.
func TestSecretsInTexts(t *testing.T) {
	r := redact.New()
	for secret, texts := range map[string][]string{
		`Tr0ub4dor\3`:                      {`wrong: Tr0ub4dor\3`, `ValueError('wrong: Tr0ub4dor\\3')`, `{"x": "Tr0ub4dor\\3"}`},
		`it's "so"`:                        {`it's "so"`, `'it\'s "so"'`, `"it's \"so\""`},
		"two\nlines":                       {"two\nlines", `'two\nlines'`},
		"Müller7":                          {"Müller7", `"M\u00fcller7"`},
		"3f2504e04f8911d39a0c0305e82c3301": {"UUID('3f2504e0-4f89-11d3-9a0c-0305e82c3301')"},
	} {
		for _, text := range texts {
			if got := r.Text(text, secret); !strings.Contains(got, redact.Mark) || strings.Contains(got, text) {
				t.Errorf("%s became %s", text, got)
			}
		}
	}
	if got := r.Text("1234567 and 1234", "1234", "1234567"); strings.ContainsAny(got, "1234567") {
		t.Errorf("a part of a secret is left: %s", got)
	}
	long := strings.Repeat("0123456789", 1000)
	if got := string(r.Bounded(2000).Value(protocol.Raw(`{"note": "`+strings.Repeat("x", 3000)+long+`"}`), long)); strings.Contains(got, "012345") {
		t.Error("a secret that crosses the cut is left in part")
	}
	many := `[` + strings.Repeat(`"some text", `, 100_000) + `"end"]`
	if got := r.Bounded(2000).Value(protocol.Raw(many)); len(got) > 3000 || !strings.HasSuffix(string(got), `"..."]`) {
		t.Errorf("%d bytes are written of a value that is bounded by 2000, the last %s", len(got), got[max(0, len(got)-20):])
	}
}

// The arguments of a signature have no names at any place.
func TestSignatures(t *testing.T) {
	r := redact.New()
	got := string(r.Value(protocol.Raw(`{"chord": {"task": "otp.send", "args": ["ann", "991122", {"code": "1"}], "kwargs": {"n": 1, "otp": "3"}}}`)))
	if want := `{"chord": {"task": "otp.send", "args": ["[redacted]", "[redacted]", {"code": "[redacted]"}], "kwargs": {"n": 1, "otp": "[redacted]"}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if secrets := r.Secrets(protocol.Raw(`[{"task": "t", "args": ["991122"]}]`), nil); !slices.Equal(secrets, []string{"991122"}) {
		t.Errorf("secrets are %q", secrets)
	}
}

// With more secrets than can be looked for, all text is hidden: a message may have
// millions of values.
func TestMoreSecretsThanAreLookedFor(t *testing.T) {
	r := redact.New()
	var args strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&args, `, "secret-%05d"`, i)
	}
	raw := protocol.Raw(`{"password": [` + args.String()[2:] + `], "name": "visible"}`)
	secrets := r.Secrets(raw, nil)
	if len(secrets) < 10_000 || len(secrets) > 10_100 {
		t.Fatalf("%d secrets gathered, want them to end soon after 10,000", len(secrets))
	}
	if got := r.Text("it was secret-19999", secrets...); got != redact.Mark {
		t.Errorf("text is %q, want it hidden", got)
	}
	if got := string(r.Value(protocol.Raw(`{"a": "secret-19999", "n": 1}`), secrets...)); strings.Contains(got, "19999") || !strings.Contains(got, "1}") {
		t.Errorf("value is %s", got)
	}
}
