package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// oneView is the page of one worker.
type oneView struct {
	Head       web.Head
	Problem    string
	Fault      string // why it could not be asked
	Drained    *drained
	Tiles      []web.Tile
	Running    []running
	Queues     []queue
	Registered []string
	Runs       []runs
	May        bool
	Path       string
	Answers    bool
	Python     bool
	Scaled     bool
	Most       int
	Least      int
}

type drained struct {
	At     time.Time
	By     string
	Queues string
}

type running struct {
	ID, Short, Href, Name, Queue string
	Started                      time.Time
}

type queue struct{ Name, Href string }

// runs is the number of runs of a task.
type runs struct {
	Task  string
	Count int64
}

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	node := r.PathValue("node")
	w, known := g.roster.get(ctx).find(node)
	d, err := g.cfg.Operator.Detail(ctx, node)
	silent, isSilent := errors.AsType[*inspect.SilentError](err)
	if err != nil && !isSilent && !known {
		return web.View{}, err
	}
	if !known && isSilent {
		return web.View{}, web.NotFound(fmt.Sprintf("No worker with the name %q answers, and none has sent events.", words.Name(node)))
	}
	w.node = node
	v := oneView{Path: href(node), Problem: r.Problem, May: r.May(web.RoleOperator), Answers: err == nil}
	switch {
	case isSilent && !w.event.Left:
		v.Fault = silent.Error() + "."
	case err != nil && !isSilent:
		v.Fault = err.Error() + "."
	}
	if v.Answers {
		w.answered, w.told, w.queues = true, d.Worker, d.Queues
		v.detail(d)
		w.drained = g.drainedOf(ctx, node, d)
	} else {
		w.answered = false
	}
	v.Head = head(w, d)
	if w.drained != nil {
		v.Drained = &drained{At: w.drained.At, By: w.drained.By, Queues: strings.Join(w.drained.Queues, ", ")}
	}
	v.Python = kind(w) == "Python"
	return web.View{Title: "Worker " + words.Name(node), Data: v}, nil
}

// drainedOf returns that a worker is drained: it was told so, and consumes nothing.
func (g *Group) drainedOf(ctx context.Context, node string, d inspect.Detail) *inspect.Drained {
	if len(d.Queues) > 0 {
		return nil
	}
	found, err := g.cfg.Operator.Drained(ctx, node)
	if one, is := found[node]; err == nil && is {
		return &one
	}
	return nil
}

// head is the head of the page.
func head(w worker, d inspect.Detail) web.Head {
	h := web.Head{Title: words.Name(w.node), Back: &web.Link{Text: "Workers", Href: "/workers"}, Chips: []web.Chip{state(w)}}
	if k := kind(w); k != "" {
		h.Chips = append(h.Chips, web.Chip{Text: k, Tone: web.Info})
	}
	fact := func(name, value string) {
		if value != "" {
			h.Facts = append(h.Facts, web.Fact{Name: name, Value: value})
		}
	}
	r := newRow(w)
	if r.Trouble != "" {
		h.Facts = append(h.Facts, web.Fact{Name: "Not well", Value: r.Trouble, Href: "/health"})
	}
	fact("Version", r.Version)
	if !r.Heartbeat.IsZero() {
		h.Facts = append(h.Facts, web.Fact{Name: "Heartbeat", Time: r.Heartbeat})
	}
	fact("Clock drift", r.Drift)
	if w.answered {
		fact("Up for", span(w.told.Uptime))
		fact("Process", fmt.Sprint(w.told.PID))
		fact("Pool", poolName(d.Pool))
	} else if w.event.PID > 0 {
		fact("Process", fmt.Sprint(w.event.PID))
	}
	fact("System", words.Name(w.event.System))
	if len(w.event.Load) == 3 {
		fact("Load", fmt.Sprintf("%.2f %.2f %.2f", w.event.Load[0], w.event.Load[1], w.event.Load[2]))
	}
	return h
}

// poolName returns a pool as celery --pool names it.
func poolName(of string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(of, "celery.concurrency."), ":")
	return words.Name(name)
}

// span returns a duration in words.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// detail takes over what the worker told.
func (v *oneView) detail(d inspect.Detail) {
	v.Tiles = []web.Tile{
		{Label: "Running", Value: fmt.Sprint(len(d.Running)), Hint: fmt.Sprintf("of %d slots", d.Concurrency)},
		{Label: "Reserved", Value: fmt.Sprint(d.Reserved), Hint: "taken, without a slot yet"},
		{Label: "Prefetch", Value: fmt.Sprint(d.Prefetch), Hint: "messages it may hold"},
	}
	if d.Memory > 0 {
		v.Tiles = append(v.Tiles, web.Tile{Label: "Memory", Value: fmt.Sprintf("%.0f", float64(d.Memory)/1e6), Unit: "MB", Hint: "at most, since its start"})
	}
	if v.Scaled = d.Most > 0; v.Scaled {
		v.Most, v.Least = d.Most, d.Least
		v.Tiles[0].Hint += fmt.Sprintf(", autoscaled %d–%d", d.Least, d.Most)
	}
	for _, r := range d.Running {
		one := running{ID: r.ID, Short: r.ID, Href: "/tasks/" + segment.Of(r.ID), Name: r.Name, Queue: r.Queue, Started: r.Started}
		if len(r.ID) == 36 {
			one.Short = r.ID[:8]
		}
		v.Running = append(v.Running, one)
	}
	for _, q := range d.Queues {
		v.Queues = append(v.Queues, queue{Name: q, Href: "/queues/" + segment.Of(q)})
	}
	for _, name := range d.Registered {
		if !strings.HasPrefix(name, "celery.") {
			v.Registered = append(v.Registered, name)
		}
	}
	for task, n := range d.Runs {
		v.Runs = append(v.Runs, runs{Task: words.Name(task), Count: n})
	}
	sorting.By(v.Runs, func(a, b runs) int { return strings.Compare(a.Task, b.Task) })
}
