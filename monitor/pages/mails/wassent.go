package mails

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// askView is the view of the page that answers whether a mail was sent.
type askView struct {
	Search  web.Search
	Asked   bool
	Sent    string // "yes", "no", "not yet" or "not known"
	Tone    web.Tone
	Verdict string
	Notes   []string // suppressions, and what Redis has
	Gap     string   // what is missing, because the history cannot be read; "": nothing

	Mail     bool // there is one
	Facts    []web.Fact
	Timeline web.Timeline
	Preview  *previewView
	Support  string // plain text
	Href     string // page of the mail
	TaskHref string

	Others     []row
	OthersText string
	AllHref    string // of all of them
}

// mostOthers is the number of further mails on the page.
const mostOthers = 20

// ask answers whether a mail was sent.
func (g *Group) ask(ctx context.Context, r *web.Request) (web.View, error) {
	of := strings.TrimSpace(r.URL.Query().Get("q"))
	v := askView{Asked: of != "", Search: web.Search{
		Action: "/was-it-sent", Value: of, Label: "Was it sent?", Placeholder: "Address, user id, booking id, task id, Message-ID or the relay's queue id",
	}}
	var h verdict.Mails
	h, err := g.history()
	if err != nil {
		h = unread{err}
	}
	if !v.Asked {
		return web.View{Title: "Was it sent?", Data: v}, err
	}
	// One more than is shown tells whether there are more. The address of the asker is shown
	// as it was typed, and no other one.
	a, err := verdict.Ask(ctx, h, verdict.Question{Of: of, Limit: mostOthers + 2, Redis: g.cfg.Redis})
	if err != nil {
		return web.View{}, life.Fault(err)
	}
	if a.Fault != nil {
		if v.Gap, err = gap(a.Fault); err != nil {
			return web.View{}, err
		}
		v.TaskHref = taskPath("tasks", of)
	}
	v.answer(a)
	if newest := a.Newest(); newest != nil {
		v.evidence(ctx, g, *newest, a, of)
	}
	return web.View{Title: "Was it sent? " + strings.ToUpper(v.Sent[:1]) + v.Sent[1:], Data: v}, nil
}

// unread is a history that cannot be read.
type unread struct{ err error }

// Find implements [verdict.Mails].
func (u unread) Find(context.Context, string, int) ([]ledger.Mail, error) { return nil, u.err }

// Histories implements [verdict.Mails].
func (u unread) Histories(context.Context, []ledger.Mail) ([]ledger.History, error) {
	return nil, u.err
}

// Oldest implements [verdict.Mails].
func (u unread) Oldest(context.Context) (time.Time, error) { return time.Time{}, u.err }

// gap tells what is missing of an answer without the history. It returns the error that says
// nothing about that.
func gap(fault error) (string, error) {
	missing, ok := errors.AsType[*web.MissingError](life.Fault(fault))
	if !ok {
		return "", fault
	}
	return missing.What + ", so the recipient, the attempts and the words of the relay are missing. " + missing.Advice, nil
}

// answer adds the verdict.
func (v *askView) answer(a verdict.Answer) {
	v.Sent, v.Verdict = string(a.Sent), a.Verdict
	v.Tone = map[verdict.Sent]web.Tone{verdict.Yes: web.Good, verdict.No: web.Bad, verdict.NotYet: web.Wait, verdict.Unknown: web.Wait}[a.Sent]
	for _, s := range a.Suppressions {
		v.Notes = append(v.Notes, verdict.SuppressionText(s))
	}
	if a.Traces != nil {
		v.Notes = append(v.Notes, a.Traces.Lines()...)
	}
}

// evidence adds what is known of the newest mail, and the others.
func (v *askView) evidence(ctx context.Context, g *Group, newest ledger.History, a verdict.Answer, of string) {
	v.Mail = true
	v.Facts, v.Timeline = g.facts(newest), life.Timeline(newest)
	v.Href, v.TaskHref = mailPath(newest.Mail), taskPath("tasks", newest.TaskID)
	v.Support = support(newest, a, of)
	others := a.Mails[1:]
	if len(others) > mostOthers {
		others = others[:mostOthers]
		v.OthersText = fmt.Sprintf("The latest %d of them.", mostOthers)
		v.AllHref = allHref(newest.Mail, of)
	}
	for _, m := range others {
		v.Others = append(v.Others, rowOf(m))
	}
	if g.cfg.Preview != nil {
		p, err := g.cfg.Preview.Make(ctx, newest)
		v.Preview = previewOf(newest, p, err, "light")
	}
}

