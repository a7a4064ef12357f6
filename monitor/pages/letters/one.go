package letters

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// oneView is the page of one letter.
type oneView struct {
	Live    liveView
	ID      string
	Open    bool
	Can     can
	Paths   paths
	Note    string // of a form that was refused
	Problem string

	Message []web.Fact
	Args    string // shape
	Kwargs  string
	Unread  string // why the message cannot be read; "": it can

	// The values, after an audited click.
	MayReveal  bool
	WhyHidden  string // why they are not offered
	Values     string
	ValuesLeft string
}

// liveView is the part of the page that changes by itself.
type liveView struct {
	Head    web.Head
	Advice  string
	Mails   []mailView
	History string // why there is none; "": there is
}

// mailView is the history of one mail.
type mailView struct {
	Title string
	Chip  web.Chip
	Href  string
	Steps web.Timeline
}

// can says what the reader may do to the letter.
type can struct{ Retry, Edit, Resolve, Reopen, Delete bool }

// paths are the actions.
type paths struct{ Retry, Edit, Resolve, Reopen, Delete, Reveal string }

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	l, err := g.letter(ctx, r)
	if err != nil {
		return web.View{}, err
	}
	it := desk.New(l)
	now := g.cfg.Now()
	v := &oneView{
		ID: l.ID, Open: l.State == broker.LetterOpen, Problem: r.Problem, Note: formNote(r),
		Paths: paths{
			Retry: letterPath(l.ID, "retry"), Edit: letterPath(l.ID, "edit"), Resolve: letterPath(l.ID, "resolve"),
			Reopen: letterPath(l.ID, "reopen"), Delete: letterPath(l.ID, "delete"), Reveal: letterPath(l.ID, "reveal"),
		},
	}
	if r.May(web.RoleOperator) {
		_, _, uneditable := desk.Editable(&l)
		v.Can = can{
			Retry: v.Open && !l.Expired(now) && desk.Decodable(&l), Edit: uneditable == nil, Resolve: v.Open,
			Reopen: l.State == broker.LetterDealtWith, Delete: true,
		}
	}
	v.Live = g.live(ctx, &it, now)
	v.message(&it)
	g.values(r, v, &l)
	return web.View{Title: "Dead letter " + rowOf(&it, now).Short, Data: v}, nil
}

// formNote returns the note of a form that was refused.
func formNote(r *web.Request) string {
	if r.Problem == "" {
		return ""
	}
	return r.PostFormValue("note")
}

// live returns the part that changes: the state, and the history of the mail.
func (g *Group) live(ctx context.Context, it *desk.Item, now time.Time) liveView {
	var v liveView
	v.history(ctx, g, it)
	v.Head = web.Head{
		Title: cmp.Or(line(it.Kind), line(it.Task()), "Unreadable message"), Back: &web.Link{Text: "Dead letters", Href: "/dead-letters"},
		Chips: []web.Chip{chipOf(it.State)}, Lead: line(it.Reason),
	}
	if it.State == broker.LetterOpen {
		v.Advice = sentence(it.Advice)
		if it.Expired(now) {
			v.Head.Chips = append(v.Head.Chips, web.Chip{Text: "expired", Tone: web.Wait})
			v.Advice = "It is of no use any more: mark it as dealt with, or delete it."
		}
	}
	facts := []web.Fact{
		{Name: "Whose", Value: cmp.Or(whose(it), "not known")},
		{Name: "Set aside", Time: it.At},
		{Name: "Id", Value: it.ID, Mono: true, Copy: true},
	}
	if it.TaskID != "" {
		facts = append(facts, web.Fact{Name: "Task", Value: line(it.TaskID), Href: "/tasks/" + segment.Of(it.TaskID), Mono: true})
	}
	facts = append(facts, web.Fact{Name: "Queue", Value: line(it.Queue)})
	if !it.StateAt.IsZero() {
		facts = append(facts, web.Fact{Name: "Since", Time: it.StateAt})
	}
	for _, f := range []web.Fact{
		{Name: "By", Value: line(it.By)}, {Name: "Note", Value: line(it.Note)}, {Name: "Fault", Value: line(it.Fault)},
		{Name: "Copy of", Value: line(it.Replaces), Href: letterPath(it.Replaces), Mono: true},
		{Name: "Edited copy", Value: line(it.ReplacedBy), Href: "/tasks/" + segment.Of(it.ReplacedBy), Mono: true},
	} {
		if f.Value != "" {
			facts = append(facts, f)
		}
	}
	if !it.ExpiresAt.IsZero() {
		facts = append(facts, web.Fact{Name: "Expires", Value: words.Clock(it.ExpiresAt) + ", " + words.Until(it.ExpiresAt)})
	}
	v.Head.Facts = facts
	return v
}

