package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// relay is a mailer that asks before the end of the mail, and then does what it is told.
type relay struct {
	before error // instead of the question
	after  error // instead of the acceptance
	ended  int   // mails whose end was sent
}

func (r *relay) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	if r.before != nil {
		return mail.Receipt{}, r.before
	}
	if err := m.BeforeFinal(ctx); err != nil {
		return mail.Receipt{}, &mail.SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", mail.ErrWithheld, err)}
	}
	r.ended++
	if r.after != nil {
		return mail.Receipt{}, r.after
	}
	return mail.Receipt{MessageID: "<" + m.TaskID + "@example.com>", Reply: "2.0.0 queued as 4F2", QueueID: "4F2", Relay: "relay.example:587"}, nil
}

// markAt is a mark that was set so long ago.
func markAt(words string, ago time.Duration) string {
	return words + " " + protocol.FormatTime(now.Add(-ago))
}

// calls of the kinds that treat an unknown outcome differently.
func unsureCall(kind string, headers ...protocol.Header) workertest.Call {
	c := workertest.Call{Task: tasks.NameBookingConfirmation, Args: rawArgs([]string{`42`, `{"booking_id": "BK-7"}`}), Headers: headers}
	switch kind {
	case "otp":
		c.Task, c.Args = tasks.NameOTP, rawArgs([]string{`{"email": "bob@example.com", "otp": "042917"}`})
	case "offer":
		c.Task, c.Args = tasks.NameWaitlistNotification, rawArgs([]string{`42`, `{}`})
	}
	return c
}

const unsureText = "delivery unsure: no answer from the mail server"

