package mails

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// listView is the view of the list of deliveries.
type listView struct {
	Head   web.Head
	Search web.Search
	Facets web.Facets
	Chart  web.Chart
	Rows   []row
	Pager  web.Pager
	Empty  web.Empty
}

// row is one mail of a list.
type row struct {
	Href      string
	FirstSeen time.Time
	State     web.Chip
	Kind      string
	To        string
	TaskID    string
	Attempts  int
	Why       string
}

func rowOf(m ledger.Mail) row {
	return row{
		Href: mailPath(m), FirstSeen: m.FirstSeen, State: life.Chip(m.State), Kind: m.Kind, To: verdict.Recipient(m),
		TaskID: m.TaskID, Attempts: m.Attempts, Why: verdict.Why(m),
	}
}

// mailPath returns the path of the page of a mail.
func mailPath(m ledger.Mail) string {
	return taskPath("deliveries", m.TaskID) + "?" + url.Values{"mail": {m.Mail}}.Encode()
}

// choice is what a list shows, as the URL says it.
type choice struct {
	q      string
	states []string
	since  string
	until  string
	after  string
	filter ledger.Filter
}

// readChoice reads a URL.
func readChoice(values url.Values, now time.Time) (c choice, err error) {
	c = choice{q: strings.TrimSpace(values.Get("q")), states: values["state"], since: values.Get("since"), until: values.Get("until"), after: values.Get("after")}
	query := search.Parse(c.q, search.MailNames)
	query.Named["state"] = append(query.Named["state"], c.states...)
	if c.filter, err = query.Filter(); err != nil {
		return c, web.Invalid(sentence(err))
	}
	if c.filter.Since, err = search.Since(c.since, now); err != nil {
		return c, web.Invalid(sentence(err))
	}
	if c.filter.Until, err = search.Since(c.until, now); err != nil {
		return c, web.Invalid(sentence(err))
	}
	c.filter.After, c.filter.Limit = c.after, pageSize
	return c, nil
}

const pageSize = 50

// sentence writes an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// href returns the path of the same list with another value; "" removes it. The list begins
// at its first page.
func (c choice) href(name string, values ...string) string {
	v := url.Values{}
	set := func(key string, values ...string) {
		for _, value := range values {
			if value != "" {
				v.Add(key, value)
			}
		}
	}
	for key, own := range map[string][]string{"q": {c.q}, "state": c.states, "since": {c.since}, "until": {c.until}} {
		if key == name {
			own = values
		}
		set(key, own...)
	}
	if name == "after" {
		set("after", values...)
	}
	if len(v) == 0 {
		return "/deliveries"
	}
	return "/deliveries?" + v.Encode()
}

// list loads the list of deliveries.
func (g *Group) list(ctx context.Context, r *web.Request) (web.View, error) {
	h, err := g.history()
	if err != nil {
		return web.View{}, err
	}
	c, err := readChoice(r.URL.Query(), g.cfg.Now())
	if err != nil {
		return web.View{}, err
	}
	var page ledger.Page
	var facets []ledger.Facet
	var chart web.Chart
	var words []string
	all, together := errgroup.WithContext(ctx)
	all.Go(func() error {
		words = g.completer().Words(together, search.MailNames)
		return nil
	})
	all.Go(func() (err error) {
		page, err = h.List(together, c.filter)
		return err
	})
	all.Go(func() (err error) {
		facets, err = keep.Get(g.cache, "facets\x00"+c.q+"\x00"+c.since+"\x00"+c.until, func() ([]ledger.Facet, error) { return h.Facets(together, c.filter) })
		return err
	})
	all.Go(func() (err error) {
		chart, err = g.chart(together, h, c)
		return err
	})
	if err := all.Wait(); err != nil {
		return web.View{}, life.Fault(err)
	}
	v := listView{
		Head:   web.Head{Title: "Deliveries", Lead: "Every mail of the history, the newest first: what became of it, and why."},
		Search: g.searchBox(c, words), Facets: g.facets(c, facets), Chart: chart,
		Pager: web.Pager{Text: pagerText(len(page.Mails), c, facets)},
		Empty: web.Empty{Title: "No mail", Text: "No mail of the history meets these conditions.", Href: "/deliveries", Link: "Show all"},
	}
	if c.q == "" && c.since == "" && c.until == "" && len(c.states) == 0 {
		v.Empty = web.Empty{Title: "No mails yet", Text: "A mail appears here as soon as a worker has taken its task."}
	}
	if strings.Contains(c.q, "class:") { // as the overview links to it, which counts attempts
		v.Empty.Text += " The class is that of the last attempt: a mail that was accepted after failures has none."
	}
	for _, m := range page.Mails {
		m.Address = ""
		v.Rows = append(v.Rows, rowOf(m))
	}
	if page.Next != "" {
		v.Pager.Next = c.href("after", page.Next)
	}
	if c.after != "" {
		v.Pager.First = c.href("after")
	}
	return web.View{Title: "Deliveries", Data: v}, nil
}

