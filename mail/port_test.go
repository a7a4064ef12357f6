package mail_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// A port of another kind, or a mode that is not that of the port, is a fault of the
// configuration: it costs no mail its attempts, the words say what to change, and it is
// found in seconds.
func TestWrongPort(t *testing.T) {
	t.Parallel()
	authority := smtptest.NewAuthority(t)
	cert := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	old := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	secret := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
	smtp := func(opts smtptest.Options) string { return smtptest.New(t, opts).Addr() }
	web := httptest.NewUnstartedServer(http.NotFoundHandler())
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.Start()
	t.Cleanup(web.Close)
	secureWeb := httptest.NewUnstartedServer(http.NotFoundHandler())
	secureWeb.Config.ErrorLog, secureWeb.EnableHTTP2 = log.New(io.Discard, "", 0), true
	secureWeb.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	secureWeb.StartTLS()
	t.Cleanup(secureWeb.Close)

	for _, tt := range []struct {
		name     string
		addr     string
		security mail.Security
		words    string
	}{
		{"implicit TLS to a plain port", smtp(smtptest.Options{}), mail.ImplicitTLS, "no TLS at this port at TLS: it speaks SMTP without TLS; use STARTTLS"},
		{"implicit TLS to the port of STARTTLS", smtp(smtptest.Options{STARTTLS: true}), mail.ImplicitTLS, "use STARTTLS"},
		{"implicit TLS to a server that is full", smtp(smtptest.Options{Script: at("CONNECT", smtptest.Action{Reply: "421 4.3.2 full"})}), mail.ImplicitTLS, "use STARTTLS"},
		{"STARTTLS to the port of implicit TLS", smtp(smtptest.Options{ImplicitTLS: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}), mail.StartTLS, "implicit TLS at this port at GREETING: it waits for a TLS handshake; use implicit TLS"},
		{"plain text to the port of implicit TLS", smtp(smtptest.Options{ImplicitTLS: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}), mail.Plain, "use implicit TLS"},
		{"STARTTLS that is not offered", smtp(smtptest.Options{}), mail.StartTLS, "no STARTTLS offered at STARTTLS: it is required"},
		{"STARTTLS that a firewall has struck out", smtp(smtptest.Options{Script: at("EHLO", smtptest.Action{Reply: "250-smtptest\r\n250 XXXXXXXA"})}), mail.StartTLS, "no STARTTLS offered"},
		{"TLS 1.1 by STARTTLS", smtp(smtptest.Options{STARTTLS: true, TLS: old}), mail.StartTLS, "no TLS 1.2 or newer at TLS"},
		{"TLS 1.1", smtp(smtptest.Options{ImplicitTLS: true, TLS: old}), mail.ImplicitTLS, "no TLS 1.2 or newer at TLS"},
		{"a certificate of ours is wanted", smtp(smtptest.Options{STARTTLS: true, TLS: secret}), mail.StartTLS, "TLS refused by the server at TLS: "},
		{"a web server, implicit TLS", web.Listener.Addr().String(), mail.ImplicitTLS, "web server at this port at TLS"},
		{"a web server, STARTTLS", web.Listener.Addr().String(), mail.StartTLS, "web server at this port at GREETING"},
		{"a web server with TLS, implicit TLS", secureWeb.Listener.Addr().String(), mail.ImplicitTLS, "web server at this port at GREETING"},
		{"a web server with TLS, STARTTLS", secureWeb.Listener.Addr().String(), mail.StartTLS, "web server at this port at GREETING"},
		{"SSH", says(t, "SSH-2.0-OpenSSH_9.2\r\n"), mail.StartTLS, "no SMTP at this port at GREETING"},
		{"POP3", says(t, "+OK ready\r\n"), mail.Plain, "no SMTP at this port at GREETING"},
		{"IMAP", says(t, "* OK ready\r\n"), mail.StartTLS, "no SMTP at this port at GREETING"},
		{"SSH, implicit TLS", says(t, "SSH-2.0-OpenSSH_9.2\r\n"), mail.ImplicitTLS, "no TLS at this port at TLS"},
		{"an alert of TLS", says(t, "\x15\x03\x01\x00\x02\x02\x46"), mail.StartTLS, "implicit TLS at this port at GREETING"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, err := net.ResolveTCPAddr("tcp", tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			cfg := mail.Config{
				Host: "127.0.0.1", Port: addr.Port, Security: tt.security, RootCAs: authority.Roots(), FromAddress: "mail@evently.example",
			}
			if tt.name != "STARTTLS to the port of implicit TLS" { // the one that takes the time of the defaults
				cfg.Timeouts.Greeting = 12 * time.Second
			}
			sender := newSender(t, cfg)
			begin := time.Now()
			_, err = sender.Send(t.Context(), message())
			failed := sendError(t, err)
			if d := time.Since(begin); d > 25*time.Second {
				t.Errorf("found after %v", d)
			}
			if got := failed.Explain(); verdict(failed) != "rcb" || !strings.Contains(got, tt.words) {
				t.Errorf("%s, verdict %q; want %q", got, verdict(failed), tt.words)
			}
			if strings.Contains(failed.Summary(), "no answer") {
				t.Errorf("it did answer: %s", failed.Summary())
			}
		})
	}
}

// says starts a service that says text to each connection, and nothing else.
func says(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(text))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// A server that is slow, and nothing else, is waited for.
func TestSlowGreeting(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "CONNECT" && s.Conn == 1 {
			time.Sleep(6500 * time.Millisecond)
		}
		return smtptest.Action{}
	}})
	cfg := config(server)
	cfg.Timeouts.Greeting = 12 * time.Second // it is asked after half of it
	if _, err := newSender(t, cfg).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
}

// A server that has answered what makes no sense did answer.
func TestSummaryOfNonsense(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		"250 ok\r\n250 2.1.5 and more":     "unsolicited answer",
		"nonsense":                         "not an SMTP answer",
		"250-" + strings.Repeat("x", 5000): "answer too long",
		strings.Repeat("250-more\r\n", 500) + "250 that is enough": "answer too long",
	} {
		server := smtptest.New(t, smtptest.Options{Script: at("MAIL", smtptest.Action{Reply: reply})})
		_, err := newSender(t, config(server)).Send(t.Context(), message())
		if got := sendError(t, err).Summary(); !strings.HasPrefix(got, want) {
			t.Errorf("%.30q: %q, want %q", reply, got, want)
		}
	}
}
