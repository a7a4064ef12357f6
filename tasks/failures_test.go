package tasks_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Outcomes of a failed attempt.
const (
	retries = "retry"
	waits   = "retry that costs no attempt"
	gives   = "give up"
)

// oneOfEach is a task of every kind that treats failures differently.
func oneOfEach() map[string]*worker.Task {
	return map[string]*worker.Task{
		"otp":          task(tasks.NameOTP, `[{"email": "bob@example.com", "otp": "042917"}]`, `{}`),
		"welcome":      task(tasks.NameWelcome, `[{"email": "bob@example.com"}]`, `{}`),
		"confirmation": task(tasks.NameBookingConfirmation, `["42", {}]`, `{}`),
		"notification": task(tasks.NameWaitlistNotification, `["42", {}]`, `{}`),
	}
}

func TestMailFailures(t *testing.T) {
	always := func(verdict string) map[string]string {
		return map[string]string{"first": verdict, "second": verdict, "last": verdict}
	}
	passing := map[string]string{"first": retries, "second": retries, "last": gives}
	for name, c := range map[string]struct {
		err     error
		text    string // what the producer sees, in the state RETRY and in the result
		verdict map[string]string
		urgent  map[string]string // where OTP and waitlist offers differ
		pause   time.Duration     // spread by 20 %; 0: a minute, twice as long each time
		hurry   time.Duration     // the same for urgent mails; 0: 5 s, three times as long each time
	}{
		"greylisted": {
			err:  &mail.SendError{Command: "RCPT", Code: 451, EnhancedCode: [3]int{4, 7, 1}, Text: "come back, b***@example.com"},
			text: "mail server did not take the mail: 451 4.7.1 at RCPT", verdict: passing,
		},
		"too many logins": {
			err:  &mail.SendError{Command: "AUTH", Code: 454, EnhancedCode: [3]int{4, 7, 0}},
			text: "mail server puts this service off: 454 4.7.0 at AUTH", verdict: always(waits), pause: 2 * time.Minute, hurry: 15 * time.Second,
		},
		"no TLS for now": {
			err:  &mail.SendError{Command: "STARTTLS", Code: 454, EnhancedCode: [3]int{4, 7, 0}},
			text: "mail server puts this service off: 454 4.7.0 at STARTTLS", verdict: always(waits), pause: 2 * time.Minute, hurry: 15 * time.Second,
		},
		"throttled": {
			err:  &mail.SendError{Command: "DATA", Code: 454},
			text: "mail server puts this service off: 454 at DATA", verdict: always(waits), pause: 2 * time.Minute, hurry: 15 * time.Second,
		},
		"server closes": {
			err:  &mail.SendError{Command: "MAIL", Code: 421},
			text: "mail server puts this service off: 421 at MAIL", verdict: always(waits), pause: 2 * time.Minute, hurry: 15 * time.Second,
		},
		"server is down": {
			err:  &mail.SendError{Command: "DIAL", Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
			text: "mail server did not take the mail: no answer at DIAL", verdict: always(waits), pause: 2 * time.Second, hurry: 2 * time.Second,
		},
		"cut in the body": {
			err:  &mail.SendError{Command: "BODY", Err: syscall.ECONNRESET},
			text: "mail server did not take the mail: no answer at BODY", verdict: always(waits), pause: 2 * time.Second, hurry: 2 * time.Second,
		},
		"deferred at the end": {
			err:  &mail.SendError{Command: ".", Code: 452, EnhancedCode: [3]int{4, 3, 1}},
			text: "mail server did not take the mail: 452 4.3.1 at end of data", verdict: passing,
		},
		"daily limit": {
			err:  &mail.SendError{Command: "DATA", Code: 550, EnhancedCode: [3]int{5, 4, 5}},
			text: "mail server takes no more mails for now: 550 5.4.5 at DATA", verdict: always(waits), pause: 2 * time.Minute, hurry: 15 * time.Second,
		},
		"no such mailbox": {
			err:  &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "b***@example.com unknown"},
			text: "recipient address refused: 550 5.1.1 at RCPT", verdict: always(gives),
		},
		"policy": {
			err:  &mail.SendError{Command: ".", Code: 554, EnhancedCode: [3]int{5, 7, 1}},
			text: "mail refused: 554 5.7.1 at end of data", verdict: always(gives),
		},
		"policy, in words that name no cause": {
			err:  &mail.SendError{Command: ".", Code: 554, EnhancedCode: [3]int{5, 7, 1}, Text: "rejected by local policy"},
			text: "mail refused: 554 5.7.1 at end of data", verdict: passing,
		},
		"sender refused for each recipient": {
			err:  &mail.SendError{Command: "RCPT", Code: 553, EnhancedCode: [3]int{5, 7, 1}, Text: "Sender address rejected: not owned by user"},
			text: "mail server refuses this service: 553 5.7.1 at RCPT", verdict: always(waits), pause: 5 * time.Minute, hurry: 15 * time.Second,
		},
		"sender refused after the mail": {
			err:  &mail.SendError{Command: ".", Code: 554, Text: "Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1"},
			text: "mail server refuses this service: 554 at end of data", verdict: always(waits), pause: 5 * time.Minute, hurry: 15 * time.Second,
		},
		"refused for five recipients in a row": {
			err:  &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "no such user", Recipients: 5},
			text: "mail server refuses this service: 550 5.1.1 at RCPT", verdict: always(waits), pause: 5 * time.Minute, hurry: 5 * time.Minute,
		},
		"not an address": {
			err:  &mail.SendError{Command: "COMPOSE", Err: &mail.AddressError{Masked: "b***", Reason: "no at sign"}},
			text: "recipient address is not usable", verdict: always(gives),
		},
		"not composed": {
			err:  &mail.SendError{Command: "COMPOSE", Err: errors.New("subject has a control character")},
			text: "mail could not be made of this data", verdict: always(gives),
		},
		"no mail error": {
			err:  errors.New("bug"),
			text: "mail could not be sent", verdict: always(gives),
		},
		"wrong password": {
			err:  &mail.SendError{Command: "AUTH", Code: 535, EnhancedCode: [3]int{5, 7, 8}},
			text: "mail server refuses this service: 535 5.7.8 at AUTH", verdict: always(waits), pause: 5 * time.Minute, hurry: 15 * time.Second,
		},
		"wrong certificate": {
			err:  &mail.SendError{Command: "TLS", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}},
			text: "mail server refuses this service: certificate not trusted at TLS", verdict: always(waits), pause: 5 * time.Minute, hurry: 15 * time.Second,
		},
		"no reply to the end of data": {
			err:     &mail.SendError{Command: ".", Err: context.DeadlineExceeded},
			text:    "delivery unsure: no answer from the mail server",
			verdict: always(gives),
			// Once more; see TestUnsureOnce.
			urgent: map[string]string{"first": retries, "second": retries, "last": gives},
		},
	} {
		for kind := range oneOfEach() {
			want := c.verdict
			if c.urgent != nil && (kind == "otp" || kind == "notification") {
				want = c.urgent
			}
			for attempt, n := range map[string]int{"first": 0, "second": 1, "last": 3} {
				t.Run(name+"/"+kind+"/"+attempt, func(t *testing.T) {
					b := newBench(t, nil)
					b.out.err = c.err
					task := oneOfEach()[kind]
					task.Retries = n
					result, err := b.run(t.Context(), task)
					if got := verdict(result, err); got != want[attempt] {
						t.Fatalf("%s, want %s (%v)", got, want[attempt], err)
					}
					if !errors.Is(err, c.err) && want[attempt] != gives {
						t.Error("the cause is not in the error")
					}
					checkTold(t, kind, c.text, err)
					want := c.pause
					if want == 0 {
						want = time.Minute << n
					}
					if kind == "otp" || kind == "notification" {
						want = c.hurry
						if want == 0 {
							want = 5 * time.Second * time.Duration(math.Pow(3, float64(n)))
						}
					}
					if r, ok := errors.AsType[*worker.RetryError](err); ok && (r.Countdown < want*4/5 || r.Countdown > want*6/5) {
						t.Errorf("countdown %v, want %v, spread by a fifth", r.Countdown, want)
					}
				})
			}
		}
	}
}

