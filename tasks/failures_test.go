package tasks_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
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

// What a failed attempt can lead to.
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
		pause   time.Duration     // spread by 20 %; 0: the backoff of the task
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
			text: "mail server did not take the mail: 421 at MAIL", verdict: passing,
		},
		"server is down": {
			err:  &mail.SendError{Command: "DIAL", Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
			text: "mail server did not take the mail: no answer at DIAL", verdict: passing,
		},
		"cut in the body": {
			err:  &mail.SendError{Command: "BODY", Err: syscall.ECONNRESET},
			text: "mail server did not take the mail: no answer at BODY", verdict: passing,
		},
		"deferred at the end": {
			err:  &mail.SendError{Command: ".", Code: 452, EnhancedCode: [3]int{4, 3, 1}},
			text: "mail server did not take the mail: 452 4.3.1 at end of data", verdict: passing,
		},
		"daily limit": {
			err:  &mail.SendError{Command: "DATA", Code: 550, EnhancedCode: [3]int{5, 4, 5}},
			text: "mail server takes no more mails for now: 550 5.4.5 at DATA", verdict: always(waits), pause: 30 * time.Minute,
			hurry: 10*time.Minute + time.Second, // the end of a code
		},
		"no such mailbox": {
			err:  &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "b***@example.com unknown"},
			text: "recipient address refused: 550 5.1.1 at RCPT", verdict: always(gives),
		},
		"policy": {
			err:  &mail.SendError{Command: ".", Code: 554, EnhancedCode: [3]int{5, 7, 1}},
			text: "mail refused: 554 5.7.1 at end of data", verdict: always(gives),
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
			text: "mail server refuses this service: 535 5.7.8 at AUTH", verdict: always(waits), pause: 5 * time.Minute, hurry: 5 * time.Minute,
		},
		"wrong certificate": {
			err:  &mail.SendError{Command: "TLS", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}},
			text: "mail server refuses this service: no answer at TLS", verdict: always(waits), pause: 5 * time.Minute, hurry: 5 * time.Minute,
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
					if kind == "otp" || kind == "notification" {
						want = c.hurry
						if want == 0 {
							want = 5 * time.Second * time.Duration(math.Pow(3, float64(n)))
						}
						if kind == "notification" && c.hurry > 10*time.Minute {
							want = c.pause // an offer is of use for 30 minutes
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

// verdict names what the engine makes of a handler's return.
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

// checkTold checks what the producer is told.
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
	if diff := cmp.Diff([]protocol.Header{worker.TimeHeader("evently_first_seen", now)}, r.Headers, cmpopts.IgnoreSliceElements(func(h protocol.Header) bool { return h.Name == "evently_unsure" })); diff != "" {
		t.Errorf("headers of the retry (-want +got):\n%s", diff)
	}
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

// A database that does not answer is asked again; an address is never made up.
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
				want := retries
				if attempt == "last" {
					want = gives
				}
				if got := verdict(result, err); got != want {
					t.Fatalf("%s, want %s", got, want)
				}
				checkTold(t, kind, "user lookup failed", err)
				if len(b.out.sent) != 0 {
					t.Errorf("mail to %q", b.out.sent[0].To)
				}
			})
		}
	}
}

// A fault of the database's rights or schema is the fault of no mail: all wait,
// however many attempts they have left, and nothing becomes a dead letter.
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

// A run that was cut off is the engine's to judge, unless the mail has met its
// fate already. The soft time limit is a failure like others: the mail is retried, or
// given up with an answer.
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

