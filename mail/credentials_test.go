package mail_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// logins is a source that gives its logins in order.
type logins struct {
	mu       sync.Mutex
	give     []mail.Credentials
	accepted []mail.Credentials
}

func (l *logins) Next(_ context.Context, refused []mail.Credentials) (mail.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.give) <= len(refused) {
		return mail.Credentials{}, errors.New("no other login")
	}
	return l.give[len(refused)], nil
}

func (l *logins) Accepted(c mail.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, c)
}

func (l *logins) set(give ...mail.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give, l.accepted = give, nil
}

// Each connection asks for its login. One that the server refuses is followed by the next one for
// the same mail, and its pause delays no other. No log and no error has a password.
func TestLoginOfEachConnection(t *testing.T) {
	t.Parallel()
	var repeat sync.Map // what the server repeats
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "u1", Password: "cAnArY-first",
		Script: func(s smtptest.Step) smtptest.Action {
			if text, ok := repeat.Load(s.Command); ok {
				return smtptest.Action{Reply: text.(string)}
			}
			return smtptest.Action{}
		},
	})
	first, second := mail.Credentials{Username: "u1", Password: "cAnArY-first"}, mail.Credentials{Username: "u2", Password: "cAnArY-second"}
	wrong, other := mail.Credentials{Username: "u1", Password: "cAnArY-wrong"}, mail.Credentials{Username: "u3", Password: "cAnArY-other"}
	source := &logins{give: []mail.Credentials{first}}
	var logs lockedBuffer
	cfg := config(server)
	cfg.Security, cfg.Credentials, cfg.LoginPause = mail.StartTLS, source, time.Hour
	cfg.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sender := newSender(t, cfg)
	run(t, sender)
	send := func(when, login string, want ...mail.Credentials) {
		t.Helper()
		_, err := sender.Send(t.Context(), message())
		mails := server.Mails()
		if err != nil || len(mails) == 0 || mails[len(mails)-1].Login != login || !slices.Equal(source.accepted, want) {
			t.Errorf("%s: error %v, accepted %v; want %v", when, err, source.accepted, want)
		}
	}
	send("at first", "u1", first)
	source.set(second)
	server.SetLogin("u2", second.Password)
	send("over an open connection", "u1")
	sender.Renew()
	send("after Renew", "u2", second)
	source.set(wrong, other, second)
	sender.Renew()
	send("third", "u2", second)
	source.set(first, wrong, other, second)
	sender.Renew()
	_, err := sender.Send(t.Context(), message())
	failed := sendError(t, err)
	if failed.Command != "AUTH" || failed.Code != 535 || !failed.ConfigurationFault() {
		t.Errorf("all refused: %v", err)
	}
	source.set(second) // the pauses of the others are an hour long
	send("after a refusal", "u2", second)
	repeat.Store("RCPT", "451 4.3.0 no, "+first.Password+" "+wrong.Password+" "+second.Password)
	if _, err := sender.Send(t.Context(), message()); err == nil || strings.Contains(err.Error(), "cAnArY") {
		t.Errorf("error %v shows a password", err)
	}
	if strings.Contains(logs.String(), "cAnArY") {
		t.Errorf("the log shows a password:\n%s", logs.String())
	}
}

// A server may repeat the password that it has just been given, in the reply to the same mail, and
// any secret that was replaced since the start. Of two that begin alike nothing is left.
func TestReplacedSecretsAreHidden(t *testing.T) {
	t.Parallel()
	var repeat sync.Map
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "u", Password: "cAnArY-2",
		Script: func(s smtptest.Step) smtptest.Action {
			if text, ok := repeat.Load(s.Command); ok {
				return smtptest.Action{Reply: text.(string)}
			}
			return smtptest.Action{}
		},
	})
	var logs lockedBuffer
	cfg := config(server)
	cfg.Security, cfg.LoginPause, cfg.Secrets = mail.StartTLS, time.Hour, []string{"cAnArY-redis"}
	cfg.Credentials = &logins{give: []mail.Credentials{{Username: "u", Password: "cAnArY"}, {Username: "u", Password: "cAnArY-2"}}}
	cfg.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sender := newSender(t, cfg)
	refused := func(says string) string {
		t.Helper()
		repeat.Store("RCPT", "451 4.3.0 no, "+says+" is it")
		_, err := sender.Send(t.Context(), message())
		if failed := sendError(t, err); failed.Command != "RCPT" {
			t.Errorf("error %v", err)
		}
		return err.Error()
	}
	if text := refused("cAnArY-2"); !strings.Contains(text, "no, *** is it") {
		t.Errorf("the login of this mail: %s", text)
	}
	sender.Hide([]string{"cAnArY-redis-xy", "cAnArY-redis"})
	for _, secret := range []string{"cAnArY-redis", "cAnArY-redis-xy", "Y0FuQXJZLXJlZGlzLXh5"} {
		if text := refused(secret); !strings.Contains(text, "no, *** is it") {
			t.Errorf("%s: %s", secret, text)
		}
	}
	if strings.Contains(logs.String(), "cAnArY") {
		t.Errorf("the log shows a secret:\n%s", logs.String())
	}
}
