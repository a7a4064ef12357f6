package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/smtptest"
)

// These tests are inside the package because the mails that Compose lets pass
// are so small that the sockets' buffers swallow them whole.

func flood() Composed {
	line := append(bytes.Repeat([]byte("x"), 78), "\r\n"...)
	return Composed{
		From:  Address{"mail", "evently.example"},
		To:    Address{"jane", "example.com"},
		Bytes: append([]byte("Date: now\r\n"), bytes.Repeat(line, 16<<20/len(line))...),
	}
}

func deliverFlood(t *testing.T, action smtptest.Action, limits Timeouts, check func(t *testing.T, failed *SendError)) {
	for way, extensions := range offered {
		t.Run(way, func(t *testing.T) { check(t, deliverFloodBy(t, extensions, action, limits)) })
	}
}

func deliverFloodBy(t *testing.T, extensions []string, action smtptest.Action, limits Timeouts) *SendError {
	t.Helper()
	server := smtptest.New(t, smtptest.Options{Extensions: extensions, Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "BODY" {
			return action
		}
		return smtptest.Action{}
	}})
	sender, err := New(Config{
		Host: server.Host(), Port: server.Port(), Security: Plain, FromAddress: "mail@evently.example", Timeouts: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	_, err = sender.deliver(ctx, flood(), redact.Secrets{})
	failed, ok := errors.AsType[*SendError](err)
	if !ok {
		t.Fatalf("error %v, want a *SendError", err)
	}
	if n := len(server.Mails()); n != 0 {
		t.Errorf("%d mails accepted", n)
	}
	return failed
}

// A server that answers 354 and then reads nothing must not hold us for ever.
func TestServerStopsReading(t *testing.T) {
	t.Parallel()
	deliverFlood(t, smtptest.Action{Then: smtptest.Freeze}, Timeouts{BodyWrite: 3 * time.Second}, func(t *testing.T, failed *SendError) {
		// It is the deadline of one write that ends it, not the one of the body, ten
		// times that, and not the context in between.
		if failed.Command != "BODY" || !failed.Retryable() || failed.Unknown() || !errors.Is(failed, os.ErrDeadlineExceeded) {
			t.Errorf("%v", failed)
		}
	})
}

// A server that closes in the middle has often said why.
func TestRefusalDuringBody(t *testing.T) {
	t.Parallel()
	stop := smtptest.Action{Reply: "552 5.3.4 too big, stop", Then: smtptest.Close}
	deliverFlood(t, stop, Timeouts{}, func(t *testing.T, failed *SendError) {
		if failed.Command != "BODY" || failed.Code != 552 || failed.Retryable() {
			t.Errorf("%v", failed)
		}
	})
}

// A server does not take a cut connection for the end of data, so no half mail is delivered.
func TestConnectionCutDuringBody(t *testing.T) {
	t.Parallel()
	for _, then := range []smtptest.Then{smtptest.Close, smtptest.Reset} {
		deliverFlood(t, smtptest.Action{Then: then}, Timeouts{}, func(t *testing.T, failed *SendError) {
			if failed.Command != "BODY" || !failed.Retryable() || failed.Unknown() {
				t.Errorf("%v: %v", then, failed)
			}
		})
	}
}

// failing fails to write the last octet of what ends as the mail does.
type failing struct {
	net.Conn
	end []byte
}

func (f failing) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, f.end) {
		n, _ := f.Conn.Write(p[:len(p)-1])
		return n, os.ErrDeadlineExceeded
	}
	return f.Conn.Write(p)
}

// As long as the last octet of the mail is not out, the server cannot have the mail: this is
// not the unknown outcome.
func TestEndOfDataNotWritten(t *testing.T) {
	t.Parallel()
	for way, extensions := range offered {
		for _, guarded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, guarded %v", way, guarded), func(t *testing.T) {
				server := smtptest.New(t, smtptest.Options{Extensions: extensions})
				sender, err := New(Config{Host: server.Host(), Port: server.Port(), Security: Plain, FromAddress: "mail@evently.example"})
				if err != nil {
					t.Fatal(err)
				}
				c, failed := sender.open(t.Context(), redact.Secrets{})
				if failed != nil {
					t.Fatal(failed)
				}
				defer c.abort()
				m := flood()
				m.Bytes = append(m.Bytes[:811:811], ".\r\n"...)
				if guarded {
					m.beforeFinal = func(context.Context) error { return nil }
				}
				c.wire.Conn = failing{c.raw, []byte(".\r\n")}
				_, failed = c.send(t.Context(), m, redact.Secrets{}, time.Now())
				if failed == nil || failed.Command != "BODY" || !failed.Retryable() || failed.Unknown() {
					t.Errorf("%v", failed)
				}
				c.abort()
				server.Stop()
				if n := len(server.Mails()); n != 0 {
					t.Errorf("%d mails accepted", n)
				}
			})
		}
	}
}