// allHref returns the list of the mails that a question finds; "" where the list has no such search.
func allHref(m ledger.Mail, of string) string {
	switch {
	case strings.ContainsAny(of, " \"<>"):
		return ""
	case strings.Contains(of, "@"):
	case m.UserID != nil && fmt.Sprint(*m.UserID) == of:
		of = "user:" + of
	case m.Booking == of:
		of = "booking:" + of
	default:
		return ""
	}
	return "/deliveries?q=" + url.QueryEscape(of)
}

// facts returns what is known of a mail.
func (g *Group) facts(h ledger.History) []web.Fact {
	m := h.Mail
	facts := []web.Fact{
		{Name: "State", Chip: life.Chip(m.State)}, {Name: "Since", Time: m.StateAt}, {Name: "Kind", Value: m.Kind}, {Name: "To", Value: verdict.Recipient(m)},
	}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, web.Fact{Name: name, Value: words.Line(value), Mono: true, Copy: true})
		}
	}
	if m.UserID != nil {
		id := fmt.Sprint(*m.UserID)
		facts = append(facts, web.Fact{Name: "User", Value: id, Href: "/deliveries?q=user%3A" + id})
	}
	add("Booking or event", m.Booking)
	facts = append(facts, web.Fact{Name: "Taken", Time: m.FirstSeen}, web.Fact{Name: "Attempts", Value: fmt.Sprint(m.Attempts)})
	if m.NextAt != nil {
		facts = append(facts, web.Fact{Name: "Next attempt", Time: *m.NextAt})
	}
	last := lastAnswer(h.Events)
	if last.Endpoint != "" {
		facts = append(facts, web.Fact{Name: "Relay", Value: words.Line(last.Endpoint), Mono: true})
	}
	if last.TLS != "" {
		facts = append(facts, web.Fact{Name: "TLS", Value: words.Line(last.TLS)})
	}
	add("Queue id", last.QueueID)
	add("Task", m.TaskID)
	add("Message-ID", verdict.MessageID(h.Events))
	return facts
}

// lastAnswer returns the event of the acceptance, or else the last one with a relay.
func lastAnswer(events []ledger.Record) (last ledger.Record) {
	for _, e := range events {
		if e.Stage != ledger.StageBounce && e.Endpoint != "" && last.State != ledger.Accepted {
			last = e
		}
	}
	return last
}

// support returns the answer as plain text for a ticket. It shows the address as the asker has
// typed it, and masked otherwise.
func support(h ledger.History, a verdict.Answer, of string) string {
	text := a.Verdict
	if strings.Contains(of, "@") && mail.MaskAddress(of) == h.To {
		typed := h
		typed.Address = words.Line(of)
		_, text = verdict.Judge(typed, h.StateAt)
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteString(text + "\n\n")
	line("Task", words.Line(h.TaskID))
	line("Taken", words.Clock(h.FirstSeen))
	line("State", fmt.Sprintf("%s since %s", h.State, words.Clock(h.StateAt)))
	last := lastAnswer(h.Events)
	if last.Endpoint != "" {
		line("Relay", words.Line(last.Endpoint))
		line("Answer", verdict.Said(last))
	}
	if last.QueueID != "" {
		line("Queue id", words.Line(last.QueueID))
	}
	line("Message-ID", verdict.MessageID(h.Events))
	for _, e := range h.Events {
		if e.Stage == ledger.StageBounce {
			line("Report of "+words.Clock(e.At), verdict.Said(e))
		}
	}
	for _, s := range a.Suppressions {
		b.WriteString(verdict.SuppressionText(s) + "\n")
	}
	return b.String()
}

// previewView is a mail that was made again.
type previewView struct {
	Error   string
	Subject string
	Src     string // of the frame
	Look    string
	Notes   []string
	Text    string
	Headers []preview.Header
	Parts   []preview.Part
}

// previewOf returns the view of a mail that was made again, in one of the looks light, dark
// and phone.
func previewOf(h ledger.History, p preview.Preview, err error, look string) *previewView {
	v := &previewView{Look: look, Subject: p.Subject, Text: p.Text, Headers: p.Headers, Parts: p.Parts}
	if err != nil {
		v.Error = sentence(err)
		return v
	}
	v.Src = taskPath("deliveries", h.TaskID) + "/preview?" + previewQuery(h, look)
	v.Notes = []string{"Rendered again from the template of this program. " + p.Source}
	if len(p.Hidden) > 0 {
		v.Notes = append(v.Notes, "Masked: "+strings.ToLower(strings.Join(p.Hidden, ", "))+".")
	}
	if len(p.Missing) > 0 {
		v.Notes = append(v.Notes, "Not known any more: "+strings.ToLower(strings.Join(p.Missing, ", "))+".")
	}
	return v
}
