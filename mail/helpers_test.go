package mail_test

import (
	"bytes"
	netmail "net/mail"
	"testing"
)

// header returns the one field of that name.
func header(t testing.TB, data []byte, name string) string {
	t.Helper()
	parsed, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("parse mail: %v", err)
	}
	values := parsed.Header[name]
	if name == "Message-ID" {
		values = parsed.Header["Message-Id"]
	}
	if len(values) != 1 {
		t.Fatalf("%d fields %s", len(values), name)
	}
	return values[0]
}