// verdict names the outcome that the engine derives from a handler's return.
func verdict(result any, err error) string {
	if r, ok := errors.AsType[*worker.RetryError](err); ok {
		if r.Free {
			return waits
		}
		return retries
	}
	if _, ok := errors.AsType[*worker.GiveUpError](err); ok {
		return gives
	}
	return fmt.Sprintf("result %v, error %v", result, err)
}

// checkTold checks the answer to the producer.
func checkTold(t *testing.T, kind, text string, err error) {
	t.Helper()
	if g, ok := errors.AsType[*worker.GiveUpError](err); ok {
		want := `{"success":false,"error":"` + text + `","user_id":"42","timestamp":"` + stamp + `"}`
		if kind == "otp" || kind == "welcome" {
			want = strings.Replace(want, `"user_id":"42",`, "", 1)
		}
		if got := keys(t, g.Result); got != want {
			t.Errorf("result %s, want %s", got, want)
		}
		if g.Reason != text {
			t.Errorf("dead letter reason %q, want %q", g.Reason, text)
		}
		return
	}
	r, _ := errors.AsType[*worker.RetryError](err)
	if r.Err.Error() != text {
		t.Errorf("state RETRY says %q, want %q", r.Err, text)
	}
	if diff := cmp.Diff([]protocol.Header{worker.TimeHeader("evently_first_seen", now)}, r.Headers, cmpopts.IgnoreSliceElements(func(h protocol.Header) bool {
		return h.Name == unsure || h.Name == broken || h.Name == brokenAt || strings.HasPrefix(h.Name, "evently_deferred")
	})); diff != "" {
		t.Errorf("headers of the retry (-want +got):\n%s", diff)
	}
}

