package letters

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
)

// listView is the page of the list.
type listView struct {
	Head   web.Head
	Facets web.Facets
	Search web.Search

	AsOf     time.Time // of an old look; zero: it is fresh
	Warnings []string
	Causes   []causeRow
	Others   int // causes that are not shown
	Rows     []row
	Total    int
	Empty    *web.Empty
	Pager    web.Pager

	// The form with what is done to many.
	State, Query string
	May          bool
	Verbs        []verbButton
	Showing      string // what the buttons choose when no letter is
}

type verbButton struct {
	Verb, Text string
	Tone       web.Tone
}

// causeRow is the letters of one cause.
type causeRow struct {
	Cause, Advice string
	Tasks         string
	Count         int
	First, Last   time.Time
	Domains       string
	Expired       int
	Href, Example string
	Retry         string // href of the page that asks; "": it is not offered
}

// row is a letter of the list.
type row struct {
	ID, Short, Href string
	At              time.Time
	State           web.Chip
	Kind, Whose     string
	Reason          string
	Expired, Locked bool
}

// Sizes of the list.
const (
	pageSize    = 50
	mostCauses  = 8
	mostDomains = 6
)

// looksLikeID matches what may be the id of a letter or of its task.
var looksLikeID = regexp.MustCompile(`^[0-9a-fA-F-]{8,64}$`)

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	q, err := readQuery(r.URL.Query(), g.cfg.Now())
	if err != nil {
		return web.View{}, err
	}
	l, err := g.box.glance(ctx)
	if err != nil {
		return web.View{}, plain(err)
	}
	if id := named(l, strings.TrimSpace(r.URL.Query().Get("q"))); id != "" && !r.Live {
		return web.View{}, web.Redirect(letterPath(id))
	}
	v, err := g.list(l, q)
	if err != nil {
		return web.View{}, err
	}
	if v.May = r.May(web.RoleOperator); !v.May {
		for i := range v.Causes {
			v.Causes[i].Retry = ""
		}
	}
	return web.View{Title: "Dead letters", Data: v}, nil
}

// named returns the letter that a search names by the beginning of its id, or by its task id.
func named(l *look, text string) string {
	if !looksLikeID.MatchString(text) {
		return ""
	}
	found := ""
	for i := range l.items {
		if it := &l.items[i]; strings.HasPrefix(it.ID, strings.ToLower(text)) || it.TaskID == text {
			if found != "" {
				return ""
			}
			found = it.ID
		}
	}
	return found
}

// list makes the view of a query.
func (g *Group) list(l *look, q *query) (*listView, error) {
	anyState := q.filter
	anyState.States = nil
	ofAll := anyState.Choose(l.items)
	chosen := q.filter.Choose(l.items)
	now := g.cfg.Now()
	v := &listView{
		Head: web.Head{Title: "Dead letters", Links: []web.Link{{Text: "Jobs", Href: "/jobs"}}},
		Search: web.Search{
			Action: "/dead-letters", Value: q.text(), Label: "Search in dead letters", Placeholder: `Reason, id, kind:otp, domain:gmail.com, since:2h`,
			Keep: map[string]string{"state": keepState(q.state)}, Suggest: suggestions(l.items),
		},
		Facets: facets(l.items, ofAll, q), Warnings: warnings(l), Total: len(chosen),
		State: q.state, Query: q.text(), Verbs: verbs(q.state),
	}
	if now.Sub(l.at) > tellsAge {
		v.AsOf = l.at
	}
	v.causes(chosen, q, now)
	rest := chosen
	if q.after != "" {
		at, id, err := readPlace(q.after)
		if err != nil {
			return nil, err
		}
		rest = after(chosen, at, id)
		v.Pager.First = q.inState(q.state).href()
	}
	shown := rest[:min(pageSize, len(rest))]
	for i := range shown {
		v.Rows = append(v.Rows, rowOf(&shown[i], now))
	}
	from := len(chosen) - len(rest)
	if len(shown) > 0 {
		v.Pager.Text = fmt.Sprintf("%d–%d of %d", from+1, from+len(shown), len(chosen))
	}
	if len(shown) < len(rest) {
		next := *q
		next.after = place(&shown[len(shown)-1])
		v.Pager.Next = next.href()
	}
	v.Showing = count(len(chosen), "letter")
	if len(chosen) == 0 {
		v.Empty = empty(q)
	}
	return v, nil
}

func keepState(state string) string {
	if state == "open" {
		return ""
	}
	return state
}

// rowOf returns the row of a letter.
func rowOf(it *desk.Item, now time.Time) row {
	const short = 8
	return row{
		ID: it.ID, Short: it.ID[:min(short, len(it.ID))], Href: letterPath(it.ID), At: it.At, State: chipOf(it.State),
		Kind: kindOf(it), Whose: whose(it), Reason: line(it.Reason), Locked: it.Locked != nil,
		Expired: it.State == broker.LetterOpen && it.Expired(now),
	}
}

// verbs returns what can be done to the letters of a state.
func verbs(state string) []verbButton {
	retry, resolve := verbButton{string(desk.Retry), "Retry…", ""}, verbButton{string(desk.Resolve), "Mark as dealt with…", ""}
	reopen, del := verbButton{string(desk.Reopen), "Reopen…", ""}, verbButton{string(desk.Delete), "Delete…", web.Bad}
	switch state {
	case "open":
		return []verbButton{retry, resolve, del}
	case "dealt_with":
		return []verbButton{reopen, del}
	}
	return []verbButton{del}
}

