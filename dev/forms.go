package dev

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/tasks"
)

// queue is where the producers send the tasks, and module the beginning of the long names
// of the tasks.
const (
	queue  = tasks.Queue
	module = tasks.Module + "."
)

// user is the input that chooses a user of the database. Only forms have it.
const user tasks.Input = "user"

// Form describes one task to the page: its inputs, and how their values become the
// arguments that a Python producer would pass.
type Form struct {
	Task   string // short name
	Title  string
	About  string // one sentence: what the task does
	Fields []Field
	params []string // Python parameters, in order
}

// Field is one input. Param is the parameter that it belongs to. Without a Key the value
// is the parameter, otherwise it belongs to the dictionary in the parameter.
type Field struct {
	tasks.Field
	Param string
	Value string // what the form is filled with
}

// Name is the name of the input: unique among all forms, as all of them are in
// one <form>.
func (f Field) Name(task string) string { return task + "." + f.Param + "." + f.Key }

// forms returns the forms of all tasks, filled with values that make sense at now.
func forms(now time.Time) []Form {
	var all []Form
	for _, m := range tasks.Mails() {
		f := Form{Task: m.Name, Title: m.Title, About: m.About, params: m.Params}
		if m.ToUser() {
			f.Fields = append(f.Fields, Field{
				Field: tasks.Field{Label: "User", Input: user, Wide: true}, Param: m.Params[0], Value: "1",
			})
		}
		for _, field := range m.Fields {
			f.Fields = append(f.Fields, Field{Field: field, Param: m.Params[len(m.Params)-1], Value: initial(field, now)})
		}
		all = append(all, f)
	}
	return append(all, Form{
		Task: tasks.NameHealthCheck, Title: "Health check",
		About: "Asks the worker how it is. Sends no mail and takes no arguments.",
	})
}

// initial returns the value that a form is filled with: the sample of the field, but a new
// code, a date of today and a link that the mails of the development mode show.
func initial(f tasks.Field, now time.Time) string {
	switch f.Input {
	case tasks.Code:
		return newCode()
	case tasks.Date:
		return now.Format(time.DateOnly)
	case tasks.URL:
		if u, err := url.Parse(f.Sample); err == nil {
			return siteURL + u.RequestURI()
		}
	}
	return f.Sample
}

// newCode returns six digits. They fill a form and protect nothing.
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
		switch f.Input {
		case user:
			o.About = "user " + in.Get(f.Name(form.Task))
		case tasks.Email:
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

// arguments returns the parameters with their values. An empty input leaves its key out, so
// that the mail shows the default.
func (f Form) arguments(in url.Values) object {
	var all object
	for _, param := range f.params {
		var value any = object{}
		for _, field := range f.Fields {
			if field.Param != param {
				continue
			}
			given := field.argument(in.Get(field.Name(f.Task)))
			switch dict, ok := value.(object); {
			case field.Key == "":
				value = given
			case ok && (given != nil || field.Input == tasks.Null):
				value = dict.with(strings.Split(field.Key, "."), given)
			}
		}
		all = append(all, member{param, value})
	}
	return all
}

// argument returns the value that a producer would send for a text of the form.
func (f Field) argument(text string) any {
	if f.Input == user {
		return tasks.Field{Input: tasks.Number}.Value(text)
	}
	return f.Field.Value(text)
}

// object is a JSON object that keeps the order of its members, as a Python
// dictionary does.
type object []member

type member struct {
	Key   string
	Value any
}

// with returns o with the value at the path. It adds the objects on the path.
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
