package mail

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestDefaultHello(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"mail.example.com":      "mail.example.com",
		"mail.example.com.":     "mail.example.com",
		"ip-10-0-0-7.internal":  "ip-10-0-0-7.internal",
		"3f2a1b4c5d6e":          "evently.example", // a container
		"worker_1":              "evently.example",
		"localhost":             "evently.example",
		"localhost.localdomain": "evently.example",
		"":                      "evently.example",
		"bad name.example":      "evently.example",
		"worker-1.":             "evently.example",
		"worker..example":       "evently.example",
	} {
		if got := defaultHello(host, "evently.example"); got != want {
			t.Errorf("host %q: %q, want %q", host, got, want)
		}
	}
}

// A name that is not the host's own is told.
func TestHelloNameIsTold(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, err := New(Config{Host: "smtp.example.com", FromAddress: "mail@b\u00fccher.example", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Contains(log.String(), "ehlo=xn--bcher-kva.example")
	if fallback := s.cfg.HelloName == "xn--bcher-kva.example"; told != fallback || !fallback && !strings.Contains(s.cfg.HelloName, ".") {
		t.Errorf("EHLO %q, log %q", s.cfg.HelloName, &log)
	}
}

// A name that does not exist stays wrong; a name service that does not answer is over by
// itself.
func TestUnknownHost(t *testing.T) {
	t.Parallel()
	for _, notFound := range []bool{true, false} {
		err := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "x", Name: "smtp.exmaple.com", IsNotFound: notFound, IsTemporary: !notFound}}
		failed := sendError("DIAL", dialFault(err))
		if failed.ConfigurationFault() != notFound || (failed.Summary() == "no such host at DIAL") != notFound {
			t.Errorf("not found %v: %s", notFound, failed.Explain())
		}
	}
}