// history adds the history of the mail, and that of its edited copy. It completes whose mail
// it is.
func (v *liveView) history(ctx context.Context, g *Group, it *desk.Item) {
	switch {
	case g.cfg.Deliveries == nil:
		v.History = "There is no history of mails: LEDGER_DATABASE_URL is off. Set it to the database of the workers to see what happened before."
		return
	case it.TaskID == "":
		v.History = "The message names no task, so there is no history of it."
		return
	}
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []ledger.History
	for _, id := range []string{it.ReplacedBy, it.TaskID} {
		if id == "" {
			continue
		}
		found, err := g.cfg.Deliveries.Show(ctx, id)
		if err != nil {
			g.cfg.Logger.Warn("history of a dead letter not read", "letter", it.ID, "error", err)
			v.History = "The history of mails cannot be read now. The log of the monitor says why."
			return
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		v.History = "The history knows no mail of this task."
	}
	for _, h := range all {
		h.Address = ""
		if it.To == "" && h.TaskID == it.TaskID {
			it.To, it.Domain = h.To, h.Domain
			if it.UserID == nil {
				it.UserID = h.UserID
			}
			it.Booking = cmp.Or(it.Booking, h.Booking)
		}
		v.Mails = append(v.Mails, mailView{
			Title: verdict.About(h.Mail), Chip: web.Chip{Text: h.State.String(), Tone: toneOf(h.State)},
			Href: "/deliveries?q=" + url.QueryEscape(h.TaskID), Steps: timeline(h),
		})
	}
}

// timeline returns the events of a mail.
func timeline(h ledger.History) (steps web.Timeline) {
	before := h.FirstSeen
	steps = append(steps, web.Event{Time: before, Title: "Taken from the queue", Tone: web.Calm})
	for _, e := range h.Events {
		step := web.Event{Time: e.At, After: e.At.Sub(before), Title: verdict.Head(e), Tone: toneOf(e.State), Text: verdict.Server(e), Detail: verdict.Said(e)}
		if phases := verdict.Phases(e.Phases); phases != "" {
			step.Facts = append(step.Facts, web.Fact{Name: "Steps", Value: phases})
		}
		if e.NextAt != nil {
			step.Facts = append(step.Facts, web.Fact{Name: "Next attempt", Time: *e.NextAt})
		}
		steps, before = append(steps, step), e.At
	}
	return steps
}

// toneOf returns the tone of a state of a mail.
func toneOf(s ledger.State) web.Tone {
	switch s {
	case ledger.Accepted:
		return web.Good
	case ledger.Rejected, ledger.Dead, ledger.Bounced, ledger.Complained:
		return web.Bad
	case ledger.Unknown, ledger.Deferred, ledger.Suppressed:
		return web.Wait
	}
	return web.Calm
}

// message adds what may be shown of the message.
func (v *oneView) message(it *desk.Item) {
	size := fmt.Sprintf("%d bytes", it.Size)
	if it.Encrypted {
		size += ", encrypted at rest"
	}
	v.Message = []web.Fact{{Name: "Task", Value: line(cmp.Or(it.TaskName, "not readable")), Mono: true}, {Name: "Size", Value: size}}
	v.Unread = line(it.Unreadable)
	if it.Raw == nil {
		return
	}
	m, err := desk.Decode(it.Raw)
	if err != nil {
		v.Unread = line(err.Error())
		return
	}
	v.Args, v.Kwargs = desk.Shape(m.Args), desk.Shape(m.Kwargs)
	for _, f := range []web.Fact{
		{Name: "Origin", Value: line(m.Origin)}, {Name: "Retries", Value: fmt.Sprint(m.Retries)},
		{Name: "Root", Value: line(m.RootID), Mono: true}, {Name: "Parent", Value: line(m.ParentID), Mono: true},
	} {
		if f.Value != "" {
			v.Message = append(v.Message, f)
		}
	}
}

// values adds the values of the arguments, if the reader has clicked for them.
func (g *Group) values(r *web.Request, v *oneView, l *broker.DeadLetter) {
	switch {
	case r.Live || !r.May(web.RoleOperator):
		return
	case !g.cfg.MayReveal:
		v.WhyHidden = "The values are shown only where DEAD_LETTER_KEY is set."
		return
	}
	if err := desk.Readable(l); err != nil {
		v.WhyHidden = sentence(err.Error())
		return
	}
	v.MayReveal = true
	if !g.shows(r, r.URL.Query().Get("values"), l.ID) {
		return
	}
	if m, err := desk.Decode(l.Raw); err == nil {
		v.Values = visible(m.Args) + "\n" + visible(m.Kwargs)
	} else {
		v.Values = printable(string(l.Raw))
	}
	v.ValuesLeft = words.Spell(revealFor)
}

// doReveal shows the values of a letter to its sender for a short time.
func (g *Group) doReveal(ctx context.Context, r *web.Request) (web.Done, error) {
	l, err := g.letter(ctx, r)
	if err != nil {
		return web.Done{}, err
	}
	if !g.cfg.MayReveal {
		return web.Done{}, web.Forbidden("The values of dead letters are shown only where DEAD_LETTER_KEY is set to the key of the workers.")
	}
	if err := desk.Readable(&l); err != nil {
		return web.Done{}, web.Invalid(sentence(err.Error()))
	}
	to := letterPath(l.ID)
	if r.PostFormValue("for") == "edit" {
		to = letterPath(l.ID, "edit")
	}
	return web.Done{
		Location: to + "?values=" + g.tickets.Issue(r.Actor.Name, l.ID), Subjects: []string{l.ID}, Details: map[string]string{"task_id": l.TaskID},
	}, nil
}

// visible returns JSON with escapes for all that is not printable.
func visible(raw protocol.Raw) string {
	var indented bytes.Buffer
	if json.Indent(&indented, raw, "", "  ") != nil {
		return "(not JSON)"
	}
	return printable(indented.String())
}

func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
