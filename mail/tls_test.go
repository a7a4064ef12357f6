package mail_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// Servers that must get neither a password nor a mail.
func TestBadServersGetNothing(t *testing.T) {
	t.Parallel()
	hour := time.Now().Add(time.Hour)
	authority := smtptest.NewAuthority(t)
	withCert := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	good := authority.Issue(t, hour, "127.0.0.1")
	old := withCert(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	const login = "250-smtptest\r\n250 AUTH PLAIN LOGIN"
	tests := []struct {
		name     string
		implicit bool
		opts     smtptest.Options
		roots    *x509.CertPool // nil: authority
		command  string
		verdict  string
	}{
		{name: "STARTTLS not offered", command: "STARTTLS", verdict: "rcb"},
		{
			name:    "STARTTLS not offered, AUTH is",
			opts:    smtptest.Options{Username: "evently", Password: canaryPassword},
			command: "STARTTLS", verdict: "rcb",
		},
		{
			name:    "STARTTLS stripped from the offer",
			opts:    smtptest.Options{STARTTLS: true, Script: at("EHLO", smtptest.Action{Reply: login})},
			command: "STARTTLS", verdict: "rcb",
		},
		{
			name:    "STARTTLS refused",
			opts:    smtptest.Options{STARTTLS: true, Script: at("STARTTLS", smtptest.Action{Reply: "454 4.7.0 not now"})},
			command: "STARTTLS", verdict: "rtb",
		},
		{
			name:    "plain text injected after STARTTLS",
			opts:    smtptest.Options{STARTTLS: true, Script: at("STARTTLS", smtptest.Action{Reply: "220 go ahead\r\n" + login})},
			command: "STARTTLS", verdict: "rb",
		},
		{
			name:    "plain text in the place of the handshake",
			opts:    smtptest.Options{STARTTLS: true, Script: at("TLS", smtptest.Action{Reply: login})},
			command: "TLS", verdict: "rb",
		},
		{
			name:    "unknown authority",
			opts:    smtptest.Options{STARTTLS: true, TLS: withCert(good)},
			roots:   smtptest.NewAuthority(t).Roots(),
			command: "TLS", verdict: "rcb",
		},
		{
			name:    "expired certificate",
			opts:    smtptest.Options{STARTTLS: true, TLS: withCert(authority.Issue(t, time.Now().Add(-time.Minute), "127.0.0.1"))},
			command: "TLS", verdict: "rcb",
		},
		{
			name:    "certificate of another host",
			opts:    smtptest.Options{STARTTLS: true, TLS: withCert(authority.Issue(t, hour, "mail.example.org", "127.0.0.2"))},
			command: "TLS", verdict: "rcb",
		},
		{
			name:     "certificate of another host, implicit TLS",
			implicit: true,
			opts:     smtptest.Options{ImplicitTLS: true, TLS: withCert(authority.Issue(t, hour, "mail.example.org"))},
			command:  "TLS", verdict: "rcb",
		},
		{name: "TLS 1.1 at most", opts: smtptest.Options{STARTTLS: true, TLS: old}, command: "TLS", verdict: "rcb"},
		{name: "no TLS at all where it is implicit", implicit: true, command: "TLS", verdict: "rcb"},
		{
			name:    "AUTH gone after TLS",
			opts:    smtptest.Options{STARTTLS: true, Username: "evently", Mechanisms: []string{"CRAM-MD5"}},
			command: "AUTH", verdict: "rcb",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, tt.opts)
			cfg := config(server)
			cfg.Username, cfg.Password = "evently", canaryPassword
			cfg.Security, cfg.RootCAs = mail.StartTLS, authority.Roots()
			if tt.implicit {
				cfg.Security = mail.ImplicitTLS
			}
			if tt.roots != nil {
				cfg.RootCAs = tt.roots
			} else if tt.opts.TLS == nil && server.Roots() != nil {
				cfg.RootCAs = server.Roots()
			}
			_, err := newSender(t, cfg).Send(t.Context(), message())
			failed := sendError(t, err)
			if failed.Command == "STARTTLS" && strings.HasPrefix(tt.name, "plain text in the place") {
				tt.command = "STARTTLS" // it came in one packet with the reply
			}
			if failed.Command != tt.command || verdict(failed) != tt.verdict {
				t.Errorf("%v, verdict %q, want %q at %s", err, verdict(failed), tt.verdict, tt.command)
			}
			for _, command := range server.Commands() {
				if strings.HasPrefix(command, "AUTH") || strings.HasPrefix(command, "MAIL") {
					t.Errorf("sent %q", command)
				}
			}
			if len(server.Mails()) != 0 {
				t.Error("a mail went out")
			}
		})
	}
}

func TestTLS12IsEnough(t *testing.T) {
	t.Parallel()
	authority := smtptest.NewAuthority(t)
	cert := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	server := smtptest.New(t, smtptest.Options{
		ImplicitTLS: true,
		TLS:         &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12},
	})
	cfg := config(server)
	cfg.Security, cfg.RootCAs, cfg.TLSCAFile = mail.ImplicitTLS, nil, authority.File(t)
	receipt, err := newSender(t, cfg).Send(t.Context(), message())
	if err != nil || !strings.HasPrefix(receipt.TLS, "TLS 1.2 ") {
		t.Errorf("TLS %q, %v", receipt.TLS, err)
	}
}

