package dev

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queue is where the producers send the tasks, and module the Python module
// that their names begin with.
const (
	queue  = "email_notifications"
	module = "email_workers.tasks."
)

// Form describes one task to the page: what to ask for, and how the answers
// become the arguments that a Python producer would pass.
type Form struct {
	Task   string // short name
	Title  string
	Sends  string // what it does, one sentence
	Fields []Field
	params []string // Python parameters, in order
}

// Field is one input. Param is the parameter that it belongs to and Key the
// key inside of it, with a dot for a nested dictionary; without a Key the value
// is the parameter.
type Field struct {
	Param, Key string
	Label      string
	Hint       string
	Kind       string // "text", "email", "number", "date", "url" or "user"
	Value      string // what the form is filled with
	Wide       bool
}

// Name is the name of the input: unique among all forms, as all of them are in
// one <form>.
func (f Field) Name(task string) string { return task + "." + f.Param + "." + f.Key }

// forms returns the forms of all tasks, filled with values that make sense at
// that moment.
func forms(now time.Time) []Form {
	const data, booking, waitlist = "task_data", "booking_data", "waitlist_data"
	person := func(param string) []Field {
		return []Field{
			{Param: param, Key: "email", Label: "E-mail", Kind: "email", Value: "ada@evently.test", Wide: true},
			{Param: param, Key: "user_data.username", Label: "Username", Kind: "text", Value: "ada"},
			{Param: param, Key: "user_data.full_name", Label: "Full name", Kind: "text", Value: "Ada Lovelace"},
		}
	}
	user := Field{Param: "user_id", Label: "User", Kind: "user", Value: "1", Wide: true}
	event := func(param string) Field {
		return Field{Param: param, Key: "event_name", Label: "Event", Kind: "text", Value: "Jazz at the Observatory", Wide: true}
	}
	today := now.Format(time.DateOnly)
	// The e-mail address shares its row with the code.
	otp := slices.Insert(person(data), 1, Field{Param: data, Key: "otp", Label: "Code", Kind: "text", Value: newCode()})
	otp[0].Wide = false
	return []Form{
		{
			Task: "send_otp_verification_email", Title: "Verification code",
			Sends:  "Mails a one-time code to the address in the task.",
			params: []string{data}, Fields: otp,
		}, {
			Task: "send_welcome_email", Title: "Welcome",
			Sends:  "Greets a new user at the address in the task.",
			params: []string{data}, Fields: person(data),
		}, {
			Task: "send_booking_confirmation", Title: "Booking confirmed",
			Sends:  "Confirms a booking to a user of the database.",
			params: []string{"user_id", booking},
			Fields: []Field{
				user, event(booking),
				{Param: booking, Key: "booking_id", Label: "Booking", Kind: "text", Value: "BK-2041"},
				{Param: booking, Key: "quantity", Label: "Tickets", Kind: "number", Value: "2"},
				{Param: booking, Key: "total_price", Label: "Total price", Kind: "number", Value: "89.5"},
				{Param: booking, Key: "currency", Label: "Currency", Kind: "text", Value: "EUR"},
				{Param: booking, Key: "booking_date", Label: "Booked on", Kind: "date", Value: today, Wide: true},
			},
		}, {
			Task: "send_booking_cancellation", Title: "Booking cancelled",
			Sends:  "Tells a user that a booking was cancelled and what is refunded.",
			params: []string{"user_id", "cancellation_data"},
			Fields: []Field{
				user, event("cancellation_data"),
				{Param: "cancellation_data", Key: "booking_id", Label: "Booking", Kind: "text", Value: "BK-2041"},
				{Param: "cancellation_data", Key: "refund_amount", Label: "Refund", Kind: "number", Value: "89.5"},
				{Param: "cancellation_data", Key: "reason", Label: "Reason", Kind: "text", Value: "User request"},
				{Param: "cancellation_data", Key: "cancellation_date", Label: "Cancelled on", Kind: "date", Value: today},
			},
		}, {
			Task: "send_waitlist_notification", Title: "Waitlist: a spot is free",
			Sends:  "Offers a spot to the next user of a waitlist.",
			params: []string{"user_id", waitlist},
			Fields: []Field{
				user, event(waitlist),
				{Param: waitlist, Key: "position", Label: "Position", Kind: "number", Value: "1"},
				{Param: waitlist, Key: "expiry_minutes", Label: "Minutes left", Kind: "number", Value: "30"},
				{Param: waitlist, Key: "waitlist_id", Label: "Waitlist entry", Kind: "text", Value: "WL-318", Wide: true},
				{Param: waitlist, Key: "booking_url", Label: "Booking link", Kind: "url", Hint: "optional", Value: siteURL + "/waitlist/WL-318", Wide: true},
			},
		}, {
			Task: "send_waitlist_joined", Title: "Waitlist: joined",
			Sends:  "Confirms a place on a waitlist.",
			params: []string{"user_id", waitlist},
			Fields: []Field{
				user, event(waitlist),
				{Param: waitlist, Key: "position", Label: "Position", Kind: "number", Value: "4"},
				{Param: waitlist, Key: "joined_date", Label: "Joined on", Kind: "date", Value: today},
				{Param: waitlist, Key: "waitlist_id", Label: "Waitlist entry", Kind: "text", Value: "WL-318", Wide: true},
			},
		}, {
			Task: "send_waitlist_cancellation", Title: "Waitlist: left",
			Sends:  "Confirms that a user is off a waitlist.",
			params: []string{"user_id", waitlist},
			Fields: []Field{
				user, event(waitlist),
				{Param: waitlist, Key: "cancellation_date", Label: "Cancelled on", Kind: "date", Value: today},
				{Param: waitlist, Key: "waitlist_id", Label: "Waitlist entry", Kind: "text", Value: "WL-318"},
			},
		}, {
			Task: "health_check", Title: "Health check",
			Sends: "Asks the worker how it is. Sends no mail and takes no arguments.",
		},
	}
}

