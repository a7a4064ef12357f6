package tasks_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

const (
	firstSeen = "evently_first_seen"
	unsure    = "evently_unsure"
	broken    = "evently_broken"
	brokenAt  = "evently_broken_at"
)

// with returns the attempt of a task whose message has these headers.
func with(t *worker.Task, headers ...protocol.Header) *worker.Task {
	t.Message.Headers = headers
	return t
}

func seen(ago time.Duration) protocol.Header { return worker.TimeHeader(firstSeen, now.Add(-ago)) }

func setAside(ago time.Duration) protocol.Header {
	return worker.TimeHeader(worker.SetAsideHeader, now.Add(-ago))
}

// An expired code and an expired offer are worse than no mail.
func TestExpiredMailsAreNotSent(t *testing.T) {
	otp := func() *worker.Task {
		return task(tasks.NameOTP, `[{"email": "bob@example.com", "otp": "042917"}]`, `{}`)
	}
	offer := func(minutes string) *worker.Task {
		return task(tasks.NameWaitlistNotification, `[42, {"expiry_minutes": `+minutes+`}]`, `{}`)
	}
	const hour = time.Hour
	for name, c := range map[string]struct {
		task    *worker.Task
		expired bool
	}{
		"a new code":                     {otp(), false},
		"a code of ten minutes":          {with(otp(), seen(10*time.Minute-time.Millisecond)), false},
		"a code of more":                 {with(otp(), seen(10*time.Minute+time.Second)), true},
		"an offer of 29 minutes":         {with(offer("null"), seen(29*time.Minute)), false},
		"an offer of 31 minutes":         {with(offer("null"), seen(31*time.Minute)), true},
		"an offer for 5 minutes":         {with(offer(`"5"`), seen(6*time.Minute)), true},
		"an offer for a day":             {with(offer("1440"), seen(23*hour)), false},
		"an offer for ever":              {with(offer("9223372036854775807"), seen(300*24*hour)), false},
		"an offer for no time":           {with(offer("0"), seen(29*time.Minute)), false},
		"an offer for less than no time": {with(offer("-5"), seen(31*time.Minute)), true},
		"a code set aside an hour ago":   {with(otp(), setAside(hour)), true},
		"a code set aside just now":      {with(otp(), setAside(time.Minute)), false},
		"a code seen before that":        {with(otp(), seen(11*time.Minute), setAside(time.Minute)), true},
		"a code seen tomorrow":           {with(otp(), seen(-25*hour)), false},
		"a clock ahead of ours":          {with(otp(), seen(-time.Minute)), false},
		"a header of nonsense":           {with(otp(), protocol.Header{Name: firstSeen, Value: protocol.Raw(`{"a": 1}`)}), false},
		"a header that is no time":       {with(otp(), protocol.Header{Name: firstSeen, Value: protocol.Raw(`"yesterday"`)}), false},
		"a confirmation of last year":    {with(oneOfEach()["confirmation"], seen(365*24*hour)), false},
		"a welcome of last year":         {with(oneOfEach()["welcome"], setAside(365*24*hour)), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			result, err := b.run(t.Context(), c.task)
			r, ok := result.(tasks.Result)
			if err != nil || !ok {
				t.Fatalf("%v, %v", result, err) // an error would make a dead letter, or a retry
			}
			if c.expired {
				if r.Success || r.Error != "expired" || r.Timestamp != stamp || len(b.out.sent) != 0 {
					t.Errorf("%d mails, result %+v", len(b.out.sent), r)
				}
				if !strings.Contains(b.logs.String(), "mail expired, not sent") {
					t.Errorf("the log does not say so:\n%s", b.logs)
				}
				return
			}
			if !r.Success || len(b.out.sent) != 1 {
				t.Errorf("%d mails, result %+v", len(b.out.sent), r)
			}
		})
	}
	b := newBench(t, nil)
	result, _ := b.run(t.Context(), with(offer("30"), seen(time.Hour)))
	if want := `{"success":false,"error":"expired","user_id":42,"timestamp":"` + stamp + `"}`; keys(t, result) != want {
		t.Errorf("result %s, want %s", keys(t, result), want)
	}
}