// The server may repeat the password in its refusal; we do not.
func TestPasswordIsNotRepeated(t *testing.T) {
	t.Parallel()
	const plain = "AGV2ZW50bHkAaHVudGVyMi1jYW5hcnk=" // NUL evently NUL password
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "evently", Password: canaryPassword,
		Script: at("AUTH", smtptest.Action{Reply: "535 5.7.8 wrong: " + canaryPassword + " or " + plain}),
	})
	cfg := config(server)
	cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
	_, err := newSender(t, cfg).Send(t.Context(), message())
	if failed := sendError(t, err); failed.Code != 535 || !strings.Contains(failed.Text, "wrong: *** or ***") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), canaryPassword) || strings.Contains(err.Error(), plain) {
		t.Errorf("password in %q", err)
	}
}

// Half a login is none, as it was with the Python service.
func TestNoLoginWithoutBoth(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{STARTTLS: true})
	cfg := config(server)
	cfg.Security, cfg.Username = mail.StartTLS, "evently"
	if _, err := newSender(t, cfg).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if got := server.WaitMails(1)[0].Login; got != "" {
		t.Errorf("logged in as %q", got)
	}
}

func TestConfigIsPrintedWithoutPassword(t *testing.T) {
	t.Parallel()
	cfg := mail.Config{Host: "smtp.example.com", Port: 587, Username: "evently", Password: canaryPassword}
	var logs bytes.Buffer
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "config", cfg)
	text := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, logs.String())
	if strings.Contains(text, canaryPassword) || strings.Count(text, "smtp.example.com:587 (starttls)") != 4 {
		t.Error(text)
	}
}

func TestImplicitTLSHandshakeHasDeadline(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{ImplicitTLS: true, Script: at("TLS", smtptest.Action{Then: smtptest.Freeze})})
	cfg := config(server)
	cfg.Security, cfg.Timeouts.TLS = mail.ImplicitTLS, 100*time.Millisecond
	_, err := newSender(t, cfg).Send(context.Background(), message())
	if failed := sendError(t, err); failed.Command != "TLS" || verdict(failed) != "rb" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, verdict %q", err, verdict(failed))
	}
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	noPEM := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	// All at once, each with its name.
	_, err := mail.New(mail.Config{
		Host: "bad host", Port: 70000, Security: mail.Security(9), TLSCAFile: noPEM,
		FromName: "a\r\nBcc: x@example.com", FromAddress: "nobody", ReplyTo: "a@b", HelloName: "localhost",
		MaxConns: -1, MaxMessagesPerConn: -1, MaxAge: -1, IdleTimeout: -1, Username: "\x00",
		Timeouts: mail.Timeouts{Dial: -1, TLS: -1, Greeting: -1, Command: -1, BodyWrite: -1, Final: -1, Quit: -1},
	})
	if err == nil {
		t.Fatal("New took it")
	}
	for _, name := range []string{
		"Host", "Port", "Security", "TLSCAFile", "FromName", "FromAddress", "ReplyTo", "HelloName", "Username",
		"MaxConns", "MaxMessagesPerConn", "MaxAge", "IdleTimeout", "Timeouts.Dial", "Timeouts.TLS",
		"Timeouts.Greeting", "Timeouts.Command", "Timeouts.BodyWrite", "Timeouts.Final", "Timeouts.Quit",
	} {
		if !strings.Contains(err.Error(), "\n"+name) {
			t.Errorf("no word of %s in:\n%v", name, err)
		}
	}

	base := mail.Config{Host: "smtp.example.com", FromAddress: "mail@example.com"}
	if _, err := mail.New(base); err != nil {
		t.Errorf("the least configuration: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*mail.Config)
		want   string
	}{
		"password readable": {func(c *mail.Config) { c.Security, c.Username, c.Password = mail.Plain, "u", canaryPassword }, "Security"},
		"file missing":      {func(c *mail.Config) { c.TLSCAFile = filepath.Join(t.TempDir(), "none") }, "TLSCAFile"},
		"no host":           {func(c *mail.Config) { c.Host = "" }, "Host"},
		"hello localhost":   {func(c *mail.Config) { c.HelloName = "localhost.localdomain" }, "HelloName"},
		"hello injection":   {func(c *mail.Config) { c.HelloName = "a\r\nMAIL FROM:<x@y>" }, "HelloName"},
		"UTF-8 sender":      {func(c *mail.Config) { c.FromAddress = "jörg@example.com" }, "FromAddress"},
		"UTF-8 reply-to":    {func(c *mail.Config) { c.ReplyTo = "jörg@example.com" }, "ReplyTo"},
	} {
		cfg := base
		tt.change(&cfg)
		_, err := mail.New(cfg)
		if err == nil || strings.Contains(err.Error(), canaryPassword) {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range []error{err, cfg.Check()} {
			if fault, ok := errors.AsType[*mail.ConfigError](err); !ok || fault.Field != tt.want || fault.Reason == "" || fault.Want == "" {
				t.Errorf("%s: %#v, want a fault of %s", name, fault, tt.want)
			}
		}
	}
}
