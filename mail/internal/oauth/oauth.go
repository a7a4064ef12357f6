// Package oauth logs in to a mail server by an OAuth 2.0 access token: the mechanisms
// OAUTHBEARER (RFC 7628) and XOAUTH2 (https://developers.google.com/gmail/imap/xoauth2-protocol).
package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Names of the mechanisms.
const (
	Bearer  = "OAUTHBEARER"
	XOAuth2 = "XOAUTH2"
)

const maxToken = 16 << 10 // octets of a token file

// ReadToken returns the token of a file, without white space around it. The error never
// contains any of the file.
func ReadToken(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			err = cause.Err
		}
		return "", fmt.Errorf("read the token file %s: %w", path, err)
	}
	token := strings.TrimSpace(string(raw))
	switch {
	case token == "":
		return "", fmt.Errorf("token file %s is empty", path)
	case len(raw) > maxToken || strings.ContainsFunc(token, notOfToken):
		return "", fmt.Errorf("token file %s has more in it than one access token", path)
	}
	return token, nil
}

// notOfToken reports whether a token has no such character, RFC 6750 section 2.1.
func notOfToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._~+/=", r)
}

// Response returns the first response of a mechanism.
func Response(mechanism, user, token, host string, port int) []byte {
	if mechanism == XOAuth2 {
		return []byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
	}
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) // RFC 5801 section 4
	return fmt.Appendf(nil, "n,a=%s,\x01host=%s\x01port=%d\x01auth=Bearer %s\x01\x01", name, host, port, token)
}

// Acknowledgement returns the response to the challenge with which a server tells a failure,
// so that it sends its reply.
func Acknowledgement(mechanism string) []byte {
	if mechanism == XOAuth2 {
		return nil
	}
	return []byte{1} // RFC 7628 section 3.2.3
}

// Status returns the status of a failure in the challenge of a server, such as "401" or
// "invalid_token", and "" if there is none. It drops the rest, which may repeat the token.
func Status(challenge string) string {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	if err != nil {
		return ""
	}
	var failure struct {
		Status any `json:"status"`
	}
	if json.Unmarshal(decoded, &failure) != nil || failure.Status == nil {
		return ""
	}
	const most = 32
	status := strings.ToLower(fmt.Sprint(failure.Status))
	if len(status) > most || strings.Trim(status, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return ""
	}
	return status
}
