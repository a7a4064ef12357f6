package mail_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// A relay that wants to have a secret logged repeats what it knows, or guesses, at any
// step: the login, secrets of other servers, what an earlier mail held.
func TestNoSecretIsShownAtAnyStage(t *testing.T) {
	t.Parallel()
	const (
		redisPassword = "redis-canary!7"
		earlierCode   = "719 046"
		earlier       = "ann.lee+x@guests.example"
		earlierText   = "The refund of the Jazz Night goes to the account of Ann Lee."
	)
	encode := base64.StdEncoding.EncodeToString
	hostile := strings.Join([]string{
		"you are <" + earlier + ">, code " + earlierCode + " 719046 719-046",
		url.QueryEscape(earlier), encode([]byte("\x00evently\x00" + canaryPassword)), encode([]byte(canaryPassword)), canaryPassword,
		redisPassword, url.QueryEscape(redisPassword), encode([]byte(redisPassword)), strings.ToUpper(redisPassword), "rediscanary7",
		earlierText[4:40],
	}, " ")
	shown := func(text string) error {
		lower := strings.ToLower(text)
		for _, secret := range []string{
			earlierCode, "719046", "719-046", earlier, url.QueryEscape(earlier), canaryPassword, encode([]byte(canaryPassword)),
			encode([]byte("\x00evently\x00" + canaryPassword)), redisPassword, url.QueryEscape(redisPassword), encode([]byte(redisPassword)),
			"rediscanary7", "refund of the jazz",
		} {
			if strings.Contains(lower, strings.ToLower(secret)) {
				return fmt.Errorf("%q is shown in %q", secret, text)
			}
		}
		return nil
	}
	for _, stage := range []string{"CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", ".", "RSET", "sent", "idle", "later"} {
		for _, code := range []string{"554 5.7.1", "451 4.7.1", "421-4.3.2 more\r\n421 4.3.2", "250", "no code"} {
			t.Run(stage+" "+code[:3], func(t *testing.T) {
				t.Parallel()
				var armed atomic.Bool
				server := smtptest.New(t, smtptest.Options{
					STARTTLS: true, Username: "evently", Password: canaryPassword,
					Script: func(s smtptest.Step) smtptest.Action {
						switch {
						case !armed.Load():
						case s.Command == stage:
							return smtptest.Action{Reply: code + " " + hostile}
						case s.Command == "." && stage == "sent":
							return smtptest.Action{Reply: "250 2.0.0 " + hostile}
						case s.Command == "RCPT" && stage == "RSET":
							return smtptest.Action{Reply: "450 4.2.1 " + hostile}
						}
						return smtptest.Action{}
					},
				})
				var mu sync.Mutex
				var logs bytes.Buffer
				cfg := config(server)
				cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
				cfg.Secrets = []string{redisPassword, "on", ""} // "on" is part of ordinary words
				cfg.MaxMessagesPerConn = 3
				cfg.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &logs}, &slog.HandlerOptions{Level: slog.LevelDebug}))
				sender := newSender(t, cfg)
				if stage != "CONNECT" && stage != "EHLO" && stage != "STARTTLS" && stage != "AUTH" {
					run(t, sender)
				}
				first := message()
				first.To, first.Text, first.Secrets = earlier, earlierText, []string{earlierCode}
				for range 2 { // the second over the same connection, where there is one
					if _, err := sender.Send(t.Context(), first); err != nil {
						t.Fatal(err)
					}
				}
				armed.Store(true)
				if stage == "idle" {
					server.Say(code+" "+hostile+"\r\n", smtptest.Close)
				}
				for range 3 {
					receipt, err := sender.Send(t.Context(), message())
					texts := []string{receipt.Reply}
					if failed, ok := err.(*mail.SendError); ok {
						texts = append(texts, err.Error(), failed.Text, failed.Explain(), failed.Summary())
					}
					if fault := sender.Status().Fault; fault != nil {
						texts = append(texts, fault.Error(), fault.Explain())
					}
					mu.Lock()
					texts = append(texts, logs.String())
					mu.Unlock()
					for _, text := range texts {
						if err := shown(text); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// Ordinary words stay, even where a secret is short.
func TestWordsStay(t *testing.T) {
	t.Parallel()
	const words = "Relay access denied on connection 4; contact the administrator"
	server := smtptest.New(t, smtptest.Options{Script: at("RCPT", smtptest.Action{Reply: "554 5.7.1 " + words})})
	cfg := config(server)
	cfg.Secrets = []string{"on", "a", "", "  ", "4"}
	sender := newSender(t, cfg)
	for range 3 {
		_, err := sender.Send(t.Context(), message())
		if failed := sendError(t, err); failed.Text != words {
			t.Errorf("%q", failed.Text)
		}
	}
}

// The names in a certificate are words of the server, too.
func TestCertificateShowsNoSecret(t *testing.T) {
	t.Parallel()
	authority := smtptest.NewAuthority(t)
	cert := authority.Issue(t, time.Now().Add(time.Hour), "hunter2-canary.evil.example")
	server := smtptest.New(t, smtptest.Options{ImplicitTLS: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	cfg := config(server)
	cfg.Security, cfg.RootCAs, cfg.Username, cfg.Password = mail.ImplicitTLS, authority.Roots(), "evently", canaryPassword
	_, err := newSender(t, cfg).Send(t.Context(), message())
	failed := sendError(t, err)
	if verdict(failed) != "rcb" || failed.Summary() != "certificate not trusted at TLS" {
		t.Errorf("%v, verdict %q", err, verdict(failed))
	}
	if text := err.Error() + failed.Explain(); strings.Contains(text, canaryPassword) || !strings.Contains(text, ".evil.example") && !strings.Contains(text, "IP SAN") {
		t.Errorf("%s", text)
	}
}
