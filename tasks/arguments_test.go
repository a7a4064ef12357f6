package tasks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

const secretCode = "cAnArY5"

func number(n int64) *int64 { return &n }

// A summary names the recipient, and never an address, a code or a text of the mail.
func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		task, args, kwargs string
		want               tasks.Summary
	}{
		{"send_otp_verification_email", `[{"email": " Ann.Keller@Example.com ", "otp": "` + secretCode + `", "user_data": {"username": "` + secretCode + `"}}]`, `{}`,
			tasks.Summary{Kind: "otp", To: "A***@Example.com", Domain: "example.com", Urgent: true}},
		{tasks.Module + ".send_booking_confirmation", `[]`, `{"user_id": "12", "booking_data": {"booking_id": "BK-7", "event_name": "` + secretCode + `"}}`,
			tasks.Summary{Kind: "booking_confirmation", UserID: number(12), Booking: "BK-7"}},
		{"send_waitlist_notification", `[12.0, {"waitlist_id": 318.0, "expiry_minutes": "20 min"}]`, `{}`,
			tasks.Summary{Kind: "waitlist_notification", UserID: number(12), Booking: "318", Urgent: true}},
		{"send_booking_cancellation", `[true, {"booking_id": "BK-8"}]`, `{}`,
			tasks.Summary{Kind: "booking_cancellation", Booking: "BK-8", Fault: "user_id: must be a number such as 12"}},
		{"send_otp_verification_email", `[{"email": "` + secretCode + `", "otp": "` + secretCode + `"}]`, `{}`,
			tasks.Summary{Kind: "otp", To: "***", Urgent: true, Fault: "email: must be an address such as ann.keller@example.com"}},
		{"send_otp_verification_email", `[{"email": "a@b.example", "otp": {"x": "` + secretCode + `"}}]`, `{}`,
			tasks.Summary{Kind: "otp", To: "***@b.example", Domain: "b.example", Urgent: true, Fault: `otp: must be 1 to 32 printable characters without . : / \ @`}},
		{"send_welcome_email", `["` + secretCode + `"]`, `{}`, tasks.Summary{Kind: "welcome", Fault: "task_data is not a dictionary"}},
		{"send_welcome_email", `[{"email": "x@` + strings.Repeat(secretCode, 20) + `.example"}]`, `{}`,
			tasks.Summary{Kind: "welcome", To: "***@***", Fault: "email: must be an address such as ann.keller@example.com"}},
		{"send_welcome_email", `[1, 2, 3]`, `{"` + secretCode + `": 1}`, tasks.Summary{Kind: "welcome", Fault: "the arguments are not a dictionary task_data"}},
	} {
		got, ok := tasks.Summarize(test.task, protocol.Raw(test.args), protocol.Raw(test.kwargs))
		if diff := cmp.Diff(test.want, got); !ok || diff != "" {
			t.Errorf("%s %s: %t (-want +got)\n%s", test.task, test.args, ok, diff)
		}
		if strings.Contains(fmt.Sprintf("%+v", got), secretCode) {
			t.Errorf("%s %s: a value is shown: %+v", test.task, test.args, got)
		}
	}
	if _, ok := tasks.Summarize("email_health_check", protocol.Raw(`[]`), protocol.Raw(`{}`)); ok {
		t.Error("a task without a mail has a summary")
	}
}

// edited sets fields of a task and returns its arguments, or what is wrong.
func edited(task, args, set string) string {
	m, ok := tasks.MailTaskOf(task)
	if !ok {
		return "no such task"
	}
	a := m.Arguments(protocol.Raw(args), protocol.Raw(`{}`))
	for s := range strings.SplitSeq(set, "|") {
		key, value, _ := strings.Cut(s, "=")
		if err := a.Set(key, value); err != nil {
			return err.Error()
		}
	}
	var texts []string
	for _, err := range a.Faults() {
		texts = append(texts, err.Error())
	}
	if len(texts) > 0 {
		return strings.Join(texts, "; ")
	}
	changed, _ := a.Encode()
	return string(changed)
}

