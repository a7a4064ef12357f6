package system

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
)

// health is the page of the health of all processes.
type health struct {
	Head      web.Head
	Processes []process
	Empty     *web.Empty
	Stale     string // why nothing is known; "": it is
	Facets    web.Facets
	History   web.Timeline
	Cut       bool // there are more changes
	Quiet     bool // no change is known
}

// process is a process of the fleet.
type process struct {
	Node, Host, Version string
	PID                 int
	Started             time.Time
	Status              web.Chip
	Parts               []part
}

// part is a part of the health of a process.
type part struct {
	Name   string
	Href   string // of the page that shows more; "": none
	State  web.Chip
	Text   string
	Advice string
	Since  time.Time
}

// unwell counts the processes that are not healthy.
func (g *Group) unwell() (n int) {
	for _, p := range g.cfg.Vitals().Processes {
		if p.Report.Status != monitor.StatusHealthy {
			n++
		}
	}
	return n
}

func statusChip(status string) web.Chip {
	tone := map[string]web.Tone{monitor.StatusHealthy: web.Good, monitor.StatusDegraded: web.Wait}[status]
	return web.Chip{Text: status, Tone: cmp.Or(tone, web.Bad)}
}

func (g *Group) loadHealth(_ context.Context, r *web.Request) (web.View, error) {
	h := healthOf(g.cfg.Vitals(), time.Now(), r.URL.Query().Get("node"), r.URL.Query().Get("part"))
	if r.May(web.RoleOperator) {
		h.Head.Links = append(h.Head.Links, web.Link{Text: "Incident bundle", Href: "/incident", Icon: "bundle"})
	}
	return web.View{Title: "Health", Data: h}, nil
}

// staleAfter is the age of what was read last from which on the page says that it is old.
const staleAfter = 12 * time.Second

// mostChanges bounds the changes that the page shows.
const mostChanges = 200

func healthOf(s vitals.State, now time.Time, node, about string) health {
	h := health{Head: web.Head{
		Title: "Health", Lead: "Each worker of this program tells how it is every five seconds. Its changes are kept in Redis, and survive restarts.",
		Links: []web.Link{{Text: "Configuration", Href: "/configuration", Icon: "sliders"}},
	}}
	switch {
	case s.At.IsZero():
		h.Stale = "Redis has not answered yet. The page fills by itself."
	case now.Sub(s.At) > staleAfter:
		h.Stale = "Redis does not answer. This is how the workers were at " + s.At.UTC().Format("15:04:05") + " UTC, and not how they are."
	case len(s.Processes) == 0:
		h.Empty = &web.Empty{Title: "No worker tells how it is", Text: "Workers of this program do, from this version on. Those of Python have no health report; the page of workers shows them.", Href: "/workers", Link: "Workers"}
	}
	for _, p := range s.Processes {
		one := process{Node: p.Node, Host: p.Host, Version: p.Version, PID: p.PID, Started: p.Started, Status: statusChip(p.Report.Status)}
		details := detailsOf(p.Report)
		names, states := vitals.Parts(p.Report)
		for _, name := range names {
			if name == vitals.PartStatus {
				continue
			}
			row := part{Name: vitals.PartName(name), Href: pagesOf[name], Text: states[name].Text, State: web.Chip{Text: "ok", Tone: web.Good}}
			if d, ok := details[name]; ok {
				row.Text, row.Advice = says(d), d.Advice
				if name == "dead_letters" && d.Advice != "" { // it names a command
					row.Advice = "look at them by cause, mend the cause, then retry all of it"
				}
				row.State.Text = cmp.Or(d.Status, "ok")
				row.Since, _ = time.Parse(time.RFC3339, d.Since) // zero: not known
			}
			if !states[name].OK {
				row.State.Tone = web.Bad
				if row.State.Text == "ok" {
					row.State.Text = "not ok"
				}
			}
			if row.State.Text == monitor.PartDegraded {
				row.State.Tone = web.Wait
			}
			one.Parts = append(one.Parts, row)
		}
		sorting.Stable(one.Parts, func(a, b part) int { return cmp.Compare(rank(a), rank(b)) })
		h.Processes = append(h.Processes, one)
	}
	sorting.Stable(h.Processes, func(a, b process) int { return cmp.Compare(toneRank(a.Status.Tone), toneRank(b.Status.Tone)) })
	h.Facets = facets(s, node, about)
	h.History, h.Cut = history(s.Changes, node, about)
	h.Quiet = len(s.Changes) == 0
	return h
}

