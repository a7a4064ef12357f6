package mail_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// slow is a script that delays each reply, and refuses at one command.
func slow(delay time.Duration, refused string) func(smtptest.Step) smtptest.Action {
	return func(s smtptest.Step) smtptest.Action {
		time.Sleep(delay)
		if s.Command == refused {
			return smtptest.Action{Reply: "451 4.3.0 later"}
		}
		return smtptest.Action{}
	}
}

func phases(t mail.Times) map[string]time.Duration {
	return map[string]time.Duration{
		"wait": t.Wait, "connect": t.Connect, "mail": t.Mail, "rcpt": t.Rcpt, "data": t.Data, "guard": t.Guard, "final": t.Final,
	}
}

// The phases together are the whole, whether the mail is accepted or not.
func TestTimes(t *testing.T) { eachWay(t, testTimes) }

func testTimes(t *testing.T, w way) {
	t.Parallel()
	const delay = 60 * time.Millisecond
	for refused, reached := range map[string]string{
		"":        "connect mail rcpt data guard final",
		"AUTH":    "connect",
		"MAIL":    "connect mail",
		"RCPT":    "connect mail rcpt",
		"DATA":    "connect mail rcpt data",
		"guarded": "connect mail rcpt data guard",
		".":       "connect mail rcpt data guard final",
	} {
		t.Run(refused, func(t *testing.T) {
			t.Parallel()
			opts := w.in(smtptest.Options{
				STARTTLS: true, Username: "evently", Password: canaryPassword, Script: slow(delay, refused),
			})
			opts.Gather = false // the phases end with the replies
			server := smtptest.New(t, opts)
			cfg := config(server)
			cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
			m := message()
			m.BeforeFinal = func(context.Context) error {
				time.Sleep(delay)
				if refused == "guarded" {
					return errors.New("no")
				}
				return nil
			}
			receipt, err := newSender(t, cfg).Send(t.Context(), m)
			times, whole, relay, tls := receipt.Times, receipt.Duration, receipt.Relay, receipt.TLS
			if refused != "" {
				failed := sendError(t, err)
				times, whole, relay, tls = failed.Times, failed.Duration, failed.Relay, failed.TLS
			} else if err != nil || receipt.QueueID != "Q1" {
				t.Errorf("queue id %q, %v", receipt.QueueID, err)
			}
			var sum time.Duration
			for phase, took := range phases(times) {
				sum += took
				// In a group a late look at one reply shortens the wait for the next one.
				if is := strings.Contains(reached, phase); is && took < delay/2 || !is && took != 0 && phase != "wait" {
					t.Errorf("%s took %v", phase, took)
				}
			}
			if sum > whole || whole-sum > whole/2 {
				t.Errorf("%v is not the whole of %+v", whole, times)
			}
			if relay != server.Addr() || refused != "AUTH" && !strings.HasPrefix(tls, "TLS 1.3 ") {
				t.Errorf("relay %q, TLS %q", relay, tls)
			}
		})
	}
}

// The wait for a connection is told apart from the delivery, and a reused connection costs no
// time to connect.
func TestTimesOfWait(t *testing.T) {
	t.Parallel()
	const delay = 30 * time.Millisecond
	server := smtptest.New(t, smtptest.Options{Script: slow(delay, "")})
	cfg := config(server)
	cfg.MaxConns = 1
	sender := newSender(t, cfg)
	run(t, sender)
	waitRunning(t, server, sender)
	type result struct {
		receipt mail.Receipt
		err     error
	}
	second, begun := make(chan result, 1), make(chan struct{})
	m := message()
	m.BeforeFinal = func(ctx context.Context) error {
		go func() {
			waiting := message()
			waiting.Wait = func(ctx context.Context, wait func(context.Context) error) error {
				close(begun)
				return wait(ctx)
			}
			receipt, err := sender.Send(context.WithoutCancel(ctx), waiting)
			second <- result{receipt, err}
		}()
		<-begun
		return nil
	}
	if _, err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := <-second
	if got.err != nil || !got.receipt.Reused || got.receipt.Times.Wait < delay {
		t.Errorf("%+v, %v", got.receipt, got.err)
	}
}
