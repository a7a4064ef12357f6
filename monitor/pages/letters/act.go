package letters

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/web"
)

// doneText says what was done to a letter.
var doneText = map[desk.Verb]string{
	desk.Retry: "It is back in its queue.", desk.Resolve: "It is dealt with.", desk.Reopen: "It is open again.", desk.Delete: "It is deleted.",
}

// note returns the note of a form.
func note(r *web.Request) (string, error) {
	const most = 1000
	text := r.PostFormValue("note")
	if len(text) > most || !utf8.ValidString(text) {
		return "", web.Invalid(fmt.Sprintf("The note must be text of %d bytes or less.", most))
	}
	return text, nil
}

// doOne does one thing to one letter.
func (g *Group) doOne(verb desk.Verb) func(context.Context, *web.Request) (web.Done, error) {
	return func(ctx context.Context, r *web.Request) (web.Done, error) {
		if err := g.here(); err != nil {
			return web.Done{}, err
		}
		id := r.PathValue("id")
		text, err := note(r)
		if err != nil {
			return web.Done{}, err
		}
		details := map[string]string{}
		if text != "" {
			details["note"] = mail.MaskAddresses(text)
		}
		if err := verb.Do(ctx, g.cfg.Letters, []string{id}, r.Actor.Name, text)[0]; err != nil {
			return web.Done{}, refusal(err)
		}
		g.box.forget()
		to := letterPath(id)
		if verb == desk.Delete {
			to = "/dead-letters"
		}
		return web.Done{Location: to, Notice: doneText[verb], Subjects: []string{id}, Details: details}, nil
	}
}

// confirmView is a page that asks.
type confirmView struct {
	Confirm web.Confirm
	Problem string
}

// loadDelete asks before a letter is deleted.
func (g *Group) loadDelete(ctx context.Context, r *web.Request) (web.View, error) {
	l, err := g.letter(ctx, r)
	if err != nil {
		return web.View{}, err
	}
	it := desk.New(l)
	return web.View{Title: "Delete a dead letter", Data: confirmView{Problem: r.Problem, Confirm: web.Confirm{
		Title: "Delete this dead letter?", Text: "It cannot be had back. To keep a trace beside the audit trail, mark it as dealt with.",
		Facts: []web.Fact{
			{Name: "Mail or task", Value: kindOf(&it)}, {Name: "Whose", Value: whose(&it)}, {Name: "Reason", Value: line(it.Reason)},
			{Name: "Set aside", Time: it.At}, {Name: "Id", Value: it.ID, Mono: true},
		},
		Action: letterPath(l.ID, "delete"), Button: "Delete", Cancel: letterPath(l.ID), Note: true,
	}}}, nil
}
