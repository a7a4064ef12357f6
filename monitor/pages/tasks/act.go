package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/literal"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// revokeView asks before a task is revoked.
type revokeView struct {
	Head    web.Head
	Problem string
	Action  string
	Cancel  string
	Name    string
	ID      string
	State   web.Chip
}

// askRevoke loads the page that asks.
func (g *Group) askRevoke(ctx context.Context, r *web.Request) (web.View, error) {
	id := r.PathValue("id")
	k, err := g.look(ctx, id)
	if err != nil {
		return web.View{}, err
	}
	v := revokeView{Head: web.Head{Title: "Revoke the task?", Back: &web.Link{Text: "Task", Href: path(id)}}, Problem: r.Problem, Action: path(id) + "/revoke", Cancel: path(id), ID: id, Name: "(not known)"}
	switch {
	case g.cfg.Revoke == nil:
		return web.View{}, web.Missing("Tasks cannot be revoked", "This monitor does not send commands to workers.")
	case k.task != nil:
		v.Name, v.State = shortName(k.task.Name), stateChip(k.task.State)
	case len(k.histories) > 0:
		v.Name = verdict.KindText(k.histories[0].Kind) + " mail"
	}
	return web.View{Title: "Revoke a task", Data: v}, nil
}

// revoke tells the workers not to run a task.
func (g *Group) revoke(ctx context.Context, r *web.Request) (web.Done, error) {
	id := r.PathValue("id")
	if g.cfg.Revoke == nil {
		return web.Done{}, web.Missing("Tasks cannot be revoked", "This monitor does not send commands to workers.")
	}
	if err := r.ParseForm(); err != nil {
		return web.Done{}, web.Invalid("The form cannot be read.")
	}
	terminate := r.PostForm.Get("terminate") == "yes"
	err := g.cfg.Revoke(ctx, id, terminate)
	if refused, ok := errors.AsType[*inspect.RefusedError](err); ok {
		return web.Done{}, web.Invalid(words.Line(refused.Error()) + ".")
	}
	if err != nil {
		return web.Done{}, err
	}
	notice := "The workers were told not to run the task. Workers of this program that start later know it as well; Python's do not."
	details := map[string]string{"terminate": "no"}
	if terminate {
		notice = "The workers were told to stop the task, and not to run it."
		details["terminate"] = "yes"
	}
	return web.Done{Location: path(id), Notice: notice, Subjects: []string{"task:" + id}, Details: details}, nil
}

// retry puts the dead letter of a task back into its queue.
func (g *Group) retry(ctx context.Context, r *web.Request) (web.Done, error) {
	id := r.PathValue("id")
	if err := r.ParseForm(); err != nil {
		return web.Done{}, web.Invalid("The form cannot be read.")
	}
	letter := r.PostForm.Get("letter")
	if letter == "" || g.cfg.Letters == nil {
		return web.Done{}, web.Invalid("The form names no dead letter.")
	}
	if errs := g.cfg.Letters.RetryMany(ctx, []string{letter}, r.Actor.Name, ""); len(errs) > 0 && errs[0] != nil {
		return web.Done{}, web.Invalid("The dead letter was not retried: " + words.Line(errs[0].Error()) + ".")
	}
	return web.Done{Location: path(id), Notice: "The message is in its queue again.", Subjects: []string{"task:" + id, "letter:" + letter}}, nil
}

// copies returns the call of a task for Python and for curl. The arguments are those of its
// events, in which secrets are hidden. site is the URL of the monitor.
func copies(t *fleet.Task, site string) (python, curl string) {
	args, kwargs := orEmpty(t.Args, "()"), orEmpty(t.Kwargs, "{}")
	if t.Name == "" || !t.Has.Has(fleet.HasArgs) && !t.Has.Has(fleet.HasKwargs) {
		return "", ""
	}
	python = "app.signature(" + quoted(t.Name) + ").apply_async(\n    args=" + words.Line(args) + ",\n    kwargs=" + words.Line(kwargs)
	body := map[string]any{}
	if t.Queue != "" {
		python += ",\n    queue=" + quoted(t.Queue)
		body["queue"] = t.Queue
	}
	python += ",\n)"
	jsonArgs, ok := literal.JSON(args)
	jsonKwargs, also := literal.JSON(kwargs)
	if !ok || !also {
		return python, ""
	}
	body["args"], body["kwargs"] = json.RawMessage(jsonArgs), json.RawMessage(jsonKwargs)
	text, err := json.Marshal(body)
	if err != nil {
		return python, ""
	}
	return python, "curl -u USER:PASSWORD -X POST \\\n  -d '" + strings.ReplaceAll(string(text), "'", `'\''`) + "' \\\n  '" + strings.ReplaceAll(site, "'", "") + "/api/task/send-task/" + strings.ReplaceAll(t.Name, "'", "") + "'"
}

func orEmpty(text, empty string) string {
	if text == "" || text == "None" {
		return empty
	}
	return text
}

// quoted writes a text as Python and JSON do.
func quoted(text string) string {
	value, _ := json.Marshal(text) // a text always encodes
	return string(value)
}
