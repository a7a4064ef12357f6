package tasks

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// listView is the view of the list of tasks.
type listView struct {
	Head   web.Head
	Note   string // what the list does not know
	Search web.Search
	Facets web.Facets
	Rows   []row
	Pager  web.Pager
	Empty  web.Empty
}

// row is one task of a list.
type row struct {
	Href   string
	ID     string
	Name   string // without that of its module
	State  web.Chip
	Mail   web.Chip // state of its mail
	To     string
	Worker string
	Queue  string
	At     time.Time
	Took   string
	Why    string
}

// names are the names that the search box knows.
var names = slices.Concat(search.MailNames, eventsOnly)

// mailOnly are the names that the history knows and the events do not.
var mailOnly = []string{"user", "booking", "domain", "address", "class"}

// eventsOnly are the names that the events know and the history does not.
var eventsOnly = []string{"worker", "queue", "root", "name"}

// choice is what a list shows, as the URL says it.
type choice struct {
	q, since, until string
	fault           string // class of the error
	states          []string
	after           string
	history         bool // the history of mails is listed, and not what the events tell
	asked           bool // the URL names the history
	query           search.Query
	from, to        time.Time
}

const pageSize = 50

func (g *Group) readChoice(values url.Values) (c choice, err error) {
	c = choice{q: strings.TrimSpace(values.Get("q")), since: values.Get("since"), until: values.Get("until"), fault: values.Get("error"), states: values["state"], after: values.Get("after")}
	c.query = search.Parse(c.q, names)
	now := g.cfg.Now()
	if c.from, err = search.Since(c.since, now); err == nil {
		c.to, err = search.Since(c.until, now)
	}
	if err != nil {
		return c, web.Invalid(sentence(err))
	}
	c.asked = values.Get("source") == "history"
	hasAddress := slices.ContainsFunc(c.query.Words, func(w string) bool { return strings.Contains(w, "@") && strings.Contains(w, ".") })
	c.history = c.asked || g.cfg.Fleet == nil || c.query.Has(mailOnly...) || hasAddress && !c.query.Has("worker")
	if c.history {
		c.fault = "" // it has other classes
	}
	return c, nil
}

func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// href returns the path of the same list with another value; "" removes it.
func (c choice) href(name string, values ...string) string {
	v := url.Values{}
	all := map[string][]string{"q": {c.q}, "state": c.states, "since": {c.since}, "until": {c.until}, "error": {c.fault}, "after": nil, "source": nil}
	if c.asked {
		all["source"] = []string{"history"}
	}
	all[name] = values
	for key, values := range all {
		for _, value := range values {
			if value != "" {
				v.Add(key, value)
			}
		}
	}
	if len(v) == 0 {
		return "/tasks"
	}
	return "/tasks?" + v.Encode()
}

// list loads the list of tasks.
func (g *Group) list(ctx context.Context, r *web.Request) (web.View, error) {
	c, err := g.readChoice(r.URL.Query())
	if err != nil {
		return web.View{}, err
	}
	if g.cfg.Fleet == nil && g.cfg.History == nil {
		return web.View{}, web.Missing("No tasks are known", "Neither events nor a history are read.\nWorkers send events with -E, which this program's workers do; the history needs LEDGER_DATABASE_URL.")
	}
	v := listView{
		Head:   web.Head{Title: "Tasks"},
		Search: web.Search{Action: "/tasks", Value: c.q, Label: "Search tasks", Placeholder: "id, name, worker:, queue:, user:42, domain:, class: …", Keep: map[string]string{"since": c.since, "until": c.until, "error": c.fault}},
		Empty:  web.Empty{Title: "No tasks", Text: "No task meets these conditions.", Href: "/tasks", Link: "Show all"},
	}
	if c.q == "" && c.since == "" && c.until == "" && c.fault == "" && len(c.states) == 0 {
		v.Empty = web.Empty{Title: "No tasks yet", Text: "A task appears here with its first event. Workers send events with TASK_EVENTS=true, or with celery worker -E."}
	}
	if len(c.states) > 0 {
		v.Search.Keep["state"] = c.states[0]
	}
	if c.asked {
		v.Search.Keep["source"] = "history"
	}
	var aside sync.WaitGroup
	aside.Go(func() { v.Search.Suggest = g.completions(ctx) })
	if c.history {
		err = g.listHistory(ctx, &v, c)
	} else {
		err = g.listFleet(ctx, &v, c)
	}
	aside.Wait()
	return web.View{Title: "Tasks", Data: v}, err
}