// rank puts what is not well first.
func rank(p part) int { return toneRank(p.State.Tone) }

func toneRank(tone web.Tone) int {
	switch tone {
	case web.Bad:
		return 0
	case web.Wait:
		return 1
	}
	return 2
}

// says returns what a part says. A part that works in part tells why beside how it is.
func says(p monitor.Part) string {
	if !p.OK || p.Status == monitor.PartOK || strings.Contains(p.Text, p.Reason) {
		return p.Text
	}
	return p.Text + "; " + p.Reason
}

// pagesOf are the pages that show what a part is about.
var pagesOf = map[string]string{
	"worker": "/workers", "queue": "/queues", "mail": "/deliveries", "held": "/scheduled", "history": "/deliveries",
	"dead_letters": "/dead-letters", "bounces": "/bounces", "configuration": "/configuration",
}

// detailsOf returns the parts of a report by the names of [vitals.Parts].
func detailsOf(r monitor.Report) map[string]monitor.Part {
	return map[string]monitor.Part{
		"worker": r.Worker, "queue": r.Queue, "keys": r.Keys, "database": r.Database, "mail": r.Mail, "held": r.Held,
		"history": r.History, "dead_letters": r.DeadLetters, "bounces": r.Bounces, "events": r.Events, "configuration": r.Configuration,
	}
}

// facets choose the changes by node and by part.
func facets(s vitals.State, node, about string) web.Facets {
	nodes, parts := map[string]int64{}, map[string]int64{}
	for _, c := range s.Changes {
		if about == "" || c.Part == about {
			nodes[c.Node]++
		}
		if node == "" || c.Node == node {
			parts[c.Part]++
		}
	}
	group := func(title, name, chosen, other, value string, counts map[string]int64) web.FacetGroup {
		href := func(v string) string {
			q := url.Values{}
			if v != "" {
				q.Set(name, v)
			}
			if value != "" {
				q.Set(other, value)
			}
			return "/health?" + q.Encode()
		}
		g := web.FacetGroup{Title: title, Items: []web.Facet{{Text: "All", Href: href(""), Count: -1, Chosen: chosen == ""}}}
		var keys []string
		for k := range counts {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		const most = 30
		for _, k := range keys[:min(most, len(keys))] {
			text := k
			if name == "part" {
				text = vitals.PartName(k)
			}
			g.Items = append(g.Items, web.Facet{Text: text, Href: href(k), Count: counts[k], Chosen: chosen == k})
		}
		return g
	}
	return web.Facets{Label: "Changes", Groups: []web.FacetGroup{
		group("Node", "node", node, "part", about, nodes), group("Part", "part", about, "node", node, parts),
	}}
}

// history returns the changes, the newest first.
func history(changes []vitals.Change, node, about string) (t web.Timeline, cut bool) {
	for i := len(changes) - 1; i >= 0; i-- {
		c := changes[i]
		if node != "" && c.Node != node || about != "" && c.Part != about {
			continue
		}
		if len(t) == mostChanges {
			return t, true
		}
		tone, word, text := web.Good, "ok", c.Text
		if !c.OK {
			tone, word = web.Bad, "not ok"
		}
		switch {
		case c.Part == vitals.PartProcess && c.OK:
			tone, word = web.Info, ""
		case c.Part == vitals.PartStatus:
			tone, word, text = statusChip(c.Text).Tone, c.Text, ""
		}
		t = append(t, web.Event{Time: c.At, Title: fmt.Sprintf("%s: %s", c.Node, vitals.PartName(c.Part)), Text: text, Tone: tone, Chip: web.Chip{Text: word, Tone: tone}})
	}
	return t, false
}
