package tasks_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// example returns the arguments of a mail task with its samples: to user 42, or to the
// sample of its address.
func example(m tasks.MailTask, change func(data map[string]any)) (args []any, to string) {
	data := m.Example()
	if change != nil {
		change(data)
	}
	if m.ToUser() {
		return []any{42, data}, "ada@example.com"
	}
	for _, f := range m.Fields {
		if f.Input == tasks.Email {
			to = f.Sample
		}
	}
	return []any{data}, to
}

// Each mail of the table goes from the message of a producer to a mail server.
func TestEveryMailIsSent(t *testing.T) {
	logs := &logBuffer{}
	server, parts := realParts(t, logs, smtptest.Options{})
	b := newBench(t, parts)
	for _, m := range tasks.Mails() {
		t.Run(m.Name, func(t *testing.T) {
			before := len(server.Mails())
			args, to := example(m, nil)
			call := workertest.Call{Task: tasks.Module + "." + m.Name, Kwargs: map[string]any{}}
			for i, param := range m.Params {
				call.Kwargs[param] = args[i]
			}
			o := workertest.Run(t, b.Definitions(), call)
			if o.State != protocol.StateSuccess || o.DeadLetter != "" || !strings.HasPrefix(keys(t, o.Result), `{"success":true,`) {
				t.Fatalf("state %s, result %s, exception %v, dead letter %q", o.State, o.Result, o.Exception, o.DeadLetter)
			}
			mails := server.Mails()[before:]
			if len(mails) != 1 || mails[0].To != to {
				t.Fatalf("%d mails were sent, want one to %s", len(mails), to)
			}
		})
	}
	if strings.Contains(logs.String(), "unreadable") {
		t.Errorf("a sample is unreadable:\n%s", logs)
	}
}

// For each value of each key there is one of three outcomes: the mail is sent, or the
// producer is told that data is missing, or there is a dead letter that names the key.
func TestEveryMailTakesEveryValue(t *testing.T) {
	for _, m := range tasks.Mails() {
		t.Run(m.Name, func(t *testing.T) {
			for _, f := range m.Fields {
				if strings.Contains(f.Key, ".") {
					continue
				}
				for _, value := range []any{nil, "", " ", "word", -1, 0, 2.5, true, []any{}, map[string]any{}, strings.Repeat("x", 5000)} {
					b := newBench(t, nil)
					args, _ := example(m, func(data map[string]any) { data[f.Key] = value })
					o := workertest.Run(t, b.Definitions(), workertest.Call{Task: m.Name, Args: args})
					answer := keys(t, o.Result)
					sent := len(b.out.sent) == 1 && strings.HasPrefix(answer, `{"success":true,`) && o.DeadLetter == ""
					missing := len(b.out.sent) == 0 && f.Required && strings.Contains(answer, `"error":"Missing required data"`)
					dead := len(b.out.sent) == 0 && strings.HasPrefix(o.DeadLetter, f.Key+" is not ")
					if !sent && !missing && !dead {
						t.Errorf("%s of %v: %d mails, result %s, dead letter %q", f.Key, value, len(b.out.sent), answer, o.DeadLetter)
					}
				}
			}
		})
	}
}

// Codes are in the mail only. A task with a code has secret arguments.
func TestEveryMailKeepsItsSecrets(t *testing.T) {
	const secret = "7Q4-SECRET-9"
	for _, m := range tasks.Mails() {
		var codes []string
		for _, f := range m.Fields {
			if f.Input == tasks.Code {
				codes = append(codes, f.Key)
			}
		}
		if len(codes) == 0 {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			b := newBench(t, nil)
			args, _ := example(m, func(data map[string]any) {
				for _, key := range codes {
					data[key] = secret
				}
			})
			o := workertest.Run(t, b.Definitions(), workertest.Call{Task: m.Name, Args: args})
			if len(b.out.sent) != 1 || !strings.Contains(b.out.sent[0].Text, secret) || !slices.Contains(b.out.sent[0].Secrets, secret) {
				t.Errorf("the mail does not have the code, or does not know that it is secret")
			}
			if strings.Contains(b.logs.String(), secret) || strings.Contains(string(o.Result), secret) {
				t.Error("the log or the result has the code")
			}
			if !b.Definitions()[m.Name].ArgumentsAreSecret {
				t.Error("its arguments are not marked as secret")
			}
		})
	}
}

// Names, titles, sentences and folders of the table are complete and unique.
func TestEveryMailIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	once := func(m tasks.MailTask, what, text string) {
		if text == "" || seen[what+text] {
			t.Errorf("%s: %s %q is missing, or is that of another mail", m.Name, what, text)
		}
		seen[what+text] = true
	}
	for _, m := range tasks.Mails() {
		once(m, "name", m.Name)
		once(m, "title", m.Title)
		once(m, "sentence", m.About)
		sample, err := m.Sample()
		if err != nil {
			t.Error(err)
			continue
		}
		once(m, "folder", string(sample.Kind()))
		if !strings.HasPrefix(m.Name, "send_") || !strings.HasSuffix(m.About, ".") || m.ToUser() != (m.Params[0] == "user_id") || slices.Contains(m.Params, "") {
			t.Errorf("%s(%s): %s", m.Name, strings.Join(m.Params, ", "), m.About)
		}
		for _, f := range m.Fields {
			if f.Input != tasks.Null && (f.Label == "" || f.Sample == "") {
				t.Errorf("%s: field %s has no label or no sample", m.Name, f.Key)
			}
		}
	}
	b := newBench(t, nil)
	if names := slices.Sorted(maps.Keys(b.Definitions())); len(names) != 2*(len(tasks.Mails())+1) {
		t.Errorf("task names: %q", names)
	}
}

// NewTemplates has the templates of each mail.
func TestEveryMailHasTemplates(t *testing.T) {
	set, err := tasks.NewTemplates(templates.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tasks.Mails() {
		sample, err := m.Sample()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := set.Render(sample); err != nil || r.Subject == "" {
			t.Errorf("%s: subject %q, %v", m.Name, r.Subject, err)
		}
	}
}