// Values of a shape that no mail can be made of end the task; nobody is told
// what nobody said.
func TestUnusableValues(t *testing.T) {
	for data, want := range map[string]string{
		`{"quantity": "many"}`:                 "quantity is not a number",
		`{"quantity": 2.5}`:                    "quantity is not a number",
		`{"quantity": true}`:                   "quantity is not a number",
		`{"quantity": [2]}`:                    "quantity is not a number",
		`{"quantity": 99999999999999999999}`:   "quantity is not a number",
		`{"total_price": "a lot"}`:             "total_price is not an amount",
		`{"total_price": {"amount": 5}}`:       "total_price is not an amount",
		`{"total_price": "1,250"}`:             "total_price is not an amount",
		`{"event_name": ["Jazz"]}`:             "event_name is not a text",
		`{"event_name": {"__type__": "date"}}`: "event_name is not a text",
		`{"booking_id": false}`:                "booking_id is not a text",
		`{"booking_id": {"__type__": "uuid", "__value__": {"hex": "12"}}}`: "booking_id is not a text",
		`{"quantity": {"__type__": "tuple", "__value__": "3"}}`:            "quantity is not a number",
		`{"quantity": "x", "event_name": [], "total_price": "y"}`:          "event_name is not a text",
	} {
		t.Run(data, func(t *testing.T) {
			b := newBench(t, nil)
			_, err := b.run(t.Context(), task(tasks.NameBookingConfirmation, `["42", `+data+`]`, `{}`))
			if got := verdict(nil, err); got != gives {
				t.Fatalf("%s, want %s", got, gives)
			}
			checkTold(t, "confirmation", want, err)
			if len(b.out.sent) != 0 {
				t.Errorf("a mail was sent:\n%s", b.out.sent[0].Text)
			}
		})
	}
}

// A code is mailed as it came, or not at all.
func TestCodes(t *testing.T) {
	for code, want := range map[string]string{
		`"048213"`: "048213", `48213`: "48213", `"a.b:c@d"`: "a.b:c@d", `"12  34"`: "12  34", `"4829 13"`: "4829 13", `"\u0661\u0662"`: "١٢",
		`" 048213"`: "", `"048213\n"`: "", `"04\u200b8213"`: "", `"` + strings.Repeat("7", 33) + `"`: "",
	} {
		b := newBench(t, nil)
		_, err := b.run(t.Context(), task(tasks.NameOTP, `[{"email": "bob@example.com", "otp": `+code+`}]`, `{}`))
		if want == "" {
			if got := verdict(nil, err); got != gives || len(b.out.sent) != 0 {
				t.Errorf("%s: %s, %d mails", code, got, len(b.out.sent))
				continue
			}
			checkTold(t, "otp", "otp is not a code of 1 to 32 printable characters", err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", code, err)
		} else if text := b.out.sent[0].Text; !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("%s: the mail does not say %q:\n%s", code, want, text)
		}
	}
}

// Spaces around an address are no part of it.
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