func empty(q *query) *web.Empty {
	switch {
	case len(q.terms) > 0:
		return &web.Empty{Title: "No dead letter meets the conditions", Text: "Look in all states, or leave out a condition.", Href: "/dead-letters", Link: "All open letters"}
	case q.state == "open":
		return &web.Empty{Title: "No open dead letters", Text: "A message becomes a dead letter when nothing more can be done with it: it cannot be read, its mail was refused, or its retries are used up."}
	}
	return &web.Empty{Title: "No letters in this state", Href: "/dead-letters", Link: "Open letters"}
}

// warnings tell what a list of letters does not show by itself.
func warnings(l *look) (all []string) {
	if lost := l.counts.Dropped + l.counts.Aged; lost > 0 {
		all = append(all, fmt.Sprintf("Open letters that were lost: %d above DEAD_LETTERS_MAX, %d after 30 days; the last at %s.", l.counts.Dropped, l.counts.Aged, words.Clock(l.counts.LastDropped)))
	}
	if l.locked > 0 {
		all = append(all, fmt.Sprintf("Letters that cannot be decrypted: %d. Set DEAD_LETTER_KEY to the key of the workers to see whose they are.", l.locked))
	}
	return all
}

// causes adds the causes of the chosen letters.
func (v *listView) causes(chosen []desk.Item, q *query, now time.Time) {
	all := desk.Causes{AllTasks: true, Now: now}.Group(chosen)
	v.Others = max(0, len(all)-mostCauses)
	for _, c := range all[:min(mostCauses, len(all))] {
		at := q.with("reason", c.Cause)
		r := causeRow{
			Cause: line(c.Cause), Tasks: line(c.TaskText()), Advice: c.Advice, Count: c.Count, First: c.First, Last: c.Last,
			Domains: line(c.DomainText()), Expired: c.Expired, Href: at.href(), Example: letterPath(c.Example),
		}
		if q.state == "open" && c.Count > c.Expired && strings.Contains(c.Advice, "retry") {
			values := at.values()
			values.Set("verb", string(desk.Retry))
			r.Retry = href("/dead-letters/bulk", values)
		}
		v.Causes = append(v.Causes, r)
	}
}

// facets are the states, kinds, domains and times that lead to a part of the list. Each number
// is that of the list behind it.
func facets(all, ofAll []desk.Item, q *query) web.Facets {
	counts := states(ofAll)
	group := web.FacetGroup{Title: "State"}
	for _, s := range stateNames {
		group.Items = append(group.Items, web.Facet{Text: s.title, Href: q.inState(s.name).href(), Count: counts[s.state], Tone: s.tone, Chosen: q.state == s.name})
	}
	group.Items = append(group.Items, web.Facet{Text: "All", Href: q.inState(allStates).href(), Count: int64(len(ofAll)), Tone: web.Calm, Chosen: q.state == allStates})
	f := web.Facets{Label: "Parts of the list", Groups: []web.FacetGroup{group}}
	kinds := func(it *desk.Item) string { return it.Kind }
	domains := func(it *desk.Item) string { return it.Domain }
	for _, by := range []struct {
		title, key string
		of         func(*desk.Item) string
		most       int
	}{{"Kind of mail", "kind", kinds, len(tasks.Mails())}, {"Domain", "domain", domains, mostDomains}} {
		if g := facetsBy(all, q, by.title, by.key, by.of, by.most); len(g.Items) > 0 {
			f.Groups = append(f.Groups, g)
		}
	}
	since := web.FacetGroup{Title: "Set aside"}
	for _, s := range []struct{ text, value string }{{"Last hour", "1h"}, {"Last 24 hours", "24h"}, {"Last 7 days", "7d"}} {
		since.Items = append(since.Items, q.facet(s.text, "since", s.value, -1))
	}
	f.Groups = append(f.Groups, since)
	return f
}

// facet returns a choice of a key, which takes itself back when it is chosen.
func (q *query) facet(text, key, value string, n int64) web.Facet {
	chosen := q.has(key, value)
	to := q.with(key, value)
	if chosen {
		to = q.with(key, "")
	}
	return web.Facet{Text: text, Href: to.href(), Count: n, Tone: web.Calm, Chosen: chosen}
}

// facetsBy returns the most frequent values of a key among the letters that meet the other
// conditions.
func facetsBy(all []desk.Item, q *query, title, key string, of func(*desk.Item) string, most int) web.FacetGroup {
	f := q.filter
	if key == "kind" {
		f.Kinds = nil
	} else {
		f.Domains = nil
	}
	counts := map[string]int64{}
	for i := range all {
		if it := &all[i]; of(it) != "" && f.Chooses(it) {
			counts[of(it)]++
		}
	}
	var values []string
	for value := range counts {
		values = append(values, value)
	}
	sorting.By(values, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	g := web.FacetGroup{Title: title}
	for i, value := range values {
		if i < most || q.has(key, value) {
			g.Items = append(g.Items, q.facet(line(value), key, value, counts[value]))
		}
	}
	return g
}

// suggestions complete the words of the search box.
func suggestions(items []desk.Item) (all []string) {
	seen := map[string]bool{}
	for i := range items {
		it := &items[i]
		for _, s := range []term{{"kind", it.Kind}, {"domain", it.Domain}} {
			if text := s.key + ":" + s.value; s.value != "" && !seen[text] && len(seen) < 20 && !strings.ContainsAny(s.value, ` "`) {
				seen[text] = true
				all = append(all, text)
			}
		}
	}
	sort.Strings(all)
	return append(all, "since:1h", "since:24h", "until:2h")
}