// searchBox returns the search box with its completions.
func (g *Group) searchBox(c choice, words []string) web.Search {
	keep := map[string]string{"since": c.since, "until": c.until}
	if len(c.states) > 0 {
		keep["state"] = c.states[0]
	}
	return web.Search{
		Action: "/deliveries", Value: c.q, Label: "Search deliveries", Placeholder: "address, task id, user:42, domain:gmail.com, kind:otp …",
		Keep: keep, Suggest: words,
	}
}

func (g *Group) completer() search.Completer {
	return search.Completer{Kinds: g.kinds, Figures: g.cfg.Figures, Cache: g.cache, Now: g.cfg.Now}
}

// times are the periods that are one click away.
var times = []struct{ since, text string }{{"1h", "Last hour"}, {"24h", "Last 24 hours"}, {"7d", "Last 7 days"}, {"30d", "Last 30 days"}, {"", "All"}}

// facets returns the choices beside the list.
func (g *Group) facets(c choice, counted []ledger.Facet) web.Facets {
	chosen := map[string]bool{}
	for _, s := range c.states {
		chosen[s] = true
	}
	total, more := int64(0), false
	for _, f := range counted {
		total, more = total+f.N, more || f.Estimated
	}
	all := web.Facet{Text: "All", Href: c.href("state"), Count: total, Chosen: len(c.states) == 0}
	if more {
		all.Text, all.Count = "All, about", life.About(total)
	}
	states := web.FacetGroup{Title: "State", Items: []web.Facet{all}}
	for _, s := range ledger.States() {
		item := web.Facet{Text: s.String(), Href: c.href("state", s.String()), Tone: life.Tone(s), Chosen: chosen[s.String()]}
		if i := slices.IndexFunc(counted, func(f ledger.Facet) bool { return f.State == s }); i >= 0 {
			item.Count = counted[i].N
			if counted[i].Estimated {
				item.Text, item.Count = item.Text+", about", life.About(item.Count)
			}
		}
		if item.Count == 0 && !item.Chosen {
			continue
		}
		states.Items = append(states.Items, item)
	}
	when := web.FacetGroup{Title: "Taken"}
	for _, t := range times {
		when.Items = append(when.Items, web.Facet{Text: t.text, Href: c.href("since", t.since), Count: -1, Chosen: c.since == t.since && c.until == ""})
	}
	kinds := web.FacetGroup{Title: "Kind"}
	for _, k := range g.kinds {
		other := c
		isChosen := slices.Contains(c.filter.Kinds, k)
		other.q = withoutKinds(c.q)
		if !isChosen {
			other.q = strings.TrimSpace(other.q + " kind:" + k)
		}
		kinds.Items = append(kinds.Items, web.Facet{Text: k, Href: other.href(""), Count: -1, Chosen: isChosen})
	}
	return web.Facets{Label: "Choices", Groups: []web.FacetGroup{states, when, kinds}}
}

func withoutKinds(q string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(q), func(w string) bool { return strings.HasPrefix(strings.ToLower(w), "kind:") }), " ")
}