// The table of the guard: what a run does about the mark of an earlier one, and which mark it
// leaves.
func TestMarks(t *testing.T) {
	lost := &mail.SendError{Command: ".", Err: io.ErrUnexpectedEOF}
	full := &mail.SendError{Command: ".", Code: 452, EnhancedCode: [3]int{4, 3, 1}}
	spam := &mail.SendError{Command: ".", Code: 554, EnhancedCode: [3]int{5, 7, 1}}
	later := &mail.SendError{Command: "RCPT", Code: 451}
	unsureBefore := worker.TimeHeader(unsure, now.Add(-time.Minute))
	const sent, retried, parked, held, refused = "sent", "retried", "parked", "held", "refused"
	for name, c := range map[string]struct {
		kind          string
		policy        tasks.UnknownPolicy
		mark          string // that an earlier run has left
		header        bool   // the message says that an earlier run ended without an answer
		before, after error
		want          string
		ended         int
		left          string // mark
	}{
		"first run":                 {kind: "booking", want: sent, ended: 1},
		"withdrawn by a stop":       {kind: "booking", mark: "none", want: sent, ended: 1},
		"refused at the end":        {kind: "booking", after: full, want: retried, ended: 1},
		"refused for good":          {kind: "booking", after: spam, want: refused, ended: 1},
		"refused before the end":    {kind: "booking", before: later, want: retried},
		"no answer":                 {kind: "booking", after: lost, want: held, ended: 1},
		"no answer, to be resent":   {kind: "booking", policy: tasks.ResendUnknown, after: lost, want: retried, ended: 1, left: markAt("unknown 1", 0)},
		"no answer, a code":         {kind: "otp", after: lost, want: retried, ended: 1, left: markAt("unknown 1", 0)},
		"no answer, an offer":       {kind: "offer", after: lost, want: retried, ended: 1, left: markAt("unknown 1", 0)},
		"its worker may live":       {kind: "booking", mark: markAt("sending 1", time.Minute), want: parked, left: markAt("sending 1", time.Minute)},
		"its worker is dead":        {kind: "booking", mark: markAt("sending 1", 131*time.Second), want: held},
		"dead, to be resent":        {kind: "booking", policy: tasks.ResendUnknown, mark: markAt("sending 1", 3*time.Minute), want: sent, ended: 1},
		"a code, its worker dead":   {kind: "otp", mark: markAt("sending 1", time.Second), want: sent, ended: 1},
		"an offer, its worker dead": {kind: "offer", mark: markAt("sending 1", time.Second), want: sent, ended: 1},
		"a code, dead twice":        {kind: "otp", mark: markAt("sending 2", time.Minute), want: held},
		"a code, no answer twice":   {kind: "otp", mark: markAt("unknown 1", time.Minute), header: true, after: lost, want: held, ended: 1},
		"a code, dead after resend": {kind: "otp", mark: markAt("sending 2", time.Minute), header: true, want: held},
		"a code, resent":            {kind: "otp", mark: markAt("unknown 1", time.Minute), header: true, want: sent, ended: 1},
		"a code, no marks at all":   {kind: "otp", header: true, want: sent, ended: 1},
		"no marks, no answer again": {kind: "otp", header: true, after: lost, want: held, ended: 1},
		"the copy is refused":       {kind: "otp", mark: markAt("unknown 1", time.Minute), header: true, after: full, want: retried, ended: 1, left: markAt("unknown 1", time.Minute)},
		"the copy is not begun":     {kind: "otp", mark: markAt("unknown 1", time.Minute), header: true, before: later, want: retried, left: markAt("unknown 1", time.Minute)},
		"a copy that is not wanted": {kind: "booking", mark: markAt("unknown 1", time.Minute), want: held},
		"a third is never sent":     {kind: "booking", policy: tasks.ResendUnknown, mark: markAt("unknown 2", time.Minute), want: held},
		"delivered by a lost run":   {kind: "booking", mark: "settled", want: sent},
		"a code, delivered so":      {kind: "otp", mark: "settled", want: sent},
		"a mark of nonsense":        {kind: "otp", mark: "sending many times", want: held},
		"a mark of other words":     {kind: "otp", mark: markAt("sent 1", time.Minute), want: held},
		"a clock ahead of ours":     {kind: "booking", mark: markAt("sending 1", -time.Minute), want: parked, left: markAt("sending 1", -time.Minute)},
		"a clock far ahead of ours": {kind: "booking", mark: markAt("sending 1", -time.Hour), want: held},
	} {
		test := func(t *testing.T, redelivered bool) {
			r := &relay{before: c.before, after: c.after}
			b := newBench(t, func(cfg *tasks.Config) { cfg.Mailer, cfg.UnknownPolicy = r, c.policy })
			call := unsureCall(c.kind)
			if c.header {
				call = unsureCall(c.kind, unsureBefore)
			}
			call.Mark, call.Redelivered = c.mark, redelivered
			o := workertest.Run(t, b.Definitions(), call)
			got := o.State
			switch {
			case o.DeadLetter == unsureText:
				got = held
			case o.DeadLetter != "":
				got = refused
			case o.State == protocol.StateRetry && o.Retry.Retries == 0:
				got = parked
			case o.State == protocol.StateRetry:
				got = retried
			case strings.Contains(string(o.Result), `"success": true`):
				got = sent
			}
			if got != c.want || r.ended != c.ended || o.Mark != c.left {
				t.Errorf("%s, %d ends, mark %q; want %s, %d, %q", got, r.ended, o.Mark, c.want, c.ended, c.left)
			}
			if got == parked && (o.Retry.ETA.IsZero() || fmt.Sprint(o.Exception.Args) != "[an earlier attempt may still be running]") {
				t.Errorf("parked: %+v, %v", o.Retry, o.Exception.Args)
			}
		}
		t.Run(name, func(t *testing.T) { test(t, false) })
		t.Run(name+", redelivered", func(t *testing.T) { test(t, true) })
	}
}

// A mark that is older than the dead letter does not keep a person from retrying it. Such a mark
// is left by runs that have killed their worker.
func TestMarkOlderThanTheDeadLetter(t *testing.T) {
	for name, c := range map[string]struct {
		mark string
		sent bool
	}{
		"older":      {mark: markAt("sending 1", 2*time.Hour), sent: true},
		"newer":      {mark: markAt("sending 1", 30*time.Minute)},
		"unreadable": {mark: "sending many times"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &relay{}
			b := newBench(t, func(cfg *tasks.Config) { cfg.Mailer = r })
			call := unsureCall("booking", worker.TimeHeader(worker.SetAsideHeader, now.Add(-time.Hour)))
			call.Mark = c.mark
			o := workertest.Run(t, b.Definitions(), call)
			if sent := r.ended == 1 && o.DeadLetter == ""; sent != c.sent {
				t.Errorf("%d mails, dead letter %q, want sent %v", r.ended, o.DeadLetter, c.sent)
			}
		})
	}
}

