package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// withLedger records the history of mails, with addresses in clear.
func withLedger(t testing.TB) func(*tasks.Config) {
	t.Helper()
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: strings.Repeat("k", 32), Mask: mail.MaskAddress})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *tasks.Config) { c.Ledger, c.Worker = sealer, "email-worker@host" }
}

// events returns the events that a run has recorded.
func events(t testing.TB, o workertest.Outcome) (all []ledger.Event) {
	t.Helper()
	for _, entry := range o.Recorded[ledger.StreamName] {
		e, err := ledger.Decode(entry.Fields)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// summary is an event in a line: its state, step, codes, class, reason and next attempt.
func summary(e ledger.Event) string {
	next := ""
	if !e.NextAt.IsZero() {
		next = "next"
	}
	text := fmt.Sprintf("%s %s %d %s %s %s %s", e.State, e.Stage, e.Code, e.Enhanced, e.Class, e.Reason, next)
	return strings.Join(strings.Fields(text), " ")
}

// Every end of a run is an event.
func TestEvents(t *testing.T) {
	clock := func(c *tasks.Config) { c.Now = func() time.Time { return now } }
	send := func(before, after error) func(*tasks.Config) {
		return func(c *tasks.Config) { c.Mailer = &relay{before: before, after: after} }
	}
	missing := workertest.Call{Task: tasks.NameOTP, Args: rawArgs([]string{`{"email": "bob@example.com"}`})}
	nobody := workertest.Call{Task: tasks.NameBookingConfirmation, Args: rawArgs([]string{`44`, `{"booking_id": "BK-7"}`})}
	last := unsureCall("booking")
	last.Retries = 3
	old := unsureCall("otp", seen(time.Hour))
	marked := unsureCall("otp")
	marked.Mark = markAt("sending 1", time.Minute)
	held := unsureCall("booking")
	held.Mark = markAt("sending 1", time.Hour)
	again, heldAgain := marked, held
	again.Redelivered, heldAgain.Redelivered = true, true
	expired, nonsense := unsureCall("booking"), workertest.Call{Task: tasks.NameOTP, Args: rawArgs([]string{`{}`, `7`})}
	expired.Expires, nonsense.Expires = time.Now().Add(-time.Second), time.Now().Add(-time.Second)
	for name, c := range map[string]struct {
		call   workertest.Call
		change func(*tasks.Config)
		want   []string
	}{
		"accepted":                           {unsureCall("booking"), send(nil, nil), []string{"sending 0", "accepted . 0"}},
		"deferred":                           {unsureCall("booking"), send(&mail.SendError{Command: "RCPT", Code: 451, EnhancedCode: [3]int{4, 7, 1}}, nil), []string{"deferred RCPT 451 4.7.1 temporary mail server did not take the mail: 451 4.7.1 at RCPT next"}},
		"at the last":                        {last, send(&mail.SendError{Command: "RCPT", Code: 451}, nil), []string{"dead RCPT 451 temporary mail server did not take the mail: 451 at RCPT"}},
		"refused":                            {unsureCall("booking"), send(&mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "no such user"}, nil), []string{"rejected RCPT 550 5.1.1 address recipient address refused: 550 5.1.1 at RCPT"}},
		"relay is down":                      {unsureCall("booking"), send(&mail.SendError{Command: "DIAL", Err: errors.New("refused")}, nil), []string{"queued DIAL 0 connection mail server did not take the mail: no answer at DIAL next"}},
		"throttled":                          {unsureCall("booking"), send(&mail.SendError{Command: "DATA", Code: 421}, nil), []string{"deferred DATA 421 rate mail server puts this service off: 421 at DATA next"}},
		"no answer":                          {unsureCall("booking"), send(nil, &mail.SendError{Command: ".", Err: errors.New("closed")}), []string{"sending 0", "unknown . 0 unknown " + unsureText}},
		"no answer, code":                    {unsureCall("otp"), send(nil, &mail.SendError{Command: ".", Err: errors.New("closed")}), []string{"sending 0", "unknown . 0 unknown " + unsureText + " next"}},
		"resent":                             {marked, send(nil, nil), []string{"sending 0", "unknown 0 " + unsureText, "sending 0", "accepted . 0"}},
		"held":                               {held, send(nil, nil), []string{"sending 0", "unknown 0 " + unsureText}},
		"resent, seen before":                {again, send(nil, nil), []string{"unknown 0 " + unsureText, "sending 0", "accepted . 0"}},
		"held, seen before":                  {heldAgain, send(nil, nil), []string{"unknown 0 " + unsureText}},
		"a copy is put off":                  {marked, send(nil, &mail.SendError{Command: ".", Code: 452}), []string{"sending 0", "unknown 0 " + unsureText, "sending 0", "unknown . 452 temporary mail server did not take the mail: 452 at end of data next"}},
		"a copy is refused":                  {again, send(&mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "no such user"}, nil), []string{"unknown RCPT 550 5.1.1 address recipient address refused: 550 5.1.1 at RCPT"}},
		"expired in the queue":               {expired, nil, []string{"expired 0 message expired in its queue"}},
		"expired, arguments of another form": {nonsense, nil, []string{"expired 0 message expired in its queue"}},
		"breaker is open":                    {unsureCall("booking"), send(&mail.SendError{Command: "WAIT", Err: &breaker.OpenError{Next: now.Add(time.Minute)}}, nil), []string{"queued WAIT 0 connection mail server is unavailable next"}},
		"another relay": {unsureCall("booking"), send(&mail.SendError{Command: "RCPT", Code: 451, Others: []*mail.SendError{
			{Command: "DIAL", Relay: "one.example:25", Err: errors.New("refused")}, {Command: "MAIL", Code: 421, Relay: "two.example:25"}}}, nil), []string{
			"queued DIAL 0 connection another relay was tried", "deferred MAIL 421 rate another relay was tried",
			"deferred RCPT 451 temporary mail server did not take the mail: 451 at RCPT next"}},
		"too old":       {old, nil, []string{"expired 0 expired"}},
		"missing data":  {missing, nil, []string{"rejected arguments 0 Missing required data"}},
		"no such user":  {nobody, nil, []string{"rejected lookup 0 User email not found"}},
		"no such code":  {unsureCall("otp"), func(c *tasks.Config) { c.Codes = codeBook{} }, []string{"expired 0 code is used or expired"}},
		"database down": {unsureCall("booking"), func(c *tasks.Config) { c.Users = directory{err: errors.New("down")} }, []string{"queued 0 user lookup failed next"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(cfg *tasks.Config) {
				withLedger(t)(cfg)
				clock(cfg)
				if c.change != nil {
					c.change(cfg)
				}
			})
			var got []string
			for _, e := range events(t, workertest.Run(t, b.Definitions(), c.call)) {
				got = append(got, summary(e))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			b = newBench(t, c.change)
			if o := workertest.Run(t, b.Definitions(), c.call); len(o.Recorded) != 0 {
				t.Errorf("without a ledger: %v", o.Recorded)
			}
		})
	}
}