func TestArgumentsSet(t *testing.T) {
	const booking = `[7, {"event_name": "Jazz", "booking_id": "B-1", "extra": {"kept": [1.50]}}]`
	for _, test := range []struct{ task, args, set, want string }{
		{"send_booking_confirmation", booking, "user_id=12", `[12, {"event_name": "Jazz", "booking_id": "B-1", "extra": {"kept": [1.50]}}]`},
		{"send_booking_confirmation", booking, "booking_id=B-2|event_name=", `[7, {"extra": {"kept": [1.50]}, "booking_id": "B-2"}]`},
		{"send_booking_confirmation", booking, "quantity=3|total_price=59.90|currency=EUR|booking_date=2026-11-23", `[7, {"event_name": "Jazz", "booking_id": "B-1", "extra": {"kept": [1.50]}, "quantity": 3, "total_price": 59.90, "currency": "EUR", "booking_date": "2026-11-23"}]`},
		{"send_booking_confirmation", booking, "user_id=x", "user_id: must be a number such as 12"},
		{"send_booking_confirmation", booking, "user_id=0", "user_id: must be a number such as 12"},
		{"send_booking_confirmation", booking, "user_id=", "user_id: must be a number such as 12"},
		{"send_booking_confirmation", booking, "quantity=two|booking_date=soon", "quantity: must be a number such as 2; booking_date: must be a day or a time such as 2026-11-23T20:15:04Z"},
		{"send_booking_confirmation", booking, "quantity=-2", "quantity: must be a number such as 2"},
		{"send_booking_confirmation", booking, "currency=wampum", `currency: must be a text such as "EUR"`},
		{"send_booking_confirmation", booking, "booking=1", "booking: is not a field of send_booking_confirmation; its fields are user_id, event_name, booking_id, quantity, total_price, currency, booking_date"},
		{"send_booking_confirmation", `["x"]`, "user_id=12", `[12, {}]`},
		{"send_waitlist_notification", `[1, {}]`, "booking_url=http://x.example", "booking_url: must be an https address such as https://evently.com/book/4217?spot=c1f0"},
		{"send_welcome_email", `[{"email": "a@b.example", "user_data": {"full_name": "Ann", "x": 1}}]`, "user_data.full_name=Bea|email=bea@b.example", `[{"user_data": {"x": 1, "full_name": "Bea"}, "email": "bea@b.example"}]`},
		{"send_welcome_email", `[{"user_data": "x"}]`, "user_data.username=bea", "email: is missing; it must be an address such as ann.keller@example.com"},
		{"send_welcome_email", `[{}]`, "email=nobody", "email: must be an address such as ann.keller@example.com"},
		{"send_otp_verification_email", `[{"email": "a@b.example"}]`, "otp=a/b", `otp: must be 1 to 32 printable characters without . : / \ @`},
		{"send_otp_verification_email", `[{"email": "a@b.example"}]`, "otp=048213", `[{"email": "a@b.example", "otp": "048213"}]`},
	} {
		if got := edited(test.task, test.args, test.set); got != test.want {
			t.Errorf("%s %s with %s:\n%s\nwant\n%s", test.task, test.args, test.set, got, test.want)
		}
	}
}

// A form that is given back unchanged changes nothing, with values and without.
func TestArgumentsForm(t *testing.T) {
	for _, mt := range []string{"send_otp_verification_email", "send_booking_confirmation", "send_waitlist_notification"} {
		m, _ := tasks.MailTaskOf(mt)
		example, err := json.Marshal(m.Example())
		if err != nil {
			t.Fatal(err)
		}
		args := protocol.Raw("[" + string(example) + "]")
		if m.ToUser() {
			args = protocol.Raw("[12, " + string(example) + "]")
		}
		for _, values := range []bool{false, true} {
			a := m.Arguments(args, nil)
			form, err := a.Form(values)
			if err != nil || !json.Valid(form) {
				t.Fatalf("%s: %v, %s", mt, err, form)
			}
			if strings.Contains(string(form), "Nordic") == !values && m.ToUser() || strings.Contains(string(form), "048213") && !values {
				t.Errorf("%s: values %t, and the form is\n%s", mt, values, form)
			}
			if err := a.Fill(form); err != nil || len(a.Faults()) > 0 {
				t.Errorf("%s: the unchanged form: %v, %v\n%s", mt, err, a.Faults(), form)
			}
			got, _ := a.Encode()
			var before, after any
			if json.Unmarshal(args, &before) != nil || json.Unmarshal(got, &after) != nil {
				t.Fatalf("%s: %s", mt, got)
			}
			dropNulls(before)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s: values %t: the form changes the arguments (-before +after)\n%s", mt, values, diff)
			}
		}
	}
}

func dropNulls(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			dropNulls(e)
		}
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
			}
		}
	}
}

func TestArgumentsFill(t *testing.T) {
	m, _ := tasks.MailTaskOf("send_booking_confirmation")
	for form, want := range map[string]string{
		`{"user_id": 12}`: `[12, {"booking_id": "B-1"}]`,
		`{"booking_data": {"booking_id": null, "quantity": 2}}`:   `[7, {"quantity": 2}]`,
		`{"booking_data": {"booking": 1, "extra": 2}, "user": 3}`: "booking: is not a field of send_booking_confirmation; its fields are user_id, event_name, booking_id, quantity, total_price, currency, booking_date\nextra: is not a field of send_booking_confirmation; its fields are user_id, event_name, booking_id, quantity, total_price, currency, booking_date\nuser: is not a parameter of send_booking_confirmation; the form has user_id and booking_data",
		`{"booking_data": [1]}`:                                   "booking_data: must be an object with the fields user_id, event_name, booking_id, quantity, total_price, currency, booking_date",
		`[]`:                                                      "the form must be a JSON object with user_id and booking_data",
		`{"user_id": `:                                            "the form is not JSON: unexpected end of JSON input",
		`{"user_id": [1]}`:                                        "user_id: must be a number such as 12",
		`{"user_id": {"a": 1}}`:                                   "user_id: must be a number such as 12",
		`{"user_id":"(unchanged)"}`:                               `[7, {"booking_id": "B-1"}]`,
	} {
		a := m.Arguments(protocol.Raw(`[7, {"booking_id": "B-1"}]`), nil)
		got := ""
		if err := a.Fill([]byte(form)); err != nil {
			got = err.Error()
		} else if faults := a.Faults(); len(faults) > 0 {
			got = faults[0].Error()
		} else {
			args, _ := a.Encode()
			got = string(args)
		}
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", form, got, want)
		}
	}
}