// pagerText tells how many mails there are.
func pagerText(n int, c choice, facets []ledger.Facet) string {
	if n == 0 {
		return ""
	}
	total, estimated := int64(0), false
	for _, f := range facets {
		if len(c.filter.States) == 0 || slices.Contains(c.filter.States, f.State) {
			total, estimated = total+f.N, estimated || f.Estimated
		}
	}
	if estimated {
		return fmt.Sprintf("%d of about %s mails, as the database estimates", n, life.Number(life.About(total)))
	}
	return fmt.Sprintf("%d of %s", n, life.Number(max(total, int64(n))))
}

// chart returns the events over time. The roll-ups know the kind and the state of a mail, and
// nothing else.
func (g *Group) chart(ctx context.Context, h History, c choice) (web.Chart, error) {
	now := g.cfg.Now()
	until := c.filter.Until
	if until.IsZero() || until.After(now) {
		until = now
	}
	since := c.filter.Since
	if since.IsZero() {
		since = until.Add(-24 * time.Hour)
	}
	span := 24 * time.Hour
	switch length := until.Sub(since); {
	case length <= 3*time.Hour && now.Sub(since) < 6*24*time.Hour:
		span = time.Minute
	case length <= 3*24*time.Hour:
		span = time.Hour
	}
	key := fmt.Sprint("chart\x00", since.Truncate(span).Unix(), "\x00", until.Truncate(span).Unix(), "\x00", span)
	points, err := keep.Get(g.cache, key, func() ([]ledger.Point, error) { return h.Chart(ctx, since, until, span) })
	if err != nil {
		return web.Chart{}, err
	}
	return chartOf(points, c, since, until, span), nil
}

// lines are the lines of the chart: states that belong together.
var lines = []struct {
	label  string
	tone   web.Tone
	states []ledger.State
}{
	{"accepted", web.Good, []ledger.State{ledger.Accepted}},
	{"put off", web.Wait, []ledger.State{ledger.Queued, ledger.Deferred, ledger.Unknown}},
	{"not sent", web.Bad, []ledger.State{ledger.Suppressed, ledger.Expired, ledger.Rejected, ledger.Dead}},
	{"bounced", web.Calm, []ledger.State{ledger.Bounced, ledger.Complained}},
}

func chartOf(points []ledger.Point, c choice, since, until time.Time, span time.Duration) web.Chart {
	name := map[time.Duration]string{time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day"}[span]
	chart := web.Chart{ID: "events", Title: "Events of mails", Unit: "per " + name, Bars: true, Stack: true, Height: 120}
	if narrows(c.filter) {
		chart.Title = "Events of all mails" + ofKinds(c.filter.Kinds)
	}
	begin := since.UTC().Truncate(span)
	places := map[int64]int{}
	for t := begin; t.Before(until); t = t.Add(span) {
		places[t.Unix()] = len(chart.Times)
		chart.Times = append(chart.Times, t.Unix())
	}
	for _, l := range lines {
		chart.Series = append(chart.Series, web.Series{Label: l.label, Tone: l.tone, Values: make([]float64, len(chart.Times))})
	}
	for _, p := range points {
		at, ok := places[p.Start.Unix()]
		if !ok || len(c.filter.Kinds) > 0 && !slices.Contains(c.filter.Kinds, p.Kind) || len(c.filter.States) > 0 && !slices.Contains(c.filter.States, p.State) {
			continue
		}
		for i, l := range lines {
			if slices.Contains(l.states, p.State) {
				chart.Series[i].Values[at] += float64(p.N)
			}
		}
	}
	return chart
}

// narrows reports whether a filter asks for what the roll-ups do not know.
func narrows(f ledger.Filter) bool {
	return cmp.Or(f.Address, f.Booking, f.Domain, f.TaskID) != "" || f.UserID != nil || len(f.Classes) > 0
}

func ofKinds(kinds []string) string {
	if len(kinds) == 0 {
		return ""
	}
	return " of the kind " + strings.Join(kinds, ", ")
}
