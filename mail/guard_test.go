package mail_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// However many mails wait, a password that is refused is tried by one at a time,
// and as soon as it is taken all of them go out.
func TestRefusedLoginIsNotRepeated(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	var logins atomic.Int64
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "evently", Password: canaryPassword,
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Command == "AUTH" {
				logins.Add(1)
				if !mended.Load() {
					return smtptest.Action{Reply: "535 5.7.8 no"}
				}
			}
			return smtptest.Action{}
		},
	})
	cfg := config(server)
	cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
	cfg.MaxConns, cfg.LoginPause = 4, 500*time.Millisecond
	sender := newSender(t, cfg)

	all := func() (refused int64) {
		var n atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := sender.Send(context.Background(), message()); err != nil {
					if failed := sendError(t, err); failed.Code != 535 || failed.Command != "AUTH" || !failed.ConfigurationFault() {
						t.Errorf("refused by %v", err)
					}
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return n.Load()
	}
	if got := all(); got != 50 {
		t.Errorf("%d of 50 mails were refused", got)
	}
	if n := logins.Load(); n > 4 { // those that began before the first refusal
		t.Errorf("%d logins for 50 mails, want no more than the connections", n)
	}
	time.Sleep(cfg.LoginPause + 10*time.Millisecond)
	before := logins.Load()
	all()
	if n := logins.Load() - before; n != 1 {
		t.Errorf("%d logins after the pause, want one", n)
	}

	mended.Store(true)
	time.Sleep(2*cfg.LoginPause + 10*time.Millisecond) // the pause has doubled
	if _, err := sender.Send(t.Context(), message()); err != nil {
		t.Fatalf("after the password was mended: %v", err)
	}
	if got := all(); got != 0 {
		t.Errorf("%d of 50 mails were refused after that", got)
	}
}

// A probe that never came to the login gives its place to the next.
func TestProbeThatDoesNotConnect(t *testing.T) {
	t.Parallel()
	var mood atomic.Value
	mood.Store("refuse")
	server := smtptest.New(t, smtptest.Options{
		STARTTLS: true, Username: "evently", Password: canaryPassword,
		Script: func(s smtptest.Step) smtptest.Action {
			switch {
			case s.Command == "CONNECT" && mood.Load() == "close":
				return smtptest.Action{Then: smtptest.Close}
			case s.Command == "AUTH" && mood.Load() == "refuse":
				return smtptest.Action{Reply: "454 4.7.0 too many logins"}
			}
			return smtptest.Action{}
		},
	})
	cfg := config(server)
	cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
	cfg.LoginPause = 20 * time.Millisecond
	sender := newSender(t, cfg)
	for _, step := range []struct{ mood, command string }{{"refuse", "AUTH"}, {"close", "GREETING"}, {"close", "GREETING"}, {"work", ""}} {
		mood.Store(step.mood)
		time.Sleep(2 * cfg.LoginPause)
		_, err := sender.Send(t.Context(), message())
		if step.command == "" && err != nil || step.command != "" && sendError(t, err).Command != step.command {
			t.Errorf("when it should %s: %v", step.mood, err)
		}
	}
}