// newCode returns six digits. They only fill a form: nothing is guarded by them.
func newCode() string { return fmt.Sprintf("%06d", rand.IntN(1_000_000)) }

// Order is a task to be sent, made of the form.
type Order struct {
	Task     string // name as it goes into the message
	Title    string
	About    string // recipient, for the list of tasks
	Args     []any
	Kwargs   object
	ETA      time.Time // zero: at once
	Priority int
}

// order reads a filled form. Its errors tell the user what to change.
func order(in url.Values, now time.Time) (Order, error) {
	form, ok := formOf(in.Get("task"), now)
	if !ok {
		return Order{}, fmt.Errorf("there is no task %q", in.Get("task"))
	}
	o := Order{Task: module + form.Task, Title: form.Title}
	if in.Get("short") != "" {
		o.Task = form.Task
	}
	if s := strings.TrimSpace(in.Get("countdown")); s != "" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || !(seconds >= 0 && seconds <= 86400) {
			return Order{}, fmt.Errorf("countdown is %q: it must be a number of seconds from 0 to 86400", s)
		}
		if seconds > 0 {
			o.ETA = now.Add(time.Duration(seconds * float64(time.Second)))
		}
	}
	if s := in.Get("priority"); s != "" {
		p, err := strconv.Atoi(s)
		if err != nil || p < 0 || p > 9 {
			return Order{}, fmt.Errorf("priority is %q: it must be a whole number from 0 to 9", s)
		}
		o.Priority = p
	}
	values := form.arguments(in)
	if in.Get("kwargs") != "" {
		o.Kwargs = values
	} else {
		for _, v := range values {
			o.Args = append(o.Args, v.Value)
		}
	}
	for _, f := range form.Fields {
		if f.Kind == "user" {
			o.About = "user " + in.Get(f.Name(form.Task))
		} else if f.Kind == "email" {
			o.About = in.Get(f.Name(form.Task))
		}
	}
	return o, nil
}

func formOf(task string, now time.Time) (Form, bool) {
	for _, f := range forms(now) {
		if f.Task == task {
			return f, true
		}
	}
	return Form{}, false
}

// arguments returns the parameters with their values. An input that was left
// empty leaves its key out: that is how to see the defaults.
func (f Form) arguments(in url.Values) object {
	var all object
	for _, param := range f.params {
		dict := object{}
		var plain any
		isDict := false
		for _, field := range f.Fields {
			if field.Param != param {
				continue
			}
			value := field.value(in.Get(field.Name(f.Task)))
			if field.Key == "" {
				plain = value
				continue
			}
			isDict = true
			if value != nil {
				dict = dict.with(strings.Split(field.Key, "."), value)
			}
		}
		if !isDict {
			all = append(all, member{param, plain})
			continue
		}
		if param == "task_data" {
			dict = append(dict, member{"timestamp", nil}) // as the producers do
		}
		all = append(all, member{param, dict})
	}
	return all
}

// value returns what a producer would have in its dictionary: a number where
// one is meant and given, a string otherwise, nil for nothing.
func (f Field) value(s string) any {
	if s == "" {
		return nil
	}
	if n := strings.TrimSpace(s); f.Kind == "number" || f.Kind == "user" {
		if json.Valid([]byte(n)) && strings.Trim(n, "0123456789.-+eE") == "" {
			return json.Number(n)
		}
	}
	return s
}

// object is a JSON object that keeps the order of its members, as a Python
// dictionary does.
type object []member

type member struct {
	Key   string
	Value any
}

// with returns o with the value at the path, making objects on its way.
func (o object) with(path []string, value any) object {
	if len(path) == 1 {
		return append(o, member{path[0], value})
	}
	for i, m := range o {
		if inner, ok := m.Value.(object); ok && m.Key == path[0] {
			o[i].Value = inner.with(path[1:], value)
			return o
		}
	}
	return append(o, member{path[0], object{}.with(path[1:], value)})
}

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
