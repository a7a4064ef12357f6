package tlsfiles_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/tlsfiles"
	"github.com/evently/workers/worker/redis/redistest"
)

// Files that are gone, not whole, or do not fit change nothing, and are reported once.
func TestReader(t *testing.T) {
	t.Parallel()
	first, second := redistest.NewAuthority(t, "First"), redistest.NewAuthority(t, "Second")
	client := first.Issue("client", time.Now().Add(time.Hour))
	newClient := second.Issue("client", time.Now().Add(time.Hour))
	var log bytes.Buffer
	r, err := tlsfiles.NewReader(tlsfiles.Files{CA: first.File, Cert: client.Cert, Key: client.Key}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	write := func(file string, text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(file string) []byte {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := r.Config()
	original := read(client.Key)
	for _, bad := range [][]byte{nil, []byte("-----BEGIN"), original[:len(original)/2], read(newClient.Key)} {
		log.Reset()
		write(client.Key, bad)
		for range 3 {
			if r.Config() != before {
				t.Errorf("a key of %d bytes is used", len(bad))
			}
		}
		if n := strings.Count(log.String(), "keeping the previous ones"); n != 1 || strings.Contains(log.String(), "BEGIN") {
			t.Errorf("log of a bad key:\n%s", log.String())
		}
	}
	log.Reset()
	if err := os.Remove(client.Key); err != nil {
		t.Fatal(err)
	}
	if r.Config() != before || !strings.Contains(log.String(), client.Key+" does not exist") {
		t.Errorf("log of a missing key:\n%s", log.String())
	}
	write(client.Key, original)
	log.Reset()
	if r.Config() != before || log.Len() > 0 {
		t.Errorf("the same key again was reported:\n%s", log.String())
	}
	write(client.Key, read(newClient.Key))
	write(client.Cert, read(newClient.Cert))
	if after := r.Config(); after == before || bytes.Equal(after.Certificates[0].Certificate[0], before.Certificates[0].Certificate[0]) {
		t.Error("the new certificate is not used")
	}
	if !strings.Contains(log.String(), "certificate files replaced") {
		t.Errorf("log of a new pair:\n%s", log.String())
	}
}
