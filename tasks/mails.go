package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Mails returns the table of all mail tasks, in the order in which a user meets them. The
// task names of a worker, the checks of the templates, the forms of the development mode
// and the tests of each mail follow from it. docs/adding-a-mail.md tells how to add one.
func Mails() []MailTask {
	return []MailTask{
		otp(),
		welcome(),
		bookingConfirmation(),
		bookingCancellation(),
		waitlistJoined(),
		waitlistNotification(),
		waitlistCancellation(),
	}
}

// MailTask describes one task that sends a mail.
type MailTask struct {
	Name   string   // without Module
	Title  string   // for people, such as "Welcome"
	About  string   // one sentence: what the task sends to whom
	Params []string // Python parameters; the last one is the dictionary with the data
	Fields []Field  // keys of that dictionary

	// Optional says that the recipient can do without the mail: one who has complained
	// about mails does not get it. The others are about something that the recipient has
	// begun, such as a booking, and would miss.
	Optional bool

	// SecretArguments says that the arguments have a secret in them even if they are not
	// of the form that Fields describe.
	SecretArguments bool

	// read makes the mail of the data. It leaves the recipient empty if that is a user.
	read      func(d *dictionary) delivery
	bind      func(t *worker.Task) ([]protocol.Raw, error) // values of Params
	handler   func(*Service) worker.Handler
	withdrawn func(*Service) func(*worker.Task, worker.Withdrawal)
}

// Field is one key of the data of a mail task.
type Field struct {
	Key      string // with a dot for a nested dictionary, such as "user_data.username"
	Label    string
	Hint     string // "optional", for example
	Input    Input
	Sample   string // an ordinary value: forms are filled with it, and golden mails show it
	Required bool   // without it the task answers that data is missing
	Unused   bool   // producers send it, the mail does not need it
	Wide     bool   // takes a whole row of a form
}

// Input is the kind of value that people type for a [Field].
type Input string

// The inputs.
const (
	Text   Input = ""
	Email  Input = "email"
	Code   Input = "code"
	Number Input = "number"
	Date   Input = "date"
	URL    Input = "url"
	Null   Input = "null" // no input: producers send null
)

// taskOf completes m, the task whose arguments are A: a struct of one or two
// [protocol.Raw], the data last, and before it the id of the user who gets the mail.
func taskOf[A any](m MailTask) MailTask {
	t := reflect.TypeFor[A]()
	for i := range t.NumField() {
		m.Params = append(m.Params, t.Field(i).Tag.Get("celery"))
	}
	valuesOf := func(in A) []protocol.Raw {
		v := reflect.ValueOf(in)
		values := make([]protocol.Raw, v.NumField())
		for i := range values {
			values[i] = v.Field(i).Interface().(protocol.Raw)
		}
		return values
	}
	m.bind = func(t *worker.Task) ([]protocol.Raw, error) {
		var in A
		err := t.Bind(&in)
		return valuesOf(in), err
	}
	m.handler = func(s *Service) worker.Handler {
		return worker.Func(func(ctx context.Context, in A) (Result, error) { return s.send(ctx, m, valuesOf(in)) })
	}
	m.withdrawn = func(s *Service) func(*worker.Task, worker.Withdrawal) {
		return func(t *worker.Task, why worker.Withdrawal) {
			d := delivery{}
			values, err := m.bind(t)
			if err == nil {
				d, err = m.delivery(values, "")
			}
			if err != nil { // the history knows its kind and its task
				d = m.read(&dictionary{})
			}
			s.history.withdrawn(s.attempt(worker.NewContext(context.Background(), t), d), why)
		}
	}
	return m
}

// ToUser reports whether the recipient is a user whose address is in the database. The
// address is in the data otherwise.
func (m MailTask) ToUser() bool { return len(m.Params) > 1 }

// Urgent reports whether the mail is of use for a short time only, as codes and offers are.
// The producer must learn in time that such a mail has expired, so its message must not
// wait in the queue.
func (m MailTask) Urgent() bool { return m.read(&dictionary{}).lifetime > 0 }

// send sends the mail that the values of m.Params describe.
//
// Data that is missing and an unknown or inactive user are answers, not errors: producers
// expect {"success": false}. Data that cannot be understood is a dead letter. A database
// fault is retried; an address is never guessed.
func (s *Service) send(ctx context.Context, m MailTask, values []protocol.Raw) (Result, error) {
	d, err := m.delivery(values, s.today())
	if err != nil {
		return Result{}, err
	}
	return s.deliver(ctx, d)
}

// delivery returns the mail that the values of m.Params describe. today is the default of dates.
func (m MailTask) delivery(values []protocol.Raw, today string) (delivery, error) {
	last := len(values) - 1
	d, err := readDictionary(m.Params[last], values[last])
	if err != nil {
		return delivery{}, err
	}
	d.today = today
	mail := m.read(d)
	mail.data = templates.InLocale(mail.data, d.locale())
	mail.invalid, mail.leftOut, mail.optional = d.err, d.leftOut, m.Optional
	mail.missing = slices.ContainsFunc(m.Fields, func(f Field) bool { return f.Required && !d.has(f.Key) })
	if m.ToUser() {
		mail.userID = values[0]
	}
	return mail, nil
}

