package queues

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// longestNote bounds the note of a pause.
const longestNote = 200

func (g *Group) pause(ctx context.Context, r *web.Request) (web.Done, error) {
	name, note := r.PathValue("name"), strings.TrimSpace(r.FormValue("note"))
	if err := g.fault(name); err != nil {
		return web.Done{}, err
	}
	if len(note) > longestNote {
		return web.Done{}, web.Invalid(fmt.Sprintf("The note is too long: at most %d characters.", longestNote))
	}
	answers, err := g.cfg.Operator.Pause(ctx, name, r.Actor.Name, note)
	if err != nil {
		return web.Done{}, err
	}
	text := "The queue is paused. Workers of this kind take nothing more within some seconds, also ones that start later."
	if n := len(answers); n > 0 {
		text += fmt.Sprintf(" Told to cancel their consumers: %d Python %s. One that starts later consumes the queue.", n, plural(n, "worker", "workers"))
	}
	return done(name, text, answers, map[string]string{"note": note}), nil
}

func (g *Group) resume(ctx context.Context, r *web.Request) (web.Done, error) {
	name := r.PathValue("name")
	if err := g.fault(name); err != nil {
		return web.Done{}, err
	}
	answers, err := g.cfg.Operator.Resume(ctx, name)
	if err != nil {
		return web.Done{}, err
	}
	return done(name, "The queue is consumed again within some seconds.", answers, nil), nil
}

// done is the end of an action that workers have answered.
func done(name, text string, answers []inspect.Answer, details map[string]string) web.Done {
	d := web.Done{Location: href(name), Notice: text, Details: details}
	if err := inspect.Failed(answers); err != nil {
		d.Tone = web.Wait
		d.Notice += " But: " + strings.ReplaceAll(err.Error(), "\n", "; ") + "."
	}
	return d
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// cancel lets one worker stop consuming the queue.
func (g *Group) cancel(ctx context.Context, r *web.Request) (web.Done, error) {
	name, node := r.PathValue("name"), r.FormValue("node")
	if node == "" {
		return web.Done{}, web.Invalid("Choose a worker.")
	}
	answers, err := g.cfg.Operator.CancelConsumer(ctx, name, node)
	if err != nil {
		return web.Done{}, err
	}
	if err := inspect.Failed(answers); err != nil {
		return web.Done{}, web.Invalid(err.Error() + ".")
	}
	return done(name, fmt.Sprintf("%s consumes this queue no more. The list below follows within %d seconds.", node, 15), answers, map[string]string{"node": node}), nil
}

// purgeView asks before a purge.
type purgeView struct {
	Problem string
	Back    web.Link
	Confirm web.Confirm
}

func (g *Group) loadPurge(_ context.Context, r *web.Request) (web.View, error) {
	name := r.PathValue("name")
	if err := g.fault(name); err != nil {
		return web.View{}, err
	}
	q, ok := g.cfg.Looks.State().Queue(name)
	if !ok {
		return web.View{}, web.NotFound(fmt.Sprintf("No queue with the name %q is known.", words.Name(name)))
	}
	v := purgeView{Problem: r.Problem, Back: web.Link{Text: words.Name(name), Href: href(name)}}
	v.Confirm = web.Confirm{
		Title:  "Purge the queue " + words.Name(name) + "?",
		Text:   fmt.Sprintf("%d %s will be deleted for good. Their tasks never run, their mails are never sent, and callers that wait for a result wait for ever. Messages that workers hold already are not touched, and new ones stay.", q.Messages, plural(q.Messages, "message", "messages")),
		Action: href(name) + "/purge", Word: name, Button: "Purge", Cancel: href(name), Note: true,
	}
	for _, l := range q.Lists {
		if l.Messages > 0 {
			v.Confirm.Facts = append(v.Confirm.Facts, web.Fact{Name: "Priority " + strconv.Itoa(l.Priority), Value: fmt.Sprintf("%d, the oldest %s", l.Messages, age(l.Oldest))})
		}
	}
	return web.View{Title: "Purge " + words.Name(name), Data: v}, nil
}

func (g *Group) purge(ctx context.Context, r *web.Request) (web.Done, error) {
	name := r.PathValue("name")
	if err := g.fault(name); err != nil {
		return web.Done{}, err
	}
	if strings.TrimSpace(r.FormValue("word")) != name {
		return web.Done{}, web.Invalid(fmt.Sprintf("Nothing was deleted: type the name of the queue, %s, to confirm.", words.Name(name)))
	}
	removed, err := g.cfg.Store.Purge(ctx, name, nil)
	details := map[string]string{"removed": strconv.Itoa(removed), "note": r.FormValue("note")}
	d := web.Done{Location: href(name), Details: details, Notice: fmt.Sprintf("Deleted: %d %s.", removed, plural(removed, "message", "messages"))}
	if err != nil {
		d.Tone = web.Bad
		d.Notice += " The rest is still there: " + reason(err)
	}
	return d, nil
}