// The event of an accepted mail has what a person asks for, and no more.
func TestEventOfAnAcceptedMail(t *testing.T) {
	logs := &logBuffer{}
	server, parts := realParts(t, logs, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "." {
			return smtptest.Action{Reply: "250 2.0.0 Ok: queued as 9A1B2C3D4E"}
		}
		return smtptest.Action{}
	}})
	b := newBench(t, func(c *tasks.Config) {
		parts(c)
		withLedger(t)(c)
	})
	o := workertest.Run(t, b.Definitions(), workertest.Call{
		Task: tasks.NameBookingConfirmation, ID: "task-7", Retries: 1, Headers: []protocol.Header{seen(time.Hour)},
		Args: rawArgs([]string{`"42"`, `{"booking_id": "BK-2026-7", "event_name": "Night of Secrets"}`}),
	})
	all := events(t, o)
	if len(all) != 2 {
		t.Fatalf("%d events", len(all))
	}
	got := all[1]
	names := []string{}
	for _, p := range got.Phases {
		names = append(names, p.Name)
	}
	want := ledger.Event{
		TaskID: "task-7", Kind: "booking_confirmation", State: ledger.Accepted, Attempt: 2, UserID: 42, Booking: "BK-2026-7",
		Stage: ".", Text: "2.0.0 Ok: queued as 9A1B2C3D4E", QueueID: "9A1B2C3D4E", Worker: "email-worker@host",
		Endpoint: fmt.Sprintf("%s:%d", server.Host(), server.Port()),
	}
	same := cmp.FilterPath(func(p cmp.Path) bool {
		return slices.Contains([]string{"Mail", "At", "FirstSeen", "Recipient", "Phases", "TLS", "MessageID"}, p.Last().String()[min(1, len(p.Last().String())):])
	}, cmp.Ignore())
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if got.Recipient.Masked != "a***@example.com" || got.Recipient.Domain != "example.com" || !strings.HasPrefix(got.TLS, "TLS 1.3") ||
		!strings.Contains(server.WaitMails(1)[0].Text(), "Message-ID: "+got.MessageID) || !got.FirstSeen.Equal(got.At.Add(-time.Hour)) {
		t.Errorf("event %+v", got)
	}
	if !slices.Equal(names[:2], []string{"lookup", "render"}) || !slices.Contains(names, "connect") || !slices.Contains(names, "final") || !slices.Contains(names, "guard") {
		t.Errorf("phases %q", names)
	}
}

