package mail_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

func TestSend(t *testing.T) { eachWay(t, testSend) }

func testSend(t *testing.T, w way) {
	t.Parallel()
	login := smtptest.Options{Username: "evently", Password: canaryPassword}
	tests := []struct {
		name     string
		opts     smtptest.Options
		security mail.Security
		login    bool
		tls      bool
	}{
		{name: "plain", security: mail.Plain},
		{name: "plain with login to loopback", opts: login, security: mail.Plain, login: true},
		{name: "STARTTLS", opts: smtptest.Options{STARTTLS: true}, security: mail.StartTLS, tls: true},
		{
			name:     "STARTTLS and login",
			opts:     smtptest.Options{STARTTLS: true, Username: "evently", Password: canaryPassword},
			security: mail.StartTLS, login: true, tls: true,
		},
		{
			name:     "implicit TLS and LOGIN only, odd prompts",
			opts:     smtptest.Options{ImplicitTLS: true, Username: "evently", Password: canaryPassword, Mechanisms: []string{"LOGIN"}},
			security: mail.ImplicitTLS, login: true, tls: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, w.in(tt.opts))
			cfg := config(server)
			cfg.Security = tt.security
			if tt.login {
				cfg.Username, cfg.Password = "evently", canaryPassword
			}
			receipt, err := newSender(t, cfg).Send(t.Context(), message())
			if err != nil {
				t.Fatalf("Send: %v", err)
			}
			got := server.WaitMails(1)[0]
			if got.From != "mail@evently.example" || got.To != recipient {
				t.Errorf("envelope from %q to %q", got.From, got.To)
			}
			if got.Hello != "worker-1.evently.example" {
				t.Errorf("EHLO %q", got.Hello)
			}
			if got.TLS != tt.tls || (got.Login != "") != tt.login {
				t.Errorf("TLS %v, login %q", got.TLS, got.Login)
			}
			composed, err := newSender(t, cfg).Compose(message())
			if err != nil {
				t.Fatalf("Compose: %v", err)
			}
			if !bytes.Equal(got.Data, composed.Bytes) {
				t.Errorf("the server has other bytes than were composed:\n%s", got.Data)
			}
			if receipt.MessageID != composed.MessageID || receipt.Size != len(composed.Bytes) || receipt.Reused {
				t.Errorf("receipt %+v", receipt)
			}
			if receipt.Reply != "2.0.0 Ok: queued as Q1" {
				t.Errorf("reply %q", receipt.Reply)
			}
			if (receipt.TLS != "") != tt.tls || tt.tls && !strings.HasPrefix(receipt.TLS, "TLS 1.3 ") {
				t.Errorf("TLS %q", receipt.TLS)
			}
			for _, command := range server.Commands() {
				if strings.EqualFold(command, "EHLO localhost") {
					t.Error("said EHLO localhost")
				}
			}
		})
	}
}

func TestHelloNameDefault(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	cfg := config(server)
	cfg.HelloName = ""
	if _, err := newSender(t, cfg).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if got := server.WaitMails(1)[0].Hello; got == "" || strings.Contains(got, "localhost") {
		t.Errorf("EHLO %q", got)
	}
}

// Two options that the server may offer, and one that it must before we use it.
func TestExtensions(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Extensions: []string{"SIZE 100000", "DSN", "SMTPUTF8"}})
	m := message()
	m.To = "jörg@bücher.example"
	if _, err := newSender(t, config(server)).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := server.WaitMails(1)[0]
	if want := "jörg@xn--bcher-kva.example"; got.To != want {
		t.Errorf("RCPT TO %q, want %q", got.To, want)
	}
	size := fmt.Sprintf("SIZE=%d", len(got.Data))
	for _, want := range []string{size, "SMTPUTF8", "RET=HDRS"} {
		if !slices.Contains(got.Params, want) {
			t.Errorf("MAIL parameters %q lack %q", got.Params, want)
		}
	}
}

func TestLocalRefusals(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Extensions: []string{"SIZE 500"}})
	sender := newSender(t, config(server))
	utf8 := message()
	utf8.To = "jörg@example.com"
	for _, tt := range []struct {
		name string
		m    mail.Message
		code [3]int
	}{{"larger than SIZE", message(), [3]int{5, 3, 4}}, {"no SMTPUTF8", utf8, [3]int{5, 3, 4}}} {
		_, err := sender.Send(t.Context(), tt.m)
		failed := sendError(t, err)
		if failed.EnhancedCode != tt.code || failed.Retryable() || failed.CountsForBreaker() || failed.ConfigurationFault() {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	small := smtptest.New(t, smtptest.Options{})
	_, err := newSender(t, config(small)).Send(t.Context(), utf8)
	failed := sendError(t, err)
	if failed.EnhancedCode != [3]int{5, 6, 7} || failed.Retryable() || failed.ConfigurationFault() {
		t.Errorf("no SMTPUTF8: %v", err)
	}
	if n := len(server.Mails()) + len(small.Mails()); n != 0 {
		t.Errorf("%d mails went out", n)
	}
}

func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	var logs lockedBuffer
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "evently", Password: canaryPassword,
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Command == "." && s.Mails > 0 {
				return smtptest.Action{Reply: "554 5.7.1 <" + recipient + "> spam: " + canaryCode + " is your Evently code"}
			}
			return smtptest.Action{}
		},
	})
	cfg := config(server)
	cfg.Security = mail.StartTLS
	cfg.Username, cfg.Password = "evently", canaryPassword
	cfg.Logger = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sender := newSender(t, cfg)
	stop := run(t, sender)
	waitErr := func() (err error) {
		for range 100 {
			if _, err = sender.Send(t.Context(), message()); err != nil {
				return err
			}
		}
		return nil
	}
	err := waitErr()
	stop()
	if err == nil {
		t.Fatal("no mail was refused")
	}
	text := logs.String() + err.Error() + sendError(t, err).Text
	for _, secret := range []string{canaryCode, canaryPassword, recipient, "Jane", "your Evently code"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q in logs or errors:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "j***@example.com") || !strings.Contains(text, "mail sent") {
		t.Errorf("the logs say too little:\n%s", text)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// at is a script with one answer, at one command.
func at(command string, action smtptest.Action) func(smtptest.Step) smtptest.Action {
	return func(s smtptest.Step) smtptest.Action {
		if s.Command == command {
			return action
		}
		return smtptest.Action{}
	}
}

func sendError(t testing.TB, err error) *mail.SendError {
	t.Helper()
	failed, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		t.Fatalf("error %v (%T), want a *SendError", err, err)
	}
	return failed
}

func count(commands []string, command string) (n int) {
	for _, c := range commands {
		if c == command {
			n++
		}
	}
	return n
}
