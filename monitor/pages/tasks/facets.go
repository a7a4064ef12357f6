package tasks

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// counted is a state with its number.
type counted struct {
	name      string
	n         int64
	estimated bool
	tone      web.Tone
}

func fleetStates(states map[string]int) (all []counted) {
	order := []string{fleet.Pending, fleet.Received, fleet.Started, fleet.Retry, fleet.Success, fleet.Failure, fleet.Revoked, fleet.Rejected}
	for s := range states {
		if !slices.Contains(order, s) {
			order = append(order, s)
		}
	}
	sort.Strings(order[8:])
	for _, s := range order {
		if n := states[s]; n > 0 {
			all = append(all, counted{s, int64(n), false, stateChip(s).Tone})
		}
	}
	return all
}

func historyStates(facets []ledger.Facet) (all []counted) {
	for _, f := range facets {
		all = append(all, counted{f.State.String(), f.N, f.Estimated, life.Tone(f.State)})
	}
	return all
}

// mostErrors bounds the classes of errors beside the list.
const mostErrors = 12

// errors returns the classes of errors, the most frequent first.
func (c choice) errors(counts map[string]int) []web.FacetGroup {
	classes := slices.Collect(maps.Keys(counts))
	sorting.By(classes, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	classes = classes[:min(len(classes), mostErrors)]
	if c.fault != "" && !slices.Contains(classes, c.fault) {
		classes = append(classes, c.fault)
	}
	if len(classes) == 0 {
		return nil
	}
	group := web.FacetGroup{Title: "Error", Items: []web.Facet{{Text: "Any", Href: c.href("error"), Count: -1, Chosen: c.fault == ""}}}
	for _, class := range classes {
		group.Items = append(group.Items, web.Facet{Text: words.Line(class), Href: c.href("error", class), Count: int64(counts[class]), Chosen: c.fault == class})
	}
	return []web.FacetGroup{group}
}

// facets returns the choices beside the list.
func (c choice) facets(states []counted, none bool) web.Facets {
	group := web.FacetGroup{Title: "State"}
	sum := counted{}
	for _, s := range states {
		sum.n, sum.estimated = sum.n+s.n, sum.estimated || s.estimated
	}
	add := func(text, href string, s counted, chosen bool) {
		if s.estimated {
			text, s.n = text+", about", life.About(s.n)
		}
		group.Items = append(group.Items, web.Facet{Text: text, Href: href, Count: s.n, Tone: s.tone, Chosen: chosen})
	}
	add("All", c.href("state"), sum, len(c.states) == 0)
	for _, s := range states {
		add(s.name, c.href("state", s.name), s, slices.Contains(c.states, s.name))
	}
	if none {
		for _, s := range c.states {
			add(s, c.href("state", s), counted{}, true)
		}
	}
	when := web.FacetGroup{Title: "Time"}
	for _, t := range []struct{ since, text string }{{"5m", "Last 5 minutes"}, {"1h", "Last hour"}, {"24h", "Last 24 hours"}, {"7d", "Last 7 days"}, {"", "All"}} {
		when.Items = append(when.Items, web.Facet{Text: t.text, Href: c.href("since", t.since), Count: -1, Chosen: c.since == t.since && c.until == ""})
	}
	return web.Facets{Label: "Choices", Groups: []web.FacetGroup{group, when}}
}