// Connections that break during the mail cost no attempt at first. A mail that makes the
// server hang up each time ends. While no other mail is accepted the relay is broken, and not
// the mail: that costs no attempt for very long.
func TestBrokenConnections(t *testing.T) {
	for kind := range oneOfEach() {
		want := []string{waits, waits, waits, retries, retries, retries, gives}
		if got := breaks(t, kind, 0, true); !slices.Equal(got, want) {
			t.Errorf("%s beside mails that are accepted: %q, want %q", kind, got, want)
		}
		want = []string{waits, waits, waits, waits, waits, waits, waits, waits}
		if got := breaks(t, kind, 0, false); !slices.Equal(got, want) {
			t.Errorf("%s at a relay that takes no mail: %q, want %q", kind, got, want)
		}
		want = []string{waits, waits, retries, retries, retries, gives}
		if got := breaks(t, kind, 998, false); !slices.Equal(got, want) {
			t.Errorf("%s after 998 breaks: %q, want %q", kind, got, want)
		}
	}
	for _, value := range []string{`"3"`, `-1`, `{}`, `3.5`, `99999999999999999999`} { // of a foreign message
		b := newBench(t, nil)
		b.out.err = &mail.SendError{Command: "RCPT", Err: io.ErrUnexpectedEOF}
		result, err := b.run(t.Context(), with(oneOfEach()["welcome"], protocol.Header{Name: broken, Value: protocol.Raw(value)}))
		if got := verdict(result, err); got != waits {
			t.Errorf("%s: %s, want %s", value, got, waits)
		}
	}
}