// completions returns the words that complete the search box. States are those of tasks and those
// of mails.
func (g *Group) completions(ctx context.Context) []string {
	c := search.Completer{Kinds: g.cfg.Kinds, Figures: g.cfg.Figures, Cache: g.cache, Now: g.cfg.Now}
	words := c.Words(ctx, names)
	for _, s := range []string{fleet.Received, fleet.Started, fleet.Retry, fleet.Success, fleet.Failure, fleet.Revoked} {
		words = append(words, "state:"+s)
	}
	return words
}

// fleetFilter returns what the events are asked for. The states of the URL are those of Celery.
func (c choice) fleetFilter() fleet.Filter {
	text := slices.Concat(c.query.Words, c.query.Named["task"], c.query.Named["name"], c.query.Named["kind"])
	states := append(slices.Clone(c.states), c.query.Named["state"]...)
	for i := range states {
		states[i] = strings.ToUpper(states[i])
	}
	return fleet.Filter{
		States: states, Error: c.fault, Worker: c.query.First("worker"), Queue: c.query.First("queue"), Root: c.query.First("root"),
		Since: c.from, Until: c.to, Search: strings.Join(text, " "), Limit: pageSize, After: c.after,
	}
}

// listFleet lists what the events tell, with the states of the mails.
func (g *Group) listFleet(ctx context.Context, v *listView, c choice) error {
	page, err := g.cfg.Fleet.Tasks(c.fleetFilter())
	if err != nil {
		return web.Invalid("This is no place in the list. Open the list again from its beginning.")
	}
	if len(page.Tasks) == 0 && c.after == "" && c.q != "" && g.cfg.History != nil {
		// The history survives restarts, so it may know more than the events.
		if older := c; older.forHistory() {
			older.history, older.fault = true, ""
			return g.listHistory(ctx, v, older)
		}
	}
	status := g.cfg.Fleet.Status()
	v.Head.Lead = "Tasks of all workers, by their events, the latest event first."
	if !status.Began.IsZero() {
		v.Head.Lead += " The monitor has listened since " + words.Clock(status.Began) + "."
	}
	if g.cfg.History == nil {
		v.Note = "Only what was seen since the start of the monitor is here. " + cmp.Or(g.cfg.Off, "With LEDGER_DATABASE_URL the mails of the time before are here, too.")
	}
	mails := g.mailsOf(ctx, page.Tasks)
	for i := range page.Tasks {
		v.Rows = append(v.Rows, fleetRow(&page.Tasks[i], mails))
	}
	v.Facets = c.facets(fleetStates(page.States), len(page.States) == 0)
	v.Facets.Groups = slices.Insert(v.Facets.Groups, 1, c.errors(page.Errors)...)
	v.Pager = web.Pager{Text: fmt.Sprintf("%d of %s", len(page.Tasks), life.Number(int64(page.Total)))}
	if page.Next != "" {
		v.Pager.Next = c.href("after", page.Next)
	}
	if c.after != "" {
		v.Pager.First = c.href("after")
	}
	if g.cfg.History != nil {
		older := c
		older.asked, older.states, older.fault = true, nil, ""
		if !status.Began.IsZero() {
			older.until = status.Began.UTC().Format(time.RFC3339)
		}
		if older.forHistory() {
			v.Head.Links = []web.Link{{Text: "Older mails", Href: older.href("after"), Icon: "clock"}}
		}
	}
	return nil
}

// forHistory reports whether the history can answer the search.
func (c choice) forHistory() bool {
	_, err := c.query.Filter()
	return err == nil && !c.query.Has(eventsOnly...)
}

