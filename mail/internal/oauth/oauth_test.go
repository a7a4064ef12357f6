package oauth_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/evently/workers/mail/internal/oauth"
)

// The examples of the two documents.
func TestResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mechanism, user, token, want string }{
		{
			oauth.XOAuth2, "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
			"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==",
		},
		{
			oauth.Bearer, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
			"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
		},
	} {
		if got := base64.StdEncoding.EncodeToString(oauth.Response(tt.mechanism, tt.user, tt.token, "server.example.com", 143)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.mechanism, got, tt.want)
		}
	}
}

// Only a status that is a word is kept of a challenge.
func TestStatus(t *testing.T) {
	t.Parallel()
	for challenge, want := range map[string]string{
		`{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}`: "401",
		`{"status":400}`:                               "400",
		`{"status":"invalid_token"}`:                   "invalid_token",
		`{"status":"Invalid_Token"}`:                   "invalid_token",
		`{"status":"token ya29 is not known"}`:         "",
		`{"status":"` + strings.Repeat("a", 33) + `"}`: "",
		`{"status":["401"]}`:                           "",
		`{}`:                                           "", `nonsense`: "", ``: "",
	} {
		if got := oauth.Status(base64.StdEncoding.EncodeToString([]byte(challenge))); got != want {
			t.Errorf("%s: %q, want %q", challenge, got, want)
		}
	}
	if got := oauth.Status("no base64!"); got != "" {
		t.Errorf("%q", got)
	}
}