// Neither the code nor the address of a mail is in its history, however it ends, and
// even if the server repeats them.
func TestEventsHaveNoSecrets(t *testing.T) {
	const code = "K4N4R13"
	for name, opts := range map[string]smtptest.Options{
		"sent":    scripted(".", smtptest.Action{Reply: "250 2.0.0 queued " + code + " for bob@example.com"}),
		"refused": scripted(".", smtptest.Action{Reply: "554 5.7.1 blocked word " + code + " for bob@example.com"}),
		"delayed": scripted("RCPT", smtptest.Action{Reply: "451 4.3.0 bob@example.com " + code}),
		"closed":  scripted(".", smtptest.Action{Then: smtptest.Close}),
		"login":   scripted("AUTH", smtptest.Action{Reply: "535 5.7.8 not with smtp-password"}),
	} {
		t.Run(name, func(t *testing.T) {
			_, parts := realParts(t, &logBuffer{}, opts)
			b := newBench(t, func(c *tasks.Config) {
				parts(c)
				withLedger(t)(c)
			})
			o := workertest.Run(t, b.Definitions(), workertest.Call{
				Task: tasks.NameOTP, Args: rawArgs([]string{`{"email": "bob@example.com", "otp": "` + code + `", "user_data": {"full_name": "Bob Builder"}}`}),
			})
			entries := o.Recorded[ledger.StreamName]
			if len(entries) == 0 {
				t.Fatal("nothing was recorded: this test would prove nothing")
			}
			for _, e := range entries {
				if text := strings.Join(e.Fields, " "); hasAny(text, code, "bob@example.com", "smtp-password", "Bob Builder") {
					t.Errorf("recorded: %s", text)
				}
			}
		})
	}
}

// A mail that a stop cuts short between its mark and its end was not sent.
func TestStopBeforeTheEndIsRecorded(t *testing.T) {
	for earlier, want := range map[string]string{
		"":                               "queued 0 worker stopped before the end of the mail",
		markAt("unknown 1", time.Minute): "unknown 0 " + unsureText,
	} {
		b := newBench(t, func(cfg *tasks.Config) {
			withLedger(t)(cfg)
			cfg.Mailer = mailerFunc(func(run context.Context, m mail.Message) (mail.Receipt, error) {
				stopped, stop := context.WithCancelCause(run)
				stop(worker.ErrStopped)
				err := m.BeforeFinal(stopped)
				return mail.Receipt{}, &mail.SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", mail.ErrWithheld, err)}
			})
		})
		call := unsureCall("otp")
		call.Mark = earlier
		found := false
		for _, e := range events(t, workertest.Run(t, b.Definitions(), call)) {
			found = found || summary(e) == want
		}
		if !found {
			t.Errorf("mark %q: no event says %s", earlier, want)
		}
	}
}

// The event of a message that expired in its queue has what its arguments tell.
func TestEventOfAnExpiredMessage(t *testing.T) {
	b := newBench(t, withLedger(t))
	call := unsureCall("booking")
	call.Expires = time.Now().Add(-time.Second)
	o := workertest.Run(t, b.Definitions(), call)
	all := events(t, o)
	if len(all) != 1 || all[0].UserID != 42 || all[0].Booking != "BK-7" || all[0].Kind != "booking_confirmation" || o.State != protocol.StateRevoked {
		t.Errorf("%s, events %+v", o.State, all)
	}
	call = unsureCall("otp")
	call.Expires = time.Now().Add(-time.Second)
	if all = events(t, workertest.Run(t, b.Definitions(), call)); len(all) != 1 || all[0].Recipient.Masked != "b***@example.com" {
		t.Errorf("events %+v", all)
	}
}
