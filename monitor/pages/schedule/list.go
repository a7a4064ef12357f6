package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// pageRows is the number of rows of a page.
const pageRows = 50

// listView is the page of what waits.
type listView struct {
	Head    web.Head
	Problem string
	Facets  web.Facets
	Search  web.Search
	Rows    []row
	Pager   web.Pager
	Empty   web.Empty
	Filter  filter
	May     bool
	Left    int
	Count   int  // of all that the filter chooses
	Python  bool // some are held by Python workers
	Fault   string
}

// row is a message that waits.
type row struct {
	inspect.Waiting
	Chip   web.Chip
	Short  string
	Name   string // of the task, without its module
	Href   string
	Holder string
	Reason string
	Queued string // path of the page of its queue
}

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	s, err := g.cfg.Schedule.Snapshot(ctx)
	if err != nil {
		return web.View{}, web.Missing("Redis does not answer", "Scheduled tasks are kept in Redis. Check REDIS_URL and the server, then load this page again.\n"+err.Error()+".")
	}
	f := readFilter(r.URL.Query())
	found := f.of(s)
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	from = max(0, min(from, max(0, len(found)-1))/pageRows*pageRows)
	shown := found[from:min(from+pageRows, len(found))]
	v := listView{
		Head:    web.Head{Title: "Scheduled and retries", Lead: "Tasks that workers hold until their time comes, the next one first."},
		Problem: r.Problem, Filter: f, May: r.May(web.RoleOperator), Left: s.Left, Count: len(found),
		Facets: facets(s, f),
		Search: web.Search{Action: "/scheduled", Value: f.Text, Label: "Search in what waits", Placeholder: "Task, id, queue, worker or argument", Keep: map[string]string{"kind": f.Kind, "holder": f.Holder, "task": f.Task}},
		Empty:  web.Empty{Title: "Nothing waits for its time", Text: "Tasks with an ETA or a countdown, and retries, appear here as soon as a worker has taken them from their queue."},
		Pager:  pager(f, from, len(found)),
	}
	if len(s.Waiting) > 0 {
		v.Empty = web.Empty{Title: "Nothing matches", Text: "Choose another state, or search for less.", Href: "/scheduled", Link: "Show all"}
	}
	reasons, err := g.cfg.Schedule.Reasons(ctx, shown)
	if err != nil {
		v.Fault = "Why tasks are tried again is not known at the moment: " + err.Error() + "."
	}
	for _, w := range shown {
		v.Rows = append(v.Rows, newRow(w, reasons[w.ID]))
		v.Python = v.Python || w.Python
	}
	return web.View{Title: "Scheduled and retries", Data: v}, nil
}

func newRow(w inspect.Waiting, reason string) row {
	r := row{Waiting: w, Short: w.ID, Name: lastPart(w.Task), Href: "/tasks/" + segment.Of(w.ID), Holder: cmp.Or(w.Node, "a worker"), Reason: reason, Queued: "/queues/" + segment.Of(w.Queue)}
	if r.Kwargs == "{}" {
		r.Kwargs = "" // there are none
	}
	if len(w.ID) == 36 {
		r.Short = w.ID[:8]
	}
	if w.Python {
		r.Holder = "a Python worker"
	}
	switch kind(&w) {
	case "cancelled":
		r.Chip = web.Chip{Text: "cancelled", Tone: web.Calm}
	case "retry":
		r.Chip = web.Chip{Text: fmt.Sprintf("retry %d", w.Retries), Tone: web.Wait}
	default:
		r.Chip = web.Chip{Text: "scheduled", Tone: web.Info}
	}
	return r
}

func pager(f filter, from, total int) web.Pager {
	link := func(from int) string {
		q := f.values()
		q.Set("from", strconv.Itoa(from))
		return "/scheduled?" + q.Encode()
	}
	p := web.Pager{}
	if total > 0 {
		p.Text = fmt.Sprintf("%d–%d of %d", from+1, min(from+pageRows, total), total)
	}
	if from > 0 {
		p.First, p.Prev = f.href(), link(max(0, from-pageRows))
	}
	if from+pageRows < total {
		p.Next = link(from + pageRows)
	}
	return p
}

// mostTasks bounds the names of tasks beside the list.
const mostTasks = 12

// facets counts what waits by kind, holder and task.
func facets(s *inspect.Snapshot, f filter) web.Facets {
	counts, tasks := map[string]int64{}, map[string]int64{}
	for i := range s.Waiting {
		w := &s.Waiting[i]
		counts[kind(w)]++
		counts[holder(w)]++
		tasks[w.Task]++
	}
	item := func(text, href string, count int64, tone web.Tone, chosen bool) web.Facet {
		return web.Facet{Text: text, Href: href, Count: count, Tone: tone, Chosen: chosen}
	}
	with := func(change func(*filter)) string {
		g := f
		change(&g)
		return g.href()
	}
	kinds := web.FacetGroup{Title: "State"}
	for _, k := range []struct {
		text, key string
		tone      web.Tone
	}{{"Scheduled", "scheduled", web.Info}, {"Retries", "retry", web.Wait}, {"Cancelled", "cancelled", web.Calm}} {
		kinds.Items = append(kinds.Items, item(k.text, with(func(f *filter) { f.Kind = k.key }), counts[k.key], k.tone, f.Kind == k.key))
	}
	all := item("All", with(func(f *filter) { f.Kind = "" }), int64(len(s.Waiting)), web.Calm, f.Kind == "")
	kinds.Items = slices.Insert(kinds.Items, 0, all)
	holders := web.FacetGroup{Title: "Held by"}
	for _, h := range []struct{ text, key string }{{"Any worker", ""}, {"Go workers", "go"}, {"Python workers", "python"}} {
		n := counts[h.key]
		if h.key == "" {
			n = -1
		}
		holders.Items = append(holders.Items, item(h.text, with(func(f *filter) { f.Holder = h.key }), n, web.Calm, f.Holder == h.key))
	}
	names := web.FacetGroup{Title: "Task"}
	var sorted []string
	for name := range tasks {
		sorted = append(sorted, name)
	}
	sorting.By(sorted, func(a, b string) int { return cmp.Or(cmp.Compare(tasks[b], tasks[a]), cmp.Compare(a, b)) })
	if len(sorted) > 0 {
		names.Items = append(names.Items, item("Any task", with(func(f *filter) { f.Task = "" }), -1, web.Calm, f.Task == ""))
	}
	for _, name := range sorted[:min(len(sorted), mostTasks)] {
		names.Items = append(names.Items, item(lastPart(name), with(func(f *filter) { f.Task = name }), tasks[name], web.Calm, f.Task == name))
	}
	groups := []web.FacetGroup{kinds, holders}
	if len(names.Items) > 0 {
		groups = append(groups, names)
	}
	return web.Facets{Label: "States", Groups: groups}
}

// lastPart returns a name of a task without its module.
func lastPart(name string) string {
	for i := len(name) - 2; i > 0; i-- {
		if name[i] == '.' {
			return name[i+1:]
		}
	}
	return name
}
