package mail_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// However many mails wait, a password that is refused is not tried by all of
// them.
func TestRefusedLoginIsNotRepeated(t *testing.T) {
	t.Parallel()
	var logins atomic.Int64
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "evently", Password: canaryPassword,
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Command == "AUTH" {
				logins.Add(1)
				return smtptest.Action{Reply: "535 5.7.8 no"}
			}
			return smtptest.Action{}
		},
	})
	cfg := config(server)
	cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
	cfg.MaxConns, cfg.LoginPause = 4, time.Hour
	sender := newSender(t, cfg)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := sender.Send(context.Background(), message())
			if failed := sendError(t, err); failed.Code != 535 || failed.Command != "AUTH" || !failed.ConfigurationFault() {
				t.Errorf("refused by %v", err)
			}
		})
	}
	wg.Wait()
	// The logins that had begun before the first refusal came, and one by the other mechanism.
	if n := logins.Load(); n > 5 {
		t.Errorf("%d logins for 100 mails, want at most the connections and one", n)
	}
	tried := sender.Status().Tried
	if _, err := sender.Send(t.Context(), message()); err == nil {
		t.Error("a mail went out")
	}
	if got := sender.Status(); got.Tried != tried || got.Fault == nil {
		t.Errorf("a mail that tried nothing counts as a try: %+v", got)
	}
}

// Servers refuse a mechanism that they offer, with many codes, and take the other.
func TestLoginAfterRefusedPlain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		refusal smtptest.Action
		logins  int // before the first mail is out
	}{
		{smtptest.Action{Reply: "504 5.7.4 Unrecognized authentication type"}, 2},
		{smtptest.Action{Reply: "534 5.7.9 mechanism too weak"}, 2},
		{smtptest.Action{Reply: "535 5.7.3 Authentication unsuccessful"}, 2},
		{smtptest.Action{Reply: "535 5.7.8 wrong"}, 2},
		{smtptest.Action{Reply: "500 5.5.1 what"}, 2},
		{smtptest.Action{Reply: "502 not implemented"}, 2},
		{smtptest.Action{Reply: "535 5.7.8 wrong", Then: smtptest.Close}, 2}, // LOGIN over another connection
	} {
		t.Run(fmt.Sprintf("%s %d", tt.refusal.Reply, tt.refusal.Then), func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, smtptest.Options{
				Username: "evently", Password: canaryPassword,
				Script: func(s smtptest.Step) smtptest.Action {
					if s.Line == "AUTH PLAIN" {
						return tt.refusal
					}
					return smtptest.Action{}
				},
			})
			cfg := config(server)
			cfg.Username, cfg.Password = "evently", canaryPassword
			sender := newSender(t, cfg)
			for range 3 { // each over another connection
				if _, err := sender.Send(t.Context(), message()); err != nil {
					t.Fatal(err)
				}
			}
			if n := count(server.Commands(), "AUTH PLAIN"); n != 1 {
				t.Errorf("PLAIN was tried %d times: %q", n, server.Commands())
			}
			if got := server.WaitMails(1)[0].Login; got != "evently" {
				t.Errorf("logged in as %q", got)
			}
			if n := count(server.Commands(), "*"); n != 0 {
				t.Errorf("a line after the refusal: %q", server.Commands())
			}
		})
	}
}

// A password that is wrong is tried by both mechanisms once, then by one a try: each
// refusal brings the account nearer to being locked.
func TestWrongPasswordIsTriedByBothMechanismsOnce(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Username: "evently", Password: "another"})
	cfg := config(server)
	cfg.Username, cfg.Password, cfg.LoginPause = "evently", canaryPassword, time.Nanosecond
	sender := newSender(t, cfg)
	for range 4 {
		_, err := sender.Send(t.Context(), message())
		if failed := sendError(t, err); failed.Code != 535 || !failed.ConfigurationFault() {
			t.Errorf("%v", err)
		}
	}
	var tried []string
	for _, command := range server.Commands() {
		if strings.HasPrefix(command, "AUTH") {
			tried = append(tried, strings.TrimPrefix(command, "AUTH "))
		}
	}
	if got := strings.Join(tried, " "); got != "PLAIN LOGIN PLAIN LOGIN PLAIN" {
		t.Errorf("tried %s", got)
	}
}

// How servers offer a login, and the other extensions.
func TestOffersOfLogin(t *testing.T) {
	t.Parallel()
	for offer, want := range map[string]string{
		"250 AUTH PLAIN LOGIN":                        "AUTH PLAIN",
		"250 auth login plain":                        "AUTH PLAIN",
		"250 Auth Login":                              "AUTH LOGIN",
		"250 AUTH=LOGIN":                              "AUTH LOGIN",
		"250 auth=login cram-md5":                     "AUTH LOGIN",
		"250 AUTH=PLAIN LOGIN":                        "AUTH PLAIN",
		"250-AUTH CRAM-MD5\r\n250 AUTH=LOGIN":         "AUTH LOGIN",
		"250-AUTH=LOGIN\r\n250 AUTH CRAM-MD5 PLAIN":   "AUTH PLAIN",
		"250-AUTH\tLOGIN\r\n250 OK":                   "AUTH LOGIN",
		"250-AUTH CRAM-MD5 DIGEST-MD5\r\n250 LOGIN":   "",
		"250-AUTHENTICATION PLAIN\r\n250 XAUTH LOGIN": "",
	} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, smtptest.Options{
				Username: "evently", Password: canaryPassword,
				Script: at("EHLO", smtptest.Action{Reply: "250-auth.example.com LOGIN PLAIN\r\n250-size 100000\r\n" + offer}),
			})
			cfg := config(server)
			cfg.Username, cfg.Password = "evently", canaryPassword
			_, err := newSender(t, cfg).Send(t.Context(), message())
			if want == "" {
				if failed := sendError(t, err); verdict(failed) != "rcb" || failed.Summary() != "no login by PLAIN or LOGIN offered at AUTH" {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if count(server.Commands(), want) != 1 {
				t.Errorf("commands %q, want %s", server.Commands(), want)
			}
			if m := server.WaitMails(1)[0]; len(m.Params) == 0 || !strings.HasPrefix(m.Params[0], "SIZE=") {
				t.Errorf("size in small letters was not read: %q", m.Params)
			}
		})
	}
}

// An answer that is longer than a command line may be comes after the challenge.
func TestLongPassword(t *testing.T) {
	t.Parallel()
	password := strings.Repeat("long-token ", 80)
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		server := smtptest.New(t, smtptest.Options{Username: "evently", Password: password, Mechanisms: []string{mechanism}})
		cfg := config(server)
		cfg.Username, cfg.Password = "evently", password
		if _, err := newSender(t, cfg).Send(t.Context(), message()); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}
