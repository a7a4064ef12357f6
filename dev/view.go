package dev

import (
	"bytes"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// view is the data of the page.
type view struct {
	Title   string
	Tab     string // list on the left: "mails" or "tasks"
	Pane    string // on the right: "connect", "mail", "task" or "missing"
	Chosen  bool   // a mail or a task is open: on a phone it covers the list
	Missing string

	Mails    []*Mail
	Tasks    []Entry
	Mail     *Mail
	MailTask *Entry // the task that sent Mail
	Task     *Entry
	TaskMail *Mail // the mail that Task sent

	Addresses Addresses
	Snippet   string
	Users     []User
	Queue     string

	Compose bool // the form is open without a script
	Error   string
	Forms   []Form
	Picked  string     // task of the form
	Posted  url.Values // the form that was refused
}

// view returns the data for the page of a request.
func (s *site) view(r *http.Request) view {
	v := view{
		Title: "Inbox", Tab: "mails", Pane: "connect",
		Mails: s.inbox.all(), Tasks: s.tasks.all(),
		Addresses: s.addresses, Snippet: snippet(s.addresses), Users: s.users, Queue: queue,
		Forms: forms(s.now()), Picked: r.URL.Query().Get("task"),
	}
	if _, ok := formOf(v.Picked, s.now()); !ok {
		v.Picked = v.Forms[0].Task
	}
	switch path := r.URL.Path; {
	case path == "/connect":
		v.Title, v.Chosen = "Connect", true
	case path == "/send":
		v.Title, v.Compose = "Send a task", true
	case strings.HasPrefix(path, "/mails/"):
		v.Chosen = true
		id, err := strconv.Atoi(r.PathValue("mail"))
		if err == nil {
			v.Mail = s.inbox.get(id)
		}
		if v.Mail == nil {
			v.Title, v.Pane, v.Missing = "No such mail", "missing", "This mail is gone. The inbox was cleared, or the mail made room for newer ones."
			break
		}
		v.Title, v.Pane = v.Mail.Subject, "mail"
		if e, ok := s.tasks.sender(v.Mail.MessageID); ok {
			v.MailTask = &e
		}
	case strings.HasPrefix(path, "/tasks"):
		v.Title, v.Tab = "Tasks", "tasks"
		id := r.PathValue("task")
		if id == "" {
			break
		}
		v.Chosen = true
		e, ok := s.tasks.get(id)
		if !ok {
			v.Title, v.Pane, v.Missing = "No such task", "missing", "This task is unknown, or it made room for newer ones."
			break
		}
		v.Title, v.Pane, v.Task = e.Title, "task", &e
		v.TaskMail = s.inbox.of(e)
	}
	return v
}

// fill puts the posted values back into the form.
func (v *view) fill(in url.Values) {
	v.Posted = in
	for i := range v.Forms {
		f := &v.Forms[i]
		if f.Task == in.Get("task") {
			v.Picked = f.Task
		}
		for j := range f.Fields {
			if name := f.Fields[j].Name(f.Task); in.Has(name) {
				f.Fields[j].Value = in.Get(name)
			}
		}
	}
}

// viewFuncs returns the functions of the templates.
func viewFuncs() template.FuncMap {
	return template.FuncMap{
		"clock":   func(t time.Time) string { return t.Local().Format("15:04:05") },
		"date":    func(t time.Time) string { return t.Local().Format("Monday 2 January 2006, 15:04:05 MST") },
		"machine": func(t time.Time) string { return t.Format(time.RFC3339) },
		"pretty":  pretty,
		"took":    took,
		"chip":    chip,
		"about":   about,
		"short":   func(id string) string { return strings.SplitN(id, "-", 2)[0] },
		"preview": (*Mail).preview,
		"remote":  remote,
		"source":  source,
		"bytes":   size,
		"join":    strings.Join,
	}
}

// pretty indents JSON. It returns other text unchanged.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

func took(e *Entry) string {
	d := e.Done.Sub(e.Seen)
	if d < 0 {
		d = 0
	}
	return d.Round(time.Millisecond).String()
}

// label is a word for the state of a task, and the tone of its colour.
type label struct{ Word, Tone string }

func chip(e Entry) label {
	switch {
	case e.Refused():
		return label{"SUCCESS · answer: no", "wait"}
	case e.State == "SUCCESS":
		return label{e.State, "good"}
	case e.State == "FAILURE" || e.State == "REVOKED":
		return label{e.State, "bad"}
	case e.State == "RETRY":
		return label{e.State, "wait"}
	case e.State == "STARTED":
		return label{e.State, "info"}
	}
	return label{e.State, "calm"}
}

// about returns the recipient of a task. For a task of another producer it is known from
// the result only.
func about(e Entry) string {
	if e.About != "" {
		return e.About
	}
	var answer struct {
		Email  string          `json:"email"`
		UserID json.RawMessage `json:"user_id"`
	}
	if json.Unmarshal(e.Result, &answer) != nil {
		return ""
	}
	if answer.Email == "" && len(answer.UserID) > 0 {
		return "user " + strings.Trim(string(answer.UserID), `"`)
	}
	return answer.Email
}

// remote reports whether a mail refers to images that the page does not load.
func remote(m *Mail) bool {
	lower := strings.ToLower(m.HTML)
	for _, sign := range []string{`src="http`, `src='http`, `src=http`, `src="//`, "url(http", `url("http`, `url('http`} {
		if strings.Contains(lower, sign) {
			return true
		}
	}
	return false
}

// source returns the raw message for the page, or the beginning of a very long one.
func source(m *Mail) string {
	const limit = 256 << 10
	raw := m.Raw
	if len(raw) > limit {
		raw = raw[:limit]
	}
	text := strings.ToValidUTF8(string(raw), "\uFFFD")
	if len(m.Raw) > limit {
		text += "\n[…]"
	}
	return strings.ReplaceAll(text, "\r\n", "\n")
}

func size(b []byte) string {
	if len(b) < 1<<10 {
		return strconv.Itoa(len(b)) + " bytes"
	}
	return strconv.FormatFloat(float64(len(b))/(1<<10), 'f', 1, 64) + " kB"
}
