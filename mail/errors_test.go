package mail_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/evently/workers/mail"
)

// Values made by hand, as callers make them in their tests.
func TestSendErrorMethods(t *testing.T) {
	t.Parallel()
	_, badAddress := mail.ParseAddress("nobody")
	for _, tt := range []struct {
		err     *mail.SendError
		verdict string
		text    string
	}{
		{&mail.SendError{Command: "COMPOSE", Err: badAddress}, "a", "smtp COMPOSE: address ***: no @"},
		{&mail.SendError{Command: "WAIT", Err: context.DeadlineExceeded}, "r", "smtp WAIT: context deadline exceeded"},
		{&mail.SendError{Command: "DIAL", Err: os.ErrDeadlineExceeded}, "rb", "smtp DIAL: i/o timeout"},
		{&mail.SendError{Command: "DIAL", Err: context.Canceled}, "r", "smtp DIAL: context canceled"},
		{
			&mail.SendError{Command: "TLS", Err: fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})},
			"rcb", "smtp TLS: x: tls: failed to verify certificate: x509: certificate signed by unknown authority",
		},
		{
			&mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "no such user"},
			"a", "smtp RCPT: 550 5.1.1 no such user",
		},
		{&mail.SendError{Command: "RCPT", Code: 450}, "r", "smtp RCPT: 450"},
		{
			&mail.SendError{Command: ".", Err: io.ErrUnexpectedEOF}, "ub",
			"smtp .: unexpected EOF (no reply to the end of data: the mail may have been delivered)",
		},
		{&mail.SendError{Command: ".", Err: errors.New("a\r\nb\x00c")}, "ub", "smtp .: a b c (no reply to the end of data: the mail may have been delivered)"},
	} {
		if got := verdict(tt.err); got != tt.verdict || tt.err.Error() != tt.text {
			t.Errorf("%q: verdict %q, want %q of %q", tt.err, got, tt.verdict, tt.text)
		}
		if tt.err.Err != nil && !errors.Is(tt.err, tt.err.Err) {
			t.Errorf("%q does not unwrap", tt.err)
		}
	}
}
