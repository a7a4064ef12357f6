package workers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// outcome tells what a command has done.
type outcome struct {
	notice  string
	details map[string]string
}

// act makes an action of a command to one worker.
func (g *Group) act(do func(context.Context, *web.Request, string) ([]inspect.Answer, outcome, error)) func(context.Context, *web.Request) (web.Done, error) {
	return func(ctx context.Context, r *web.Request) (web.Done, error) {
		node := r.PathValue("node")
		answers, o, err := do(ctx, r, node)
		if err == nil {
			err = inspect.Failed(answers)
		}
		if _, asked := errors.AsType[*web.InvalidError](err); err != nil && !asked {
			return web.Done{}, web.Invalid(sentence(err))
		}
		if err != nil {
			return web.Done{}, err
		}
		g.roster.changed(ctx)
		return web.Done{Location: href(node), Notice: o.notice, Details: o.details}, nil
	}
}

// sentence returns an error as a sentence for people.
func sentence(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "Redis did not answer in time. Look whether the worker has changed before you try again."
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ") + "."
}

func (g *Group) drain(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	answers, err := g.cfg.Operator.Drain(ctx, node, r.Actor.Name)
	return answers, outcome{notice: "The worker takes nothing more and finishes what it has. It stays alive until you stop it."}, err
}

func (g *Group) fill(ctx context.Context, _ *web.Request, node string) ([]inspect.Answer, outcome, error) {
	answers, err := g.cfg.Operator.Fill(ctx, node)
	return answers, outcome{notice: "The worker consumes its queues again."}, err
}

// mostSlots bounds one step of growing.
const mostSlots = 1000

func (g *Group) grow(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	n, err := number(r, "n", 1, mostSlots)
	if err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.Grow(ctx, n, node)
	return answers, outcome{fmt.Sprintf("The worker has %d more slots, until its process ends.", n), map[string]string{"n": strconv.Itoa(n)}}, err
}

func (g *Group) shrink(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	n, err := number(r, "n", 1, mostSlots)
	if err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.Shrink(ctx, n, node)
	return answers, outcome{fmt.Sprintf("The worker has %d fewer slots, as soon as tasks end.", n), map[string]string{"n": strconv.Itoa(n)}}, err
}

func (g *Group) autoscale(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	most, err := number(r, "most", 1, mostSlots)
	least, err2 := number(r, "least", 0, mostSlots)
	if err := errors.Join(err, err2); err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.Autoscale(ctx, most, least, node)
	return answers, outcome{fmt.Sprintf("The worker scales between %d and %d slots.", least, most), map[string]string{"most": strconv.Itoa(most), "least": strconv.Itoa(least)}}, err
}

func (g *Group) addConsumer(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	q, err := word(r, "queue", "Write the name of a queue.")
	if err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.AddConsumer(ctx, q, node)
	return answers, outcome{"The worker consumes " + words.Name(q) + ", until its process ends.", map[string]string{"queue": q}}, err
}

func (g *Group) cancelConsumer(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	q, err := word(r, "queue", "Choose a queue.")
	if err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.CancelConsumer(ctx, q, node)
	return answers, outcome{"The worker consumes " + words.Name(q) + " no more. Messages that it has taken run.", map[string]string{"queue": q}}, err
}

func (g *Group) rateLimit(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	task, err := word(r, "task", "Choose a task.")
	if err != nil {
		return nil, outcome{}, err
	}
	limit, err := word(r, "limit", `Write a rate such as "10/s", "100/m" or "1000/h", or 0 for none.`)
	if err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.RateLimit(ctx, task, limit, node)
	return answers, outcome{"The rate limit of " + words.Name(task) + " is " + words.Name(limit) + ", in this worker, until its process ends.", map[string]string{"task": task, "limit": limit}}, err
}

func (g *Group) timeLimit(ctx context.Context, r *web.Request, node string) ([]inspect.Answer, outcome, error) {
	task, err := word(r, "task", "Choose a task.")
	if err != nil {
		return nil, outcome{}, err
	}
	const day = 24 * 3600
	soft, err := number(r, "soft", 0, day)
	hard, err2 := number(r, "hard", 0, day)
	if err := errors.Join(err, err2); err != nil {
		return nil, outcome{}, err
	}
	answers, err := g.cfg.Operator.TimeLimit(ctx, task, time.Duration(soft)*time.Second, time.Duration(hard)*time.Second, node)
	return answers, outcome{"The time limits of " + words.Name(task) + " are set, in this worker, until its process ends.", map[string]string{"task": task, "soft": strconv.Itoa(soft), "hard": strconv.Itoa(hard)}}, err
}

// number reads a whole number of a form.
func number(r *web.Request, name string, least, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(r.FormValue(name)))
	if err != nil || n < least || n > most {
		return 0, web.Invalid(fmt.Sprintf("Write a whole number from %d to %d.", least, most))
	}
	return n, nil
}

// word reads a text of a form that must not be empty.
func word(r *web.Request, name, otherwise string) (string, error) {
	text := strings.TrimSpace(r.FormValue(name))
	if text == "" || len(text) > 500 {
		return "", web.Invalid(otherwise)
	}
	return text, nil
}

// confirmView asks before a worker is stopped.
type confirmView struct {
	Problem string
	Back    web.Link
	Confirm web.Confirm
}

func (g *Group) loadShutdown(ctx context.Context, r *web.Request) (web.View, error) {
	node := r.PathValue("node")
	w, known := g.roster.get(ctx).find(node)
	if !known {
		return web.View{}, web.NotFound(fmt.Sprintf("No worker with the name %q answers, and none has sent events.", words.Name(node)))
	}
	v := confirmView{Problem: r.Problem, Back: web.Link{Text: words.Name(node), Href: href(node)}}
	v.Confirm = web.Confirm{
		Title:  "Stop the worker " + words.Name(node) + "?",
		Text:   "It takes nothing more and ends when its running tasks have ended. Messages that it holds without running go back to their queues. Only its supervisor can start it again.",
		Action: href(node) + "/shutdown", Word: node, Button: "Stop the worker", Cancel: href(node),
	}
	if w.answered {
		v.Confirm.Facts = []web.Fact{{Name: "Running", Value: fmt.Sprintf("%d tasks", w.told.Active)}, {Name: "Queues", Value: strings.Join(w.queues, ", ")}}
	}
	return web.View{Title: "Stop " + words.Name(node), Data: v}, nil
}

func (g *Group) shutdown(ctx context.Context, r *web.Request) (web.Done, error) {
	node := r.PathValue("node")
	if strings.TrimSpace(r.FormValue("word")) != node {
		return web.Done{}, web.Invalid(fmt.Sprintf("Nothing was done: type the name of the worker, %s, to confirm.", words.Name(node)))
	}
	if err := g.cfg.Operator.Shutdown(ctx, node); err != nil {
		return web.Done{}, web.Invalid(sentence(err))
	}
	return web.Done{Location: "/workers", Notice: words.Name(node) + " was asked to stop. It ends when its running tasks have ended. A worker with limited remote control goes on."}, nil
}
