package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/evently/workers/mail/internal/redact"
)

// A server repeats a secret in many encodings. None of them is shown.
func TestEncodedSecrets(t *testing.T) {
	t.Parallel()
	encode := base64.StdEncoding.EncodeToString
	for _, secret := range []string{"048213", "hunter2-Pässword!", "a b&c<d>", "?>?>~~"} {
		raw := []byte(secret)
		each := func(format string) string {
			var b strings.Builder
			for _, c := range raw {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
		forms := []string{
			secret, strings.ToUpper(secret), url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret),
			hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), each("%%%02X"), each("=%02X"), each("&#%d;"), each("&#x%X;"), each(`\x%02x`),
			encode(raw), base64.RawStdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		}
		for _, around := range [][2]string{{"u", ""}, {"us", ""}, {"use", ""}, {"", "r"}, {"u", "r"}, {"us", "er"}, {"\x00user\x00", "\r\n"}} {
			forms = append(forms, encode([]byte(around[0]+secret+around[1])))
		}
		process, ok := redact.NewSecret(secret)
		if !ok {
			t.Fatalf("%q is no secret", secret)
		}
		past := &redact.History{}
		past.Add([]string{secret}, "jane@example.com")
		for kind, secrets := range map[string]redact.Secrets{
			"mail": {Mail: []string{secret}}, "login": {Login: []string{secret}}, "process": {Process: []redact.Secret{process}}, "past": {Past: past},
		} {
			for _, form := range forms {
				if text := secrets.Text("550 refused " + form + " for now"); !strings.Contains(text, redact.Mask) || !strings.HasSuffix(text, " for now") {
					t.Errorf("secret of %s in the form %q: %q", kind, form, text)
				}
			}
			const ordinary = "451 4.3.0 queue file write error in 4A1F, try again in 10 minutes"
			if text := secrets.Text(ordinary); text != ordinary {
				t.Errorf("secret of %s: %q becomes %q", kind, ordinary, text)
			}
		}
	}
}
