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
	// Those that had begun before the first refusal came.
	if n := logins.Load(); n > 4 {
		t.Errorf("%d logins for 100 mails, want no more than the connections", n)
	}
	tried := sender.Status().Tried
	if _, err := sender.Send(t.Context(), message()); err == nil {
		t.Error("a mail went out")
	}
	if got := sender.Status(); got.Tried != tried || got.Fault == nil {
		t.Errorf("a mail that tried nothing counts as a try: %+v", got)
	}
}