// breaks runs a mail that has met a number of broken connections, and meets another one each
// time. Another mail is accepted before the first run, and between two of them if works. It
// returns the verdicts of up to eight runs.
func breaks(t *testing.T, kind string, before int, works bool) (got []string) {
	t.Helper()
	var clock time.Duration
	b := newBench(t, func(cfg *tasks.Config) {
		cfg.Now = func() time.Time {
			clock += time.Microsecond
			return now.Add(clock)
		}
	})
	task := oneOfEach()[kind]
	if before > 0 {
		task.Message.SetHeader(broken, protocol.Raw(strconv.Itoa(before)))
		task.Message.SetHeader(brokenAt, worker.TimeHeader(brokenAt, now.Add(time.Millisecond)).Value)
	}
	for i := range 8 {
		if b.out.err = nil; works || i == 0 {
			if _, err := b.run(t.Context(), oneOfEach()["welcome"]); err != nil {
				t.Fatal(err)
			}
		}
		b.out.err = &mail.SendError{Command: "RCPT", Err: io.ErrUnexpectedEOF}
		result, err := b.run(t.Context(), task)
		got = append(got, verdict(result, err))
		r, ok := errors.AsType[*worker.RetryError](err)
		if !ok {
			break
		}
		for _, h := range r.Headers {
			task.Message.SetHeader(h.Name, h.Value)
		}
		if !r.Free {
			task.Retries++
		}
	}
	return got
}

func TestNoRetries(t *testing.T) {
	b := newBench(t, func(c *tasks.Config) { c.MaxRetries = worker.NoRetries })
	b.out.err = &mail.SendError{Command: ".", Err: context.DeadlineExceeded}
	for kind, task := range oneOfEach() {
		task.MaxRetries = 0
		if result, err := b.run(t.Context(), task); verdict(result, err) != gives {
			t.Errorf("%s: %s, want %s", kind, verdict(result, err), gives)
		}
	}
	if got := b.Definitions()[tasks.NameOTP].MaxRetries; got != worker.NoRetries {
		t.Errorf("definition has MaxRetries %d", got)
	}
}

// A database that does not answer is asked again, and no attempt is spent. An address is never
// guessed.
func TestLookupFailures(t *testing.T) {
	down := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for kind := range oneOfEach() {
		for attempt, n := range map[string]int{"first": 0, "last": 3} {
			t.Run(kind+"/"+attempt, func(t *testing.T) {
				b := newBench(t, func(c *tasks.Config) { c.Users = directory{err: down} })
				task := oneOfEach()[kind]
				task.Retries = n
				result, err := b.run(t.Context(), task)
				if kind == "otp" || kind == "welcome" {
					if err != nil || len(b.out.sent) != 1 {
						t.Fatalf("%d mails, %v; the address is in the task", len(b.out.sent), err)
					}
					return
				}
				if got := verdict(result, err); got != waits {
					t.Fatalf("%s, want %s", got, waits)
				}
				checkTold(t, kind, "user lookup failed", err)
				if len(b.out.sent) != 0 {
					t.Errorf("mail to %q", b.out.sent[0].To)
				}
			})
		}
	}
}

// A fault of the database's rights or schema concerns all mails: all wait, however many
// attempts they have left, and no message becomes a dead letter.
func TestFaultsOfAccessWait(t *testing.T) {
	fault := fmt.Errorf("look up: %w", &store.AccessError{Code: "42501", Words: "permission denied for table users", Remedy: "run GRANT", Err: errors.New("pq: 42501")})
	for kind := range oneOfEach() {
		if kind == "otp" || kind == "welcome" {
			continue // the address is in the task
		}
		for _, n := range []int{0, 3} {
			b := newBench(t, func(c *tasks.Config) { c.Users = directory{err: fault} })
			task := oneOfEach()[kind]
			task.Retries = n
			result, err := b.run(t.Context(), task)
			if got := verdict(result, err); got != waits {
				t.Errorf("%s, retry %d: %s, want %s", kind, n, got, waits)
				continue
			}
			checkTold(t, kind, "user lookup failed: permission denied for table users", err)
			want := 2 * time.Minute
			if kind == "notification" {
				want = 15 * time.Second
			}
			if r, _ := errors.AsType[*worker.RetryError](err); r.Countdown < want*4/5 || r.Countdown > want*6/5 {
				t.Errorf("%s: countdown %v, want %v, spread by a fifth", kind, r.Countdown, want)
			}
		}
	}
}

