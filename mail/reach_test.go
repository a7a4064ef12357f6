package mail_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// Reach greets and leaves: no EHLO, no login. It tells whether a server gives a sign of life.
func TestReach(t *testing.T) {
	t.Parallel()
	login := smtptest.Options{Username: "u", Password: "p"}
	with := func(o smtptest.Options, a smtptest.Action) smtptest.Options {
		o.Script = at("CONNECT", a)
		return o
	}
	for name, test := range map[string]struct {
		opts      smtptest.Options
		security  mail.Security
		code      int // of the failure, -1: none
		unreached bool
	}{
		"works":            {login, mail.Plain, -1, false},
		"implicit TLS":     {smtptest.Options{ImplicitTLS: true}, mail.ImplicitTLS, -1, false},
		"STARTTLS":         {smtptest.Options{STARTTLS: true}, mail.StartTLS, -1, false},
		"busy":             {with(login, smtptest.Action{Reply: "421 4.7.0 too many connections"}), mail.Plain, 421, false},
		"refuses":          {with(login, smtptest.Action{Reply: "554 5.7.1 no service"}), mail.Plain, 554, false},
		"another protocol": {with(login, smtptest.Action{Reply: "SSH-2.0-OpenSSH_9.2"}), mail.Plain, 0, false},
		"hangs up":         {with(login, smtptest.Action{Then: smtptest.Close}), mail.Plain, 0, true},
		"resets":           {with(login, smtptest.Action{Then: smtptest.Reset}), mail.Plain, 0, true},
		"is frozen":        {with(login, smtptest.Action{Then: smtptest.Freeze}), mail.Plain, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, test.opts)
			cfg := config(server)
			cfg.Security = test.security
			if test.opts.Username != "" {
				cfg.Username, cfg.Password = "u", "p"
			}
			sender := newSender(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if name == "is frozen" {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			defer cancel()
			err := sender.Reach(ctx)
			if test.code < 0 {
				if err != nil {
					t.Fatal(err)
				}
				server.Wait("QUIT", func() bool { return slices.Contains(server.Commands(), "QUIT") })
			} else if failed := sendError(t, err); failed.Code != test.code || failed.Unreached() != test.unreached || failed.Relay != server.Addr() {
				t.Errorf("%+v; want code %d, unreached %v", failed, test.code, test.unreached)
			}
			for _, c := range server.Commands() {
				if c != "CONNECT" && c != "TLS" && c != "QUIT" {
					t.Errorf("commands: %q", server.Commands())
				}
			}
			if s := sender.Status(); s.Fault != nil {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

func TestUnreached(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	sender := newSender(t, config(server))
	server.Stop()
	if failed := sendError(t, sender.Reach(t.Context())); failed.Command != "DIAL" || !failed.Unreached() || !errors.Is(failed, syscall.ECONNREFUSED) {
		t.Errorf("nothing listens: %+v", failed)
	}
	for _, test := range []struct {
		failed mail.SendError
		want   bool
	}{
		{mail.SendError{Command: "DIAL", Err: os.ErrDeadlineExceeded}, true},
		{mail.SendError{Command: "GREETING", Err: os.ErrDeadlineExceeded}, true},
		{mail.SendError{Command: "EHLO", Err: os.ErrDeadlineExceeded}, false},
		{mail.SendError{Command: "AUTH", Err: os.ErrDeadlineExceeded}, false},
		{mail.SendError{Command: "AUTH", Code: 535}, false},
		{mail.SendError{Command: "GREETING", Code: 421}, false},
		{mail.SendError{Command: ".", Err: syscall.ECONNRESET}, false},
	} {
		if got := test.failed.Unreached(); got != test.want {
			t.Errorf("%v: %v, want %v", &test.failed, got, test.want)
		}
	}
}