// mailsOf returns the mails of tasks by their ids, the latest of each. Without a history, or
// when it does not answer, there are none.
func (g *Group) mailsOf(ctx context.Context, tasks []fleet.Task) map[string]ledger.Mail {
	if g.cfg.History == nil || len(tasks) == 0 {
		return nil
	}
	ids := make([]string, len(tasks))
	for i, t := range tasks {
		ids[i] = t.ID
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	page, err := g.cfg.History.List(ctx, ledger.Filter{Tasks: ids, Limit: 4 * pageSize})
	if err != nil {
		return nil
	}
	found := make(map[string]ledger.Mail, len(page.Mails))
	for _, m := range page.Mails {
		if _, ok := found[m.TaskID]; !ok {
			found[m.TaskID] = m
		}
	}
	return found
}

func fleetRow(t *fleet.Task, mails map[string]ledger.Mail) row {
	r := row{Href: path(t.ID), ID: t.ID, Name: shortName(t.Name), State: stateChip(t.State), Worker: t.Worker, Queue: t.Queue, At: t.At.Time()}
	if t.State != fleet.Success { // an earlier attempt has failed then
		r.Why = firstLine(t.Exception)
	}
	if t.Has.Has(fleet.HasRuntime) {
		r.Took = life.Milliseconds(time.Duration(t.Runtime * float64(time.Second)))
	}
	if m, ok := mails[t.ID]; ok {
		m.Address = ""
		r.Mail, r.To = life.Chip(m.State), verdict.Recipient(m)
		r.Why = cmp.Or(verdict.Why(m), r.Why)
	}
	return r
}

// listHistory lists mails, with what the events tell of their tasks.
func (g *Group) listHistory(ctx context.Context, v *listView, c choice) error {
	if g.cfg.History == nil {
		return life.NoHistory(g.cfg.Off)
	}
	if c.query.Has(eventsOnly...) {
		return web.Invalid("Users, bookings, domains, addresses and classes are known by the history of mails; workers, queues, roots and names by the events. A search may have one of both.")
	}
	query := c.query
	query.Named = map[string][]string{}
	for name, values := range c.query.Named {
		query.Named[name] = values
	}
	query.Named["state"] = append(slices.Clone(query.Named["state"]), c.states...)
	f, err := query.Filter()
	if err != nil {
		return web.Invalid(sentence(err))
	}
	f.Since, f.Until, f.After, f.Limit = c.from, c.to, c.after, pageSize
	var page ledger.Page
	var facets []ledger.Facet
	all, together := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		page, err = g.cfg.History.List(together, f)
		return err
	})
	all.Go(func() (err error) {
		facets, err = keep.Get(g.cache, "facets\x00"+c.q+"\x00"+c.since+"\x00"+c.until, func() ([]ledger.Facet, error) { return g.cfg.History.Facets(together, f) })
		return err
	})
	if err := all.Wait(); err != nil {
		return life.Fault(err)
	}
	v.Head.Lead = "Tasks with a mail, by the history of mails, the latest first."
	if g.cfg.Fleet != nil {
		v.Head.Links = []web.Link{{Text: "All tasks", Href: "/tasks", Icon: "tasks"}}
	}
	for _, m := range page.Mails {
		v.Rows = append(v.Rows, g.historyRow(m))
	}
	v.Facets = c.facets(historyStates(facets), len(facets) == 0)
	v.Pager = web.Pager{Text: historyText(len(page.Mails), f, facets)}
	if page.Next != "" {
		v.Pager.Next = c.href("after", page.Next)
	}
	if c.after != "" {
		v.Pager.First = c.href("after")
	}
	return nil
}

func (g *Group) historyRow(m ledger.Mail) row {
	m.Address = ""
	r := row{Href: path(m.TaskID), ID: m.TaskID, Name: m.Kind, Mail: life.Chip(m.State), To: verdict.Recipient(m), At: m.FirstSeen, Why: verdict.Why(m)}
	if g.cfg.Fleet == nil {
		return r
	}
	if t, ok := g.cfg.Fleet.Task(m.TaskID); ok {
		r.Name, r.State, r.Worker, r.Queue = shortName(t.Name), stateChip(t.State), t.Worker, t.Queue
	}
	return r
}

func historyText(n int, f ledger.Filter, facets []ledger.Facet) string {
	total, estimated := int64(0), false
	for _, facet := range facets {
		if len(f.States) == 0 || slices.Contains(f.States, facet.State) {
			total, estimated = total+facet.N, estimated || facet.Estimated
		}
	}
	if estimated {
		return fmt.Sprintf("%d of about %s mails, as the database estimates", n, life.Number(life.About(total)))
	}
	return fmt.Sprintf("%d of %s mails", n, life.Number(max(total, int64(n))))
}

// stateChip returns a state of Celery in its colour.
func stateChip(state string) web.Chip {
	tone := web.Info
	switch state {
	case fleet.Success:
		tone = web.Good
	case fleet.Failure, fleet.Rejected:
		tone = web.Bad
	case fleet.Retry:
		tone = web.Wait
	case fleet.Revoked, fleet.Pending:
		tone = web.Calm
	}
	return web.Chip{Text: state, Tone: tone}
}

// shortName returns the name of a task without that of its module.
func shortName(name string) string {
	if name == "" {
		return "(name not told)"
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if line == "" {
		return ""
	}
	return words.Line(line)
}
