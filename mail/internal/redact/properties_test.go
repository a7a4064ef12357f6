package redact_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/evently/workers/mail/internal/redact"
)

// Replies as servers write them, with %s where they repeat what was sent.
var replies = []string{
	"550 5.1.1 <%s>: Recipient address rejected: User unknown",
	"535 5.7.8 Error: authentication failed for %s",
	"554 5.7.1 Message contains a blocked text (%s). Contact postmaster@example.com",
	"450-4.7.1 Greylisted\r\n450 4.7.1 %s, try again in 300 seconds",
	"%s",
}

// No reply shows a secret in any place, and words about another subject stay.
func TestRepliesWithoutSecrets(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"482913", "Sommer2026!", "pässwört-1", "a1b2c3d4e5f6", "correct horse battery staple"} {
		process, _ := redact.NewSecret(secret)
		for kind, s := range map[string]redact.Secrets{
			"of the mail": {Mail: []string{secret}}, "of the login": {Login: []string{secret}}, "of the process": {Process: []redact.Secret{process}},
			"quoted": {Quoted: []string{"Your text: " + secret + ". It is valid for ten minutes."}},
		} {
			for _, reply := range replies {
				text := s.Text(fmt.Sprintf(reply, secret))
				if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) && (kind != "quoted" || len(secret) >= redact.MaxQuoted) {
					t.Errorf("%s: %q shows %q", kind, text, secret)
				}
				if clean := fmt.Sprintf(reply, "x"); s.Text(clean) != clean {
					t.Errorf("%s: %q became %q", kind, clean, s.Text(clean))
				}
			}
		}
	}
}

// An error without secrets stays the same error, and one with secrets wraps it.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := redact.Secrets{Mail: []string{"482913"}}
	if s.Error(nil) != nil {
		t.Error("nil became an error")
	}
	if err := s.Error(io.EOF); err != io.EOF {
		t.Errorf("io.EOF became %v", err)
	}
	err := s.Error(fmt.Errorf("bad code 482913: %w", io.EOF))
	if !errors.Is(err, io.EOF) || err.Error() != "bad code "+redact.Mask+": EOF" {
		t.Errorf("error %v", err)
	}
}

// Join keeps the secrets of all kinds.
func TestJoin(t *testing.T) {
	t.Parallel()
	process, _ := redact.NewSecret("process-secret")
	past := &redact.History{}
	past.Add([]string{"past-secret"}, "ada@example.com")
	joined := redact.Join(redact.Secrets{Mail: []string{"mail-secret"}, Past: past}, redact.Secrets{},
		redact.Secrets{Login: []string{"login-secret"}, Quoted: []string{"quoted-secret-of-a-mail"}, Process: []redact.Secret{process}})
	got := joined.Text("mail-secret login-secret quoted-secret-of-a-mail process-secret past-secret")
	if strings.Contains(got, "secret") {
		t.Errorf("text %q", got)
	}
}

// FuzzText looks for texts and secrets that hide from each other, or that a mask breaks.
func FuzzText(f *testing.F) {
	for _, reply := range replies {
		f.Add(fmt.Sprintf(reply, "48-29-13"), "482913")
		f.Add(fmt.Sprintf(reply, "PÄSSWÖRT"), "pässwört")
	}
	f.Add("\xff482\xff913", "482913")
	f.Add("İ482913", "İ48")
	f.Add("ſecret ẞ K", "secret ß k")
	f.Fuzz(func(t *testing.T, text, secret string) {
		if len(text) > 2000 || len(secret) > 200 {
			return // replies and secrets are short, and the search takes the product
		}
		process, ok := redact.NewSecret(secret)
		s := redact.Secrets{Mail: []string{secret}, Login: []string{secret}, Quoted: []string{secret}}
		if ok {
			s.Process = []redact.Secret{process}
		}
		got := s.Text(text)
		if !utf8.ValidString(got) {
			t.Errorf("%q is no UTF-8", got)
		}
		if kept := strings.TrimSpace(secret); utf8.ValidString(kept) && utf8.RuneCountInString(kept) >= 4 && !strings.Contains(kept, "*") && strings.Contains(got, kept) {
			t.Errorf("%q of %q shows %q", got, text, secret)
		}
	})
}