// Example returns the data of an ordinary mail: the samples of all fields, with nested
// dictionaries where the keys have dots.
func (m MailTask) Example() map[string]any {
	example := map[string]any{}
	for _, f := range m.Fields {
		into, path := example, strings.Split(f.Key, ".")
		for _, key := range path[:len(path)-1] {
			inner, ok := into[key].(map[string]any)
			if !ok {
				inner = map[string]any{}
				into[key] = inner
			}
			into = inner
		}
		into[path[len(path)-1]] = f.Value(f.Sample)
	}
	return example
}

// Value returns what producers send for a text that a person typed: a number where one is
// meant and given, nil for nothing, the text otherwise.
func (f Field) Value(typed string) any {
	if typed == "" || f.Input == Null {
		return nil
	}
	if n := strings.TrimSpace(typed); f.Input == Number && json.Valid([]byte(n)) && strings.Trim(n, "0123456789.-+eE") == "" {
		return json.Number(n)
	}
	return typed
}

// Sample returns the mail of [MailTask.Example]. The error tells where the table is wrong.
func (m MailTask) Sample() (templates.Mail, error) { return m.sampleOf(m.Example()) }

// SampleFor is [MailTask.Sample] with links to the web site, which is the only host that a mail may
// always link to. Without a site it has no links.
func (m MailTask) SampleFor(site string) (templates.Mail, error) {
	example := m.Example()
	host, err := url.Parse(site)
	if err != nil {
		return nil, fmt.Errorf("read the address of the web site: %w", err)
	}
	for _, f := range m.Fields {
		if f.Input != URL {
			continue
		}
		var link any
		if u, err := url.Parse(f.Sample); err == nil && site != "" {
			u.Scheme, u.Host = host.Scheme, host.Host
			link = u.String()
		}
		example = merge(example, strings.Split(f.Key, "."), link)
	}
	return m.sampleOf(example)
}

// sampleOf returns the mail of an example.
func (m MailTask) sampleOf(example map[string]any) (templates.Mail, error) {
	raw, err := json.Marshal(example)
	if err != nil {
		return nil, fmt.Errorf("%s: encode the samples: %w", m.Name, err)
	}
	d, err := readDictionary(m.Params[len(m.Params)-1], raw)
	if err != nil {
		return nil, fmt.Errorf("%s: read the samples: %w", m.Name, err)
	}
	d.read = map[string]bool{}
	mail := m.read(d)
	faults := []error{d.err}
	for _, key := range d.leftOut {
		faults = append(faults, fmt.Errorf("the sample of %s cannot be read", key))
	}
	for _, f := range m.Fields {
		if d.read[f.Key] == f.Unused {
			faults = append(faults, fmt.Errorf("field %s: read is %t and Unused is %t", f.Key, d.read[f.Key], f.Unused))
		}
		delete(d.read, f.Key)
	}
	for _, key := range sorting.Keys(d.read) {
		faults = append(faults, fmt.Errorf("key %s is read and has no field", key))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	return mail.data, nil
}

// Least returns the mail of data that has the required fields only, so that it shows what a
// template does about the others.
func (m MailTask) Least() (templates.Mail, error) {
	example := map[string]any{}
	for _, f := range m.Fields {
		if f.Required {
			example = merge(example, strings.Split(f.Key, "."), f.Value(f.Sample))
		}
	}
	return m.made(example)
}

// Hostile returns a mail with [templates.Probe] in place of all texts of users.
func (m MailTask) Hostile() (templates.Mail, error) {
	example := map[string]any{}
	for _, f := range m.Fields {
		value := f.Value(f.Sample)
		if f.Input == Text && f.Key != currencyKey {
			value = templates.Probe
		}
		example = merge(example, strings.Split(f.Key, "."), value)
	}
	return m.made(example)
}

// made returns the mail of an example, without the checks of the table.
func (m MailTask) made(example map[string]any) (templates.Mail, error) {
	raw, err := json.Marshal(example)
	if err != nil {
		return nil, fmt.Errorf("%s: encode the samples: %w", m.Name, err)
	}
	d, err := readDictionary(m.Params[len(m.Params)-1], raw)
	if err != nil {
		return nil, fmt.Errorf("%s: read the samples: %w", m.Name, err)
	}
	mail := m.read(d)
	if d.err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, d.err)
	}
	return mail.data, nil
}

// merge sets the value at a path of nested objects.
func merge(into map[string]any, path []string, value any) map[string]any {
	if len(path) > 1 {
		inner, _ := into[path[0]].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
		}
		value = merge(inner, path[1:], value)
	}
	into[path[0]] = value
	return into
}

// NewTemplates returns the templates of all mails, checked with their samples. Those of an
// operator are checked with the least data and with hostile data, too.
func NewTemplates(o templates.Options) (*templates.Set, error) {
	samples, err := Samples(len(o.Files) > 0)
	if err != nil {
		return nil, err
	}
	o.SampleNames = []string{"", "with its required data only", "with a hostile text of a user"}
	return templates.New(o, samples)
}

// Samples returns an ordinary mail of each kind. With all, the least and a hostile one follow it.
func Samples(all bool) (samples []templates.Mail, err error) {
	for _, m := range Mails() {
		makers := []func() (templates.Mail, error){m.Sample}
		if all {
			makers = append(makers, m.Least, m.Hostile)
		}
		for _, make := range makers {
			sample, err := make()
			if err != nil {
				return nil, err
			}
			samples = append(samples, sample)
		}
	}
	return samples, nil
}

// eventView is the view of a mail about an event: its name and a list of facts.
type eventView struct {
	templates.Page
	Event string
	Facts []templates.Fact
}