// Through the engine: the header is added once and kept, and the mail of each
// attempt has the date of the first.
func TestFirstSeenGoesAlong(t *testing.T) {
	clock := now
	refuse := true
	server, parts := realParts(t, &logBuffer{}, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" && refuse {
			return smtptest.Action{Reply: "451 4.3.0 later"}
		}
		return smtptest.Action{}
	}})
	b := newBench(t, func(c *tasks.Config) {
		parts(c)
		c.Now = func() time.Time { return clock }
	})
	call := workertest.Call{
		Task: tasks.NameBookingConfirmation, ID: "one", Args: rawArgs([]string{`42`, `{}`}),
		Headers: []protocol.Header{{Name: "trace", Value: protocol.Raw(`"x"`)}},
	}
	want := fmt.Sprintf(`[{trace "x"} {%s "2026-11-23T20:15:04.120000+00:00"}]`, firstSeen)
	for attempt := range 2 {
		call.Retries = attempt
		o := workertest.Run(t, b.Definitions(), call)
		if o.Retry == nil {
			t.Fatalf("attempt %d: state %s", attempt, o.State)
		}
		if got := headers(o.Retry); got != want {
			t.Errorf("attempt %d: headers %s, want %s", attempt, got, want)
		}
		call.Headers = o.Retry.Headers
		clock = clock.Add(7 * time.Hour)
	}
	refuse = false
	if o := workertest.Run(t, b.Definitions(), call); o.State != protocol.StateSuccess {
		t.Fatalf("state %s", o.State)
	}
	if text := server.WaitMails(1)[0].Text(); !strings.Contains(text, "Date: Mon, 23 Nov 2026 20:15:04 +0000\n") {
		t.Errorf("the mail has another date:\n%.300s", text)
	}
}

func headers(m *protocol.Message) string {
	var all []string
	for _, h := range m.Headers {
		all = append(all, fmt.Sprintf("{%s %s}", h.Name, h.Value))
	}
	return "[" + strings.Join(all, " ") + "]"
}

// If it is unknown whether a code has arrived, it is sent a second time, however many
// attempts there were before. The copy has the same bytes.
func TestUnsureOnce(t *testing.T) {
	clock := now
	server, parts := realParts(t, &logBuffer{}, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "." {
			return smtptest.Action{Then: smtptest.Close} // the mail is accepted without a reply
		}
		return smtptest.Action{}
	}})
	b := newBench(t, func(c *tasks.Config) {
		parts(c)
		c.Now = func() time.Time { return clock }
	})
	call := workertest.Call{
		Task: tasks.NameOTP, ID: "one", Retries: 1, // it was greylisted before
		Args:    rawArgs([]string{`{"email": "bob@example.com", "otp": "042917"}`}),
		Headers: []protocol.Header{seen(time.Minute)},
	}
	o := workertest.Run(t, b.Definitions(), call)
	if o.Retry == nil || o.Retry.Header(unsure) == nil || o.DeadLetter != "" {
		t.Fatalf("state %s, dead letter %q, retry %+v", o.State, o.DeadLetter, o.Retry)
	}
	clock = clock.Add(90 * time.Second)
	call.Retries, call.Headers = 2, o.Retry.Headers
	o = workertest.Run(t, b.Definitions(), call)
	if o.Retry != nil || o.DeadLetter != "delivery unsure: no answer from the mail server" {
		t.Errorf("state %s, dead letter %q, retry %+v", o.State, o.DeadLetter, o.Retry)
	}
	mails := server.WaitMails(2)
	if string(mails[0].Data) != string(mails[1].Data) {
		t.Errorf("the copy differs:\n%s\n%s", mails[0].Text(), mails[1].Text())
	}
}

