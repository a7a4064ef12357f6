package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
)

// While a circuit breaker is open no attempt is spent, however long that is. An ordinary mail
// goes back to its place in the queue. An urgent one is tried at the next probe, and expires
// with an answer.
func TestOpenBreaker(t *testing.T) {
	open := func(next time.Duration) error {
		return &breaker.OpenError{Name: "relay", Reason: "connection refused", Since: now.Add(-time.Hour), Next: now.Add(next)}
	}
	for name, c := range map[string]struct {
		change func(error) func(*tasks.Config)
		text   string
		kinds  []string
	}{
		"relay": {func(err error) func(*tasks.Config) {
			return func(c *tasks.Config) {
				c.Mailer = mailerFunc(func(context.Context, mail.Message) (mail.Receipt, error) {
					return mail.Receipt{}, &mail.SendError{Command: "WAIT", Err: errors.Join(err)}
				})
			}
		}, "mail server is unavailable", []string{"otp", "welcome", "confirmation", "notification"}},
		"database": {func(err error) func(*tasks.Config) {
			return func(c *tasks.Config) { c.Users = directory{err: fmt.Errorf("look up: %w", err)} }
		}, "database is unavailable", []string{"confirmation", "notification"}},
	} {
		for _, kind := range c.kinds {
			for _, retried := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, kind, retried), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t, c.change(open(20*time.Second)))
						one := oneOfEach()[kind]
						one.Retries = retried
						_, err := b.run(t.Context(), one)
						if kind == "welcome" || kind == "confirmation" {
							g, ok := errors.AsType[*worker.GiveBackError](err)
							if !ok || g.Err.Error() != c.text {
								t.Errorf("%v, want the message given back: %s", err, c.text)
							}
							return
						}
						r, ok := errors.AsType[*worker.RetryError](err)
						if !ok || !r.Free || r.Err.Error() != c.text || r.Countdown < 20*time.Second || r.Countdown > 24*time.Second {
							t.Errorf("%v, want it parked until the next probe", err)
						}
					})
				})
			}
		}
	}
	// Another relay is in order and cannot take this mail: its queue is not held, so that it
	// must not go to the front of it again and again.
	b := newBench(t, nil)
	b.out.err = &mail.SendError{Command: "WAIT", Relay: "second:587", Err: errors.Join(open(20*time.Second), &mail.SendError{Command: "MAIL", Code: 553})}
	_, err := b.run(t.Context(), oneOfEach()["confirmation"])
	if r, ok := errors.AsType[*worker.RetryError](err); !ok || !r.Free || r.Countdown < 20*time.Second || r.Countdown > 24*time.Second {
		t.Errorf("%v, want it parked until the next probe", err)
	}
	b = newBench(t, func(c *tasks.Config) { c.Users = directory{err: open(time.Hour)} })
	_, err = b.run(t.Context(), with(oneOfEach()["notification"], seen(29*time.Minute)))
	if r, ok := errors.AsType[*worker.RetryError](err); !ok || r.Countdown.Round(time.Millisecond) != time.Minute+time.Second {
		t.Errorf("%v, want a retry directly after the lifetime of the offer", err)
	}
}

// A message whose own expiry comes before its next attempt is answered at once: the engine
// would revoke the retry, and the history of the mail would have no end.
func TestExpiresOfTheMessage(t *testing.T) {
	late := &mail.SendError{Command: "RCPT", Code: 451}
	down := &mail.SendError{Command: "DIAL", Err: errors.New("refused")}
	for name, c := range map[string]struct {
		err     error
		expires time.Duration
		want    string
	}{
		"before the run":                     {nil, -time.Second, "expired"},
		"after the run":                      {nil, time.Second, "sent"},
		"before the retry":                   {late, 10 * time.Second, "expired"},
		"after the retry":                    {late, time.Hour, retries},
		"before the end of an outage":        {down, time.Second, "expired"},
		"after the first pause of an outage": {down, time.Minute, waits},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.out.err = c.err
			one := oneOfEach()["welcome"]
			one.Expires = now.Add(c.expires)
			result, err := b.run(t.Context(), one)
			got := verdict(result, err)
			if r, ok := result.(tasks.Result); ok && err == nil {
				if got = r.Error; r.Success {
					got = "sent"
				}
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// A mail that has waited for a connection until it was too late is withheld.
func TestLateAtTheEnd(t *testing.T) {
	clock := now
	b := newBench(t, func(c *tasks.Config) {
		c.Now = func() time.Time { return clock }
		c.Mailer = mailerFunc(func(ctx context.Context, m mail.Message) (mail.Receipt, error) {
			clock = clock.Add(11 * time.Minute)
			if err := m.BeforeFinal(ctx); err != nil {
				return mail.Receipt{}, &mail.SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", mail.ErrWithheld, err)}
			}
			return mail.Receipt{}, nil
		})
	})
	result, err := b.run(t.Context(), oneOfEach()["otp"])
	if r, ok := result.(tasks.Result); err != nil || !ok || r.Error != "expired" {
		t.Errorf("%v, %v, want expired", result, err)
	}
}

// codeBook has the codes of the auth service.
type codeBook struct {
	codes map[string]string
	err   error
}

func (b codeBook) Code(_ context.Context, address string) (string, bool, error) {
	code, ok := b.codes[address]
	return code, ok, b.err
}

// A code is sent only while the auth service expects it. A question without an answer keeps
// no code back.
func TestCodes(t *testing.T) {
	for name, c := range map[string]struct {
		book tasks.Codes
		want string
	}{
		"not checked":       {nil, ""},
		"valid":             {codeBook{codes: map[string]string{" Bob@Example.com": "042917"}}, ""},
		"valid, with space": {codeBook{codes: map[string]string{" Bob@Example.com": " 042917\n"}}, ""},
		"used or expired":   {codeBook{}, "expired"},
		"superseded":        {codeBook{codes: map[string]string{" Bob@Example.com": "151617"}}, "superseded"},
		"a zero less":       {codeBook{codes: map[string]string{" Bob@Example.com": "42917"}}, "superseded"},
		"no answer":         {codeBook{err: errors.New("timeout")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(cfg *tasks.Config) { cfg.Codes = c.book })
			result, err := b.run(t.Context(), task(tasks.NameOTP, `[{"email": " Bob@Example.com", "otp": "042917"}]`, `{}`))
			r, ok := result.(tasks.Result)
			if err != nil || !ok || r.Error != c.want || r.Success != (c.want == "") || len(b.out.sent) == 1 != r.Success {
				t.Errorf("%d mails, result %+v, %v", len(b.out.sent), result, err)
			}
			if log := b.logs.String(); hasAny(log, "042917", "151617", "Bob@") {
				t.Errorf("the log shows too much:\n%s", log)
			}
		})
	}
	// Other mails are not asked about.
	b := newBench(t, func(cfg *tasks.Config) { cfg.Codes = codeBook{} })
	if _, err := b.run(t.Context(), oneOfEach()["welcome"]); err != nil || len(b.out.sent) != 1 {
		t.Errorf("%d mails, %v", len(b.out.sent), err)
	}
}