// Values that are odd, but say what they mean, or only decorate the mail.
func TestOddValues(t *testing.T) {
	for args, want := range map[string]string{
		`{"quantity": " 2 "}`:                                    "2 tickets",
		`{"quantity": 2.0}`:                                      "2 tickets",
		`{"quantity": "2.0"}`:                                    "2 tickets",
		`{"quantity": 2e0}`:                                      "2 tickets",
		`{"quantity": 3, "quantity": 2}`:                         "2 tickets",
		`{"quantity": 3, "quantity": null}`:                      "1 ticket",
		`{"event_name": 1984}`:                                   "1984",
		`{"event_name": "\u65e5\u672c"}`:                         "日本",
		`{"total_price": 1e2}`:                                   "100.00",
		`{"total_price": 59.699999999999996}`:                    "59.70\n",
		`{"total_price": 349.65000000000003, "currency": "EUR"}`: "349.65 EUR",
		`{"total_price": {"__type__": "decimal", "__value__": "0.30000000000000004"}}`:                                 "0.30000000000000004",
		`{"total_price": "59.699999999999996"}`:                                                                        "59.699999999999996",
		`{"total_price": 12345678901234567890.01}`:                                                                     "12,345,678,901,234,567,890.01",
		`{"total_price": 5, "currency": "eur"}`:                                                                        "5.00 EUR",
		`{"total_price": 5, "currency": ["EUR"]}`:                                                                      "5.00",
		`{"total_price": 5, "currency": "dollars"}`:                                                                    "5.00",
		`{"booking_date": "2026-01-31 20:00:00+00:00"}`:                                                                "31 January 2026, 20:00 UTC",
		`{"booking_id": {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678", "version": 4}}}`: "12345678-1234-5678-1234-567812345678",
	} {
		t.Run(args, func(t *testing.T) {
			b := newBench(t, nil)
			if _, err := b.run(t.Context(), task(tasks.NameBookingConfirmation, `[42, `+args+`]`, `{}`)); err != nil {
				t.Fatalf("Run: %v", err)
			}
			if text := b.out.sent[0].Text; !strings.Contains(text, want) {
				t.Errorf("the mail does not say %q:\n%s", want, text)
			}
		})
	}

	t.Run("a refund that was a float", func(t *testing.T) {
		b := newBench(t, nil)
		if _, err := b.run(t.Context(), task(tasks.NameBookingCancellation, `[42, {"refund_amount": 59.699999999999996, "currency": "EUR"}]`, `{}`)); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if text := b.out.sent[0].Text; !strings.Contains(text, "refund of 59.70 EUR") {
			t.Errorf("the mail says:\n%s", text)
		}
	})

	t.Run("a date that cannot be read is left out", func(t *testing.T) {
		b := newBench(t, nil)
		for _, date := range []string{`"next week"`, `20260131`, `{}`, `true`} {
			if _, err := b.run(t.Context(), task(tasks.NameBookingConfirmation, `[42, {"booking_date": `+date+`}]`, `{}`)); err != nil {
				t.Fatalf("Run: %v", err)
			}
		}
		for _, m := range b.out.sent {
			if strings.Contains(m.Text, "Date") || strings.Contains(m.Text, "next week") {
				t.Errorf("the mail speaks of the date:\n%s", m.Text)
			}
		}
	})

	t.Run("user data that cannot be read are left out", func(t *testing.T) {
		b := newBench(t, nil)
		for _, user := range []string{`"bob"`, `[]`, `{"username": ["bob"]}`, `{"full_name": null}`} {
			if _, err := b.run(t.Context(), task(tasks.NameOTP, `[{"email": "bob@example.com", "otp": "1", "user_data": `+user+`}]`, `{}`)); err != nil {
				t.Fatalf("Run: %v", err)
			}
		}
		for _, m := range b.out.sent {
			if !strings.Contains(m.Text, "User") {
				t.Errorf("the mail greets someone else:\n%s", m.Text)
			}
		}
	})

	t.Run("what is no address or no code is missing", func(t *testing.T) {
		for _, data := range []string{
			`{"email": 5, "otp": "1"}`, `{"email": ["bob@example.com"], "otp": "1"}`, `{"email": "  ", "otp": "1"}`,
			`{"email": "bob@example.com", "otp": ["1"]}`, `{"email": "bob@example.com", "otp": false}`,
			`{"email": "bob@example.com", "otp": " "}`, `{"email": "bob@example.com", "otp": {"__type__": "decimal", "__value__": "1"}}`,
		} {
			b := newBench(t, nil)
			result, err := b.run(t.Context(), task(tasks.NameOTP, `[`+data+`]`, `{}`))
			if err != nil || len(b.out.sent) != 0 {
				t.Fatalf("%s: %v, %d mails", data, err, len(b.out.sent))
			}
			if r := result.(tasks.Result); r.Success || r.Error != "Missing required data" {
				t.Errorf("%s: %+v", data, r)
			}
		}
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := tasks.New(tasks.Config{MaxRetries: -5, RetryDelay: -1})
	for _, field := range []string{"Users", "Mailer", "Templates", "MaxRetries", "RetryDelay"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