// Pauses of mails, in addition to those in TestMailFailures.
func TestPauses(t *testing.T) {
	greylisted := &mail.SendError{Command: "RCPT", Code: 451, Greylisted: true}
	asked := &mail.SendError{Command: "RCPT", Code: 451, RetryAfter: 8 * time.Minute}
	asks := &mail.SendError{Command: "RCPT", Code: 451, RetryAfter: time.Second}
	hours := &mail.SendError{Command: "RCPT", Code: 421, RetryAfter: time.Hour}
	plain := &mail.SendError{Command: "RCPT", Code: 451}
	quota := &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 4, 5}}
	busy := &mail.SendError{Command: "AUTH", Code: 454, RetryAfter: 10 * time.Minute}
	const second, minute = time.Second, time.Minute
	for name, c := range map[string]struct {
		kind    string
		err     error
		retries int
		base    time.Duration
		least   time.Duration
		most    time.Duration
		age     time.Duration
	}{
		"confirmation, plain":            {kind: "confirmation", err: plain, least: 48 * second, most: 72 * second},
		"confirmation, greylisted":       {kind: "confirmation", err: greylisted, least: 5 * minute, most: 6 * minute},
		"confirmation, asked":            {kind: "confirmation", err: asked, least: 8 * minute, most: 10 * minute},
		"confirmation, asked for little": {kind: "confirmation", err: asks, least: 48 * second, most: 72 * second},
		"confirmation, quota":            {kind: "confirmation", err: quota, least: 96 * second, most: 144 * second},
		"confirmation, busy":             {kind: "confirmation", err: busy, least: 10 * minute, most: 12 * minute},
		"code, plain":                    {kind: "otp", err: plain, least: 4 * second, most: 6 * second},
		"code, third":                    {kind: "otp", err: plain, retries: 2, least: 36 * second, most: 54 * second},
		"code, small RETRY_DELAY":        {kind: "otp", err: plain, retries: 1, base: 2 * second, least: 3200 * time.Millisecond, most: 4800 * time.Millisecond},
		"code, greylisted":               {kind: "otp", err: greylisted, least: 48 * second, most: 72 * second},
		"code, asked":                    {kind: "otp", err: asked, least: 8 * minute, most: 10 * minute},
		"code, asked for too much":       {kind: "otp", err: hours, least: 10 * minute, most: 10*minute + second},
		"old code, asked for too much":   {kind: "otp", err: hours, age: 9 * minute, least: minute, most: minute + second},
		"code, quota":                    {kind: "otp", err: quota, least: 12 * second, most: 18 * second},
		"code, busy":                     {kind: "otp", err: busy, least: 10 * minute, most: 10*minute + second},
		"offer, plain":                   {kind: "notification", err: plain, retries: 1, least: 12 * second, most: 18 * second},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(cfg *tasks.Config) {
				if c.base > 0 {
					cfg.RetryDelay = c.base
				}
			})
			b.out.err = c.err
			task := oneOfEach()[c.kind]
			task.Retries = c.retries
			if c.age > 0 {
				with(task, seen(c.age))
			}
			for range 20 {
				_, err := b.run(t.Context(), task)
				r, ok := errors.AsType[*worker.RetryError](err)
				if !ok {
					t.Fatalf("%v, want a retry", err)
				}
				if r.Countdown < c.least || r.Countdown > c.most {
					t.Errorf("countdown %v, want %v to %v", r.Countdown, c.least, c.most)
				}
			}
		})
	}
	// Retries after a fault of the database or the broker are as urgent.
	b := newBench(t, func(cfg *tasks.Config) { cfg.Users = directory{err: errors.New("down")} })
	_, err := b.run(t.Context(), oneOfEach()["notification"])
	if r, ok := errors.AsType[*worker.RetryError](err); !ok || !r.Free || r.Countdown < 1600*time.Millisecond || r.Countdown > 2400*time.Millisecond {
		t.Errorf("an offer without a database: %v", err)
	}
}

