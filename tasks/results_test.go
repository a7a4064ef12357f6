package tasks_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// call is one call of a task, with the result for the producer and the mail.
type call struct {
	task   string
	names  []string // keyword names
	args   []string // JSON
	result string   // JSON, without the time stamp at its end

	to, subject string   // "" when no mail may be sent
	says        []string // what the text part must say
}

var (
	taskData         = []string{"task_data"}
	bookingData      = []string{"user_id", "booking_data"}
	cancellationData = []string{"user_id", "cancellation_data"}
	waitlistData     = []string{"user_id", "waitlist_data"}
)

func calls() map[string]call {
	return map[string]call{
		"otp": {
			task: tasks.NameOTP, names: taskData,
			args:   []string{`{"email": "bob@example.com", "otp": "042917", "user_data": {"username": "bob", "full_name": "Bob B."}, "timestamp": null}`},
			result: `"success":true,"email":"bob@example.com","otp_sent":true`,
			to:     "bob@example.com", subject: "Verify Your Email - Evently", says: []string{"042917", "Bob B.", "10 minutes"},
		},
		"otp, a number": {
			task: tasks.NameOTP, names: taskData,
			args:   []string{`{"email": "bob@example.com", "otp": 42917}`},
			result: `"success":true,"email":"bob@example.com","otp_sent":true`,
			to:     "bob@example.com", subject: "Verify Your Email - Evently", says: []string{"42917", "User"},
		},
		"otp without address": {
			task: tasks.NameOTP, names: taskData,
			args:   []string{`{"otp": "042917"}`},
			result: `"success":false,"error":"Missing required data"`,
		},
		"otp with null address": {
			task: tasks.NameOTP, names: taskData,
			args:   []string{`{"email": null, "otp": "042917"}`},
			result: `"success":false,"error":"Missing required data"`,
		},
		"otp without code": {
			task: tasks.NameOTP, names: taskData,
			args:   []string{`{"email": "bob@example.com", "otp": ""}`},
			result: `"success":false,"error":"Missing required data"`,
		},
		"welcome": {
			task: tasks.NameWelcome, names: taskData,
			args:   []string{`{"email": "bob@example.com", "user_data": {"username": "bob"}}`},
			result: `"success":true,"email":"bob@example.com","welcome_sent":true`,
			to:     "bob@example.com", subject: "Welcome to Evently!", says: []string{"bob", "bob@example.com"},
		},
		"welcome with everything null": {
			task: tasks.NameWelcome, names: taskData,
			args:   []string{`{"email": "bob@example.com", "user_data": null, "timestamp": null}`},
			result: `"success":true,"email":"bob@example.com","welcome_sent":true`,
			to:     "bob@example.com", subject: "Welcome to Evently!", says: []string{"User"},
		},
		"welcome without address": {
			task: tasks.NameWelcome, names: taskData,
			args:   []string{`{}`},
			result: `"success":false,"error":"Missing required data"`,
		},
		"confirmation": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args: []string{`42`, `{"event_name": "Jazz Night", "booking_id": 17, "quantity": 2, "total_price": 59.9,
				"currency": "EUR", "booking_date": "2026-01-31T20:00:00", "seat": "unknown keys are ignored"}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","booking_id":17`,
			to:     "ada@example.com", subject: "Booking Confirmation - Jazz Night",
			says: []string{"Jazz Night", "17", "2 tickets", "59.90 EUR", "31 January 2026, 20:00 UTC"},
		},
		"confirmation, all as text": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args:   []string{`"42"`, `{"event_name": "Jazz Night", "booking_id": "17", "quantity": "2", "total_price": "59.90", "booking_date": "2026-01-31"}`},
			result: `"success":true,"user_id":"42","email":"ada@example.com","booking_id":"17"`,
			to:     "ada@example.com", subject: "Booking Confirmation - Jazz Night",
			says: []string{"17", "2 tickets", "59.90", "31 January 2026"},
		},
		"confirmation, all defaults": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args:   []string{`42`, `{}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","booking_id":"N/A"`,
			to:     "ada@example.com", subject: "Booking Confirmation - Event",
			says: []string{"N/A", "1 ticket", "0.00", "23 November 2026"},
		},
		"confirmation, all null": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args: []string{`42`, `{"event_name": null, "booking_id": null, "quantity": null, "total_price": null,
				"currency": null, "booking_date": null}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","booking_id":"N/A"`,
			to:     "ada@example.com", subject: "Booking Confirmation - Event",
			says: []string{"N/A", "1 ticket", "0.00", "23 November 2026"},
		},
		"confirmation, kombu's types": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args: []string{`42.0`, `{"booking_id": {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}},
				"total_price": {"__type__": "decimal", "__value__": "59.90"}, "quantity": {"__value__": "3", "__type__": "decimal"},
				"booking_date": {"__type__": "datetime", "__value__": "2026-01-31T20:00:00+05:30"}}`},
			result: `"success":true,"user_id":42.0,"email":"ada@example.com","booking_id":{"__type__":"uuid","__value__":{"hex":"12345678123456781234567812345678"}}`,
			to:     "ada@example.com", subject: "Booking Confirmation - Event",
			says: []string{"12345678-1234-5678-1234-567812345678", "59.90", "3 tickets", "31 January 2026, 14:30 UTC"},
		},
		"confirmation for nobody": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args:   []string{`"7"`, `{}`},
			result: `"success":false,"error":"User email not found","user_id":"7"`,
		},
		"confirmation for what is no id": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args:   []string{`"forty-two"`, `{}`},
			result: `"success":false,"error":"User email not found","user_id":"forty-two"`,
		},
		"confirmation for null": {
			task: tasks.NameBookingConfirmation, names: bookingData,
			args:   []string{`null`, `{}`},
			result: `"success":false,"error":"User email not found","user_id":null`,
		},
		"cancellation": {
			task: tasks.NameBookingCancellation, names: cancellationData,
			args: []string{`42`, `{"event_name": "Jazz Night", "booking_id": "B-1", "refund_amount": "12.5",
				"reason": "Rain", "cancellation_date": "2026-01-31"}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","booking_id":"B-1"`,
			to:     "ada@example.com", subject: "Booking Cancelled - Jazz Night",
			says: []string{"B-1", "12.50", "Rain", "31 January 2026"},
		},
		"cancellation, all defaults": {
			task: tasks.NameBookingCancellation, names: cancellationData,
			args:   []string{`42`, `{}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","booking_id":"N/A"`,
			to:     "ada@example.com", subject: "Booking Cancelled - Event", says: []string{"N/A", "0.00", "User request"},
		},
		"waitlist notification": {
			task: tasks.NameWaitlistNotification, names: waitlistData,
			args:   []string{`42`, `{"event_name": "Jazz Night", "position": "3", "expiry_minutes": 15, "waitlist_id": 9}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","waitlist_position":"3"`,
			to:     "ada@example.com", subject: "Waitlist Spot Available - Jazz Night", says: []string{"3", "15 minutes"},
		},
		"waitlist notification, all defaults": {
			task: tasks.NameWaitlistNotification, names: waitlistData,
			args:   []string{`42`, `{}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","waitlist_position":1`,
			to:     "ada@example.com", subject: "Waitlist Spot Available - Event", says: []string{"30 minutes"},
		},
		"waitlist joined": {
			task: tasks.NameWaitlistJoined, names: waitlistData,
			args:   []string{`42`, `{"event_name": "Jazz Night", "position": 3, "joined_date": "2026-01-31"}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","position":3`,
			to:     "ada@example.com", subject: "Added to Waitlist - Jazz Night", says: []string{"3", "31 January 2026"},
		},
		"waitlist joined, all defaults": {
			task: tasks.NameWaitlistJoined, names: waitlistData,
			args:   []string{`42`, `{"position": null}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com","position":1`,
			to:     "ada@example.com", subject: "Added to Waitlist - Event", says: []string{"23 November 2026"},
		},
		"waitlist cancellation": {
			task: tasks.NameWaitlistCancellation, names: waitlistData,
			args:   []string{`42`, `{"event_name": "Jazz Night", "cancellation_date": "2026-01-31"}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com"`,
			to:     "ada@example.com", subject: "Removed from Waitlist - Jazz Night", says: []string{"31 January 2026"},
		},
		"waitlist cancellation, all defaults": {
			task: tasks.NameWaitlistCancellation, names: waitlistData,
			args:   []string{`42`, `{}`},
			result: `"success":true,"user_id":42,"email":"ada@example.com"`,
			to:     "ada@example.com", subject: "Removed from Waitlist - Event", says: []string{"23 November 2026"},
		},
		"waitlist cancellation for nobody": {
			task: tasks.NameWaitlistCancellation, names: waitlistData,
			args:   []string{`-1`, `{}`},
			result: `"success":false,"error":"User email not found","user_id":-1`,
		},
	}
}

// Producers use long and short names, positional and keyword arguments.
func TestResults(t *testing.T) {
	for name, c := range calls() {
		positional := "[" + strings.Join(c.args, ",") + "]"
		pairs := make([]string, len(c.args))
		for i, a := range c.args {
			pairs[i] = `"` + c.names[i] + `":` + a
		}
		keyword := "{" + strings.Join(pairs, ",") + "}"
		forms := map[string][2]string{"positional": {positional, `{}`}, "keyword": {`[]`, keyword}}
		if len(c.args) == 2 {
			forms["mixed"] = [2]string{"[" + c.args[0] + "]", "{" + pairs[1] + "}"}
		}
		for form, args := range forms {
			for _, task := range []string{c.task, tasks.Module + "." + c.task} {
				t.Run(name+"/"+form+"/"+task, func(t *testing.T) {
					checkCall(t, c, taskOf(task, args))
				})
			}
		}
	}
}

func taskOf(name string, args [2]string) *worker.Task { return task(name, args[0], args[1]) }

func checkCall(t *testing.T, c call, task *worker.Task) {
	t.Helper()
	b := newBench(t, nil)
	result, err := b.run(t.Context(), task)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	want := "{" + c.result + `,"timestamp":"` + stamp + `"}`
	if diff := cmp.Diff(want, keys(t, result)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if c.to == "" {
		if n := len(b.out.sent); n != 0 {
			t.Errorf("%d mails were sent", n)
		}
		return
	}
	if n := len(b.out.sent); n != 1 {
		t.Fatalf("%d mails were sent", n)
	}
	m := b.out.sent[0]
	if m.To != c.to || m.Subject != c.subject || m.TaskID != task.ID {
		t.Errorf("mail to %q, subject %q, task %q", m.To, m.Subject, m.TaskID)
	}
	for _, says := range c.says {
		if !strings.Contains(m.Text, says) {
			t.Errorf("the text does not say %q:\n%s", says, m.Text)
		}
	}
}

func TestDefinitions(t *testing.T) {
	b := newBench(t, nil)
	table := b.Definitions()
	if want := 2 * (len(tasks.Mails()) + 1); len(table) != want {
		t.Errorf("%d names, want %d", len(table), want)
	}
	for name, d := range table {
		if d.MaxRetries != 3 || d.Backoff.Base != tasks.DefaultRetryDelay {
			t.Errorf("%s: %d retries from %v on", name, d.MaxRetries, d.Backoff.Base)
		}
		if other, ok := strings.CutPrefix(name, tasks.Module+"."); ok {
			if _, ok := table[other]; !ok {
				t.Errorf("%s has no short name", name)
			}
		}
	}
}

// Calls that a Python function would refuse.
func TestWrongCalls(t *testing.T) {
	for name, c := range map[string]*worker.Task{
		"nothing":             task(tasks.NameOTP, `[]`, `{}`),
		"too many":            task(tasks.NameOTP, `[{}, {}]`, `{}`),
		"data missing":        task(tasks.NameBookingConfirmation, `[42]`, `{}`),
		"twice":               task(tasks.NameBookingConfirmation, `[42, {}]`, `{"user_id": 42}`),
		"other keyword":       task(tasks.NameBookingConfirmation, `[42]`, `{"data": {}}`),
		"cancellation's name": task(tasks.NameBookingCancellation, `[42]`, `{"booking_data": {}}`),
		"list":                task(tasks.NameOTP, `[["bob@example.com", "042917"]]`, `{}`),
		"text":                task(tasks.NameWelcome, `["bob@example.com"]`, `{}`),
		"null":                task(tasks.NameOTP, `[null]`, `{}`),
		"number":              task(tasks.NameBookingConfirmation, `[42, 17]`, `{}`),
		"arguments swapped":   task(tasks.NameWaitlistJoined, `[{"position": 1}, 42]`, `{}`),
		"health check":        task(tasks.NameHealthCheck, `[1]`, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			result, err := b.run(t.Context(), c)
			e, ok := errors.AsType[*worker.Exception](err)
			if !ok || e.Type != "TypeError" {
				t.Fatalf("Run = %v, %v; want TypeError", result, err)
			}
			if text := err.Error(); strings.Contains(text, "bob@") || strings.Contains(text, "042917") {
				t.Errorf("the error has the values: %s", text)
			}
			if len(b.out.sent) != 0 {
				t.Error("a mail was sent")
			}
		})
	}
}

// Real Celery wrote the messages; see testdata/README.md.
func TestRecorded(t *testing.T) {
	results := map[string]string{ // "" means TypeError
		"args-otp":        `"success":true,"email":"user@example.com","otp_sent":true`,
		"args-unicode":    `"success":true,"email":"j\u00fcrgen@ex\u00e4mple.com","otp_sent":true`,
		"args-booking":    `"success":true,"user_id":42,"email":"ada@example.com","booking_id":"B-1001"`,
		"kwargs-booking":  "",
		"args-and-kwargs": "",
	}
	files, _ := filepath.Glob("testdata/celery-*/*.json") // the pattern is well-formed
	if want := 6 * len(results); len(files) != want {
		t.Fatalf("%d recorded messages, want %d", len(files), want)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := protocol.Decode(raw, protocol.Limits{})
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			b := newBench(t, nil)
			result, err := b.run(t.Context(), &worker.Task{ID: msg.ID, Name: msg.Task, MaxRetries: 3, Message: msg})
			want := results[strings.TrimSuffix(filepath.Base(file), ".json")]
			if want == "" {
				if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "TypeError" {
					t.Errorf("Run = %v, %v; want TypeError", result, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("Run: %v", err)
			}
			if got := keys(t, result); got != "{"+want+`,"timestamp":"`+stamp+`"}` {
				t.Errorf("result %s", got)
			}
			if len(b.out.sent) != 1 || b.out.sent[0].TaskID != msg.ID {
				t.Errorf("sent: %d", len(b.out.sent))
			}
		})
	}
}

func TestHealthCheck(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"healthy": {nil, `{"status":"healthy","service":"email_workers","config_loaded":true,"timestamp":"` + stamp + `"}`},
		"unhealthy": {errors.New("database: no answer"),
			`{"status":"unhealthy","service":"email_workers","config_loaded":true,"timestamp":"` + stamp + `","error":"database: no answer"}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(cfg *tasks.Config) {
				cfg.Check = func(context.Context) error { return c.err }
			})
			for _, task := range []*worker.Task{task(tasks.NameHealthCheck, `[]`, `{}`), task(tasks.Module+"."+tasks.NameHealthCheck, `[]`, `{}`)} {
				result, err := b.run(t.Context(), task)
				if err != nil {
					t.Fatalf("Run: %v", err)
				}
				if got := keys(t, result); got != c.want {
					t.Errorf("result %s, want %s", got, c.want)
				}
			}
		})
	}
}