// The engine settles a run that it has ended, unless the outcome of the mail is known
// before. The soft time limit is a failure like others: the mail is retried, or given up
// with an answer.
func TestContextEnds(t *testing.T) {
	for _, cause := range []error{worker.ErrStopped, worker.ErrLost, worker.ErrSoftTimeLimit, worker.ErrTimeLimit} {
		cutOff, onLast, atLogin := "", "", ""
		if cause == worker.ErrSoftTimeLimit {
			cutOff, onLast, atLogin = retries, gives, waits
		}
		cut := &mail.SendError{Command: "RCPT", Err: cause}
		for name, c := range map[string]struct {
			task *worker.Task
			err  error
			want string // "" is the cause
		}{
			"before the mail was out":       {oneOfEach()["confirmation"], cut, cutOff},
			"on the last attempt":           {last(oneOfEach()["otp"]), cut, onLast},
			"at the login":                  {oneOfEach()["otp"], &mail.SendError{Command: "AUTH", Code: 535}, atLogin},
			"mail sent":                     {oneOfEach()["otp"], nil, "sent"},
			"recipient refused":             {oneOfEach()["otp"], &mail.SendError{Command: "RCPT", Code: 550}, gives},
			"after the end of data":         {oneOfEach()["confirmation"], &mail.SendError{Command: ".", Err: cause}, gives},
			"after the end of data, an OTP": {oneOfEach()["otp"], &mail.SendError{Command: ".", Err: cause}, retries},
		} {
			t.Run(cause.Error()+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				b := newBench(t, nil)
				b.out.err, b.out.then = c.err, func() { cancel(cause) }
				result, err := b.run(ctx, c.task)
				switch c.want {
				case "":
					if !errors.Is(err, cause) || verdict(result, err) == retries || verdict(result, err) == waits || verdict(result, err) == gives {
						t.Errorf("%s, want %v", verdict(result, err), cause)
					}
				case "sent":
					if r, ok := result.(tasks.Result); err != nil || !ok || !r.Success {
						t.Errorf("%v, %v; want success", result, err)
					}
				default:
					if got := verdict(result, err); got != c.want {
						t.Errorf("%s, want %s", got, c.want)
					}
				}
			})
		}
	}
	t.Run("in the lookup", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(worker.ErrStopped)
		b := newBench(t, func(c *tasks.Config) { c.Users = directory{err: worker.ErrStopped} })
		if _, err := b.run(ctx, oneOfEach()["confirmation"]); !errors.Is(err, worker.ErrStopped) {
			t.Errorf("%v, want ErrStopped", err)
		}
	})
}

func last(t *worker.Task) *worker.Task {
	t.Retries = t.MaxRetries
	return t
}

// Spaces around an address do not belong to it.
func TestAddressesAreTrimmed(t *testing.T) {
	for _, name := range []string{tasks.NameOTP, tasks.NameWelcome} {
		b := newBench(t, nil)
		result, err := b.run(t.Context(), task(name, `[{"email": " bob@example.com\r\n", "otp": "1"}]`, `{}`))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r := result.(tasks.Result); b.out.sent[0].To != "bob@example.com" || r.Email != "bob@example.com" {
			t.Errorf("%s: sent to %q, told %q", name, b.out.sent[0].To, r.Email)
		}
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := tasks.New(tasks.Config{MaxRetries: -5, RetryDelay: -1})
	for _, field := range []string{"Users", "Mailer", "Templates", "MaxRetries", "RetryDelay"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