// A mail that the server always puts off ends, as a dead letter that says why. Outages, and
// refusals of all mails, do not count, however long they last.
func TestMailThatIsAlwaysPutOffEnds(t *testing.T) {
	code := func(command string, code int, enhanced ...int) *mail.SendError {
		e := &mail.SendError{Command: command, Code: code}
		copy(e.EnhancedCode[:], enhanced)
		return e
	}
	away := &mail.SendError{Command: "DIAL", Err: errors.New("connection refused")}
	blamed := code("RCPT", 550, 5, 1, 1)
	blamed.Recipients = 5
	const limit, runs = time.Hour, 200
	for name, c := range map[string]struct {
		replies []*mail.SendError // in turn
		others  bool              // the relay takes other mails
		reason  string            // "": it goes on
	}{
		"421 at RCPT":             {replies: []*mail.SendError{code("RCPT", 421, 4, 7, 28)}, reason: "421 4.7.28 at RCPT"},
		"421 at the end":          {replies: []*mail.SendError{code(".", 421)}, reason: "421 at end of data"},
		"4.7.x words of a rate":   {replies: []*mail.SendError{{Command: "RCPT", Code: 450, EnhancedCode: [3]int{4, 7, 1}, Text: "rate limit exceeded"}}, reason: "450 4.7.1 at RCPT"},
		"a quota":                 {replies: []*mail.SendError{{Command: "DATA", Code: 550, EnhancedCode: [3]int{5, 4, 5}, Text: "Daily user sending quota exceeded"}}, reason: "550 5.4.5 at DATA"},
		"words about the mail":    {replies: []*mail.SendError{blamed}, reason: "550 5.1.1 at RCPT"},
		"between outages":         {replies: []*mail.SendError{away, code("RCPT", 421), away, away}, reason: "421 at RCPT"},
		"421 at MAIL, others not": {replies: []*mail.SendError{code("MAIL", 421)}, others: true, reason: "421 at MAIL"},
		"a refused sender alone":  {replies: []*mail.SendError{code("MAIL", 550, 5, 7, 1)}, others: true, reason: "550 5.7.1 at MAIL"},
		"421 at MAIL":             {replies: []*mail.SendError{code("MAIL", 421)}},
		"421 at EHLO":             {replies: []*mail.SendError{code("EHLO", 421)}, others: true},
		"421 as greeting":         {replies: []*mail.SendError{code("GREETING", 421)}, others: true},
		"a wrong password":        {replies: []*mail.SendError{code("AUTH", 535, 5, 7, 8)}, others: true},
		"an outage":               {replies: []*mail.SendError{away}, others: true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := now
			b := newBench(t, func(cfg *tasks.Config) {
				cfg.GiveUpAfter = limit
				cfg.Now = func() time.Time { return clock }
			})
			one, other := task(tasks.NameWelcome, welcomeTo("ann@example.com"), `{}`), task(tasks.NameWelcome, welcomeTo("bob@example.com"), `{}`)
			waited := time.Duration(0) // after answers about the mail
			for n := range runs {
				e := c.replies[n%len(c.replies)]
				b.out.err = error(e)
				result, err := b.run(t.Context(), one)
				r, ok := errors.AsType[*worker.RetryError](err)
				if !ok {
					var gave *worker.GiveUpError
					if c.reason == "" || !errors.As(err, &gave) || gave.Reason != "mail server has put the mail off for too long: "+c.reason {
						t.Errorf("ended after %v with %v, %v", waited, result, err)
					}
					if waited < limit || waited > limit+6*time.Minute {
						t.Errorf("ended after %v of deferrals, want %v", waited, limit)
					}
					return
				}
				if !r.Free || r.Countdown <= 0 {
					t.Fatalf("%v has cost an attempt, or no pause", err)
				}
				if e != away {
					waited += r.Countdown
				}
				clock = clock.Add(r.Countdown / 2)
				if c.others {
					b.out.err = nil
					if _, err := b.run(t.Context(), other); err != nil {
						t.Fatal(err)
					}
				}
				clock = clock.Add(r.Countdown / 2)
				for _, h := range r.Headers {
					one.Message.SetHeader(h.Name, h.Value)
				}
			}
			if c.reason != "" {
				t.Errorf("goes on after %d runs and %v", runs, waited)
			}
		})
	}
}

// A person who retries such a dead letter gives it the whole time again.
func TestPutOffBeginsAnewForADeadLetter(t *testing.T) {
	b := newBench(t, func(cfg *tasks.Config) { cfg.GiveUpAfter = time.Hour })
	b.out.err = &mail.SendError{Command: "RCPT", Code: 421}
	spent := []protocol.Header{{Name: "evently_deferred", Value: protocol.Raw("3600000")}, worker.TimeHeader("evently_deferred_at", now.Add(-2*time.Hour))}
	for name, c := range map[string]struct {
		headers []protocol.Header
		goesOn  bool
	}{
		"first time": {nil, true}, "spent": {spent, false}, "retried": {append([]protocol.Header{setAside(time.Hour)}, spent...), true},
		"nonsense": {[]protocol.Header{{Name: "evently_deferred", Value: protocol.Raw(`"x"`)}}, true},
		"negative": {[]protocol.Header{{Name: "evently_deferred", Value: protocol.Raw(`-5`)}}, true},
		"huge":     {[]protocol.Header{{Name: "evently_deferred", Value: protocol.Raw(`9223372036854775807`)}}, false},
	} {
		_, err := b.run(t.Context(), with(task(tasks.NameWelcome, welcomeTo("ann@example.com"), `{}`), c.headers...))
		if _, retried := errors.AsType[*worker.RetryError](err); retried != c.goesOn {
			t.Errorf("%s: %v", name, err)
		}
	}
}