// The wait for an earlier worker ends when its mail server must have answered.
func TestWaitForAnEarlierWorker(t *testing.T) {
	for ago, want := range map[time.Duration]time.Duration{
		0: 70 * time.Second, 30 * time.Second: 40 * time.Second, -30 * time.Second: 70 * time.Second, 70*time.Second - 1: time.Millisecond,
	} {
		b := newBench(t, func(cfg *tasks.Config) { cfg.Mailer, cfg.ReplyTimeout = &relay{}, time.Minute })
		call := unsureCall("booking")
		call.Mark = markAt("sending 1", ago)
		o := workertest.Run(t, b.Definitions(), call)
		if o.Retry == nil || o.Retry.ETA.IsZero() {
			t.Errorf("%v: %s", ago, o.State)
			continue
		}
		if wait := time.Until(o.Retry.ETA); wait < want-10*time.Second || wait > want+time.Second {
			t.Errorf("%v: the retry is due in %v, want %v", ago, wait, want)
		}
	}
}

// A run that a stop cuts short between its mark and the end of the mail leaves no mark.
func TestStopAfterTheMark(t *testing.T) {
	for _, earlier := range []string{"", markAt("unknown 1", time.Minute)} {
		ctx, cancel := context.WithCancelCause(t.Context())
		var err error
		b := newBench(t, func(cfg *tasks.Config) {
			cfg.Mailer = mailerFunc(func(run context.Context, m mail.Message) (mail.Receipt, error) {
				stopped, stop := context.WithCancelCause(run)
				stop(worker.ErrStopped)
				err = m.BeforeFinal(stopped)
				cancel(nil)
				return mail.Receipt{}, &mail.SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", mail.ErrWithheld, err)}
			})
		})
		call := unsureCall("otp")
		call.Mark = earlier
		o := workertest.Run(t, b.Definitions(), call)
		<-ctx.Done()
		if want := map[string]string{"": "none"}[earlier] + earlier; !errors.Is(err, worker.ErrStopped) || o.Mark != want && o.Mark != earlier {
			t.Errorf("%v, mark %q, want %q", err, o.Mark, want)
		}
	}
}

// The copy of a mail whose worker died has the Date of the first, which only the mark tells: the
// message is the one of the producer, seen a second time.
func TestCopyHasTheDateOfTheFirst(t *testing.T) {
	first := now.Add(-90 * time.Second)
	for name, left := range map[string]string{
		"by a crash":   markAt("sending 1", 80*time.Second) + " " + protocol.FormatTime(first),
		"by no answer": markAt("unknown 1", 80*time.Second) + " " + protocol.FormatTime(first),
	} {
		t.Run(name, func(t *testing.T) {
			dates := &datedRelay{}
			b := newBench(t, func(cfg *tasks.Config) { cfg.Mailer = dates })
			call := unsureCall("otp")
			call.Mark = left
			o := workertest.Run(t, b.Definitions(), call)
			if !strings.Contains(string(o.Result), `"success": true`) || o.Mark != "" {
				t.Errorf("result %s, mark %q", o.Result, o.Mark)
			}
			if len(dates.ended) != 1 || !dates.ended[0].Equal(first.Truncate(time.Microsecond)) {
				t.Errorf("mails with the dates %v, want one of %v", dates.ended, first)
			}
		})
	}
}

// datedRelay keeps the dates of the mails whose end was sent.
type datedRelay struct {
	relay
	ended []time.Time
}

func (r *datedRelay) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	receipt, err := r.relay.Send(ctx, m)
	if err == nil {
		r.ended = append(r.ended, m.Date)
	}
	return receipt, err
}
