package suppressions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/tasks"
)

// listView is the page of the list.
type listView struct {
	Head     web.Head
	Facets   web.Facets
	Search   web.Search
	Warnings []string
	Rows     []row
	Total    int64
	Empty    *web.Empty
	Pager    web.Pager

	Release string // href of the page that asks; "": it is not offered
	Export  bool   // the form is offered
	Fields  map[string]string
}

// row is a suppression of the list.
type row struct {
	ID, Short, Href string
	Who, Class      string
	Scope           string
	State           web.Chip
	Hits            int
	Last            time.Time
	Ends            string
	Reply, Note     string
}

func path(id string, more ...string) string {
	return strings.Join(append([]string{"/suppressions", segment.Of(id)}, more...), "/")
}

func rowOf(s *store.Suppression) row {
	const short = 8
	return row{
		ID: s.ID, Short: s.ID[:min(short, len(s.ID))], Href: path(s.ID), Who: who(s), Class: className(s.Class), Scope: scopeText(s.Scope),
		State: chipOf(s.State), Hits: s.Hits, Last: s.Last, Ends: whileText(s), Reply: reply(s.Code, s.Enhanced, s.Diagnostic), Note: line(s.Note),
	}
}

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	q, err := readQuery(r.URL.Query(), g.cfg.Now())
	if err != nil {
		return web.View{}, err
	}
	page, err := g.cfg.Store.List(ctx, q.filter)
	if errors.Is(err, store.ErrID) {
		q.filter.Of, q.filter.Domain = "", q.text // a short domain
		page, err = g.cfg.Store.List(ctx, q.filter)
	}
	if err != nil {
		return web.View{}, plain(err)
	}
	if only := sole(page); q.filter.Of != "" && only != "" {
		return web.View{}, web.Redirect(path(only))
	}
	v := &listView{
		Head: web.Head{Title: "Suppressions", Lead: "Addresses that refuse or return mails. Mails to them are withheld."},
		Search: web.Search{
			Action: "/suppressions", Value: q.shownText(), Label: "Search in suppressions", Placeholder: "Whole address, domain, or beginning of an id",
			Keep: map[string]string{"state": keepState(q.state), "class": q.class, "source": q.source, "kind": q.kind, "since": q.since},
			Help: "An address is looked for by its keyed hash. It is not stored or logged here.",
		},
		Pager: pager(q, page),
	}
	for i := range page.Suppressions {
		v.Rows = append(v.Rows, rowOf(&page.Suppressions[i]))
	}
	if v.Total, err = g.count(ctx, v, q); err != nil {
		return web.View{}, plain(err)
	}
	if len(v.Rows) > 0 {
		v.Pager.Text = fmt.Sprintf("%d of %s", len(v.Rows), words.Count(v.Total, "suppression"))
	}
	g.offer(ctx, r, v, q)
	if len(v.Rows) == 0 {
		v.Empty = empty(q)
	}
	return web.View{Title: "Suppressions", Data: v}, nil
}

// sole returns the id that all suppressions of a page have, "" if there are several or none.
func sole(page store.Page) (id string) {
	for _, s := range page.Suppressions {
		if id != "" && s.ID != id {
			return ""
		}
		id = s.ID
	}
	return id
}

func keepState(state string) string {
	if state == string(store.Active) {
		return ""
	}
	return state
}

func pager(q *query, page store.Page) (p web.Pager) {
	if q.after != "" {
		p.First = q.with(func(*query) {}).href()
	}
	if page.Next != "" {
		next := *q
		next.after = page.Next
		p.Next = next.href()
	}
	return p
}

func empty(q *query) *web.Empty {
	if q.narrows() || q.state != string(store.Active) {
		text := "Look in all states, or leave out a condition."
		if q.filter.Of != "" {
			text = "Mails to this address are not withheld."
		}
		return &web.Empty{Title: "No suppression meets the conditions", Text: text, Href: "/suppressions", Link: "All in force"}
	}
	return &web.Empty{Title: "No address is suppressed", Text: "An address that refuses mails comes here with its evidence."}
}

// offer adds what the reader may do.
func (g *Group) offer(ctx context.Context, r *web.Request, v *listView, q *query) {
	if g.cfg.CheckKey != nil {
		if err := g.cfg.CheckKey(ctx); err != nil {
			v.Warnings = append(v.Warnings, sentence(err.Error()))
		}
	}
	if !r.May(web.RoleOperator) {
		return
	}
	v.Head.Links = []web.Link{{Text: "Add…", Href: "/suppressions/add"}, {Text: "Import…", Href: "/suppressions/import"}}
	if q.state == string(store.Active) && len(v.Rows) > 0 {
		values := q.with(func(*query) {}).values()
		v.Export, v.Fields = true, map[string]string{}
		for name := range values {
			v.Fields[name] = values.Get(name)
		}
		if q.narrows() {
			v.Release = href("/suppressions/release", values)
		}
	}
}

// count adds the facets, and returns how many suppressions the list has. Each number is that of
// the list behind it.
func (g *Group) count(ctx context.Context, v *listView, q *query) (total int64, err error) {
	states := web.FacetGroup{Title: "State"}
	var all int64
	for _, s := range stateNames {
		f := q.filter
		f.State = s.state
		n, _, err := g.cfg.Store.Count(ctx, f)
		if err != nil {
			return 0, err
		}
		all += n
		chosen := q.state == string(s.state)
		if chosen {
			total = n
		}
		states.Items = append(states.Items, web.Facet{
			Text: s.title, Href: q.with(func(c *query) { c.state = string(s.state) }).href(), Count: n, Tone: s.tone, Chosen: chosen,
		})
	}
	if q.state == allStates {
		total = all
	}
	states.Items = append(states.Items, web.Facet{
		Text: "All", Href: q.with(func(c *query) { c.state = allStates }).href(), Count: all, Tone: web.Calm, Chosen: q.state == allStates,
	})
	f := q.filter
	f.Classes = nil
	_, byClass, err := g.cfg.Store.Count(ctx, f)
	if err != nil {
		return 0, err
	}
	classes := web.FacetGroup{Title: "Class"}
	for _, c := range store.Classes() {
		if byClass[c] > 0 || q.class == string(c) {
			classes.Items = append(classes.Items, q.facet(className(c), string(c), byClass[c], q.class, func(q *query) *string { return &q.class }))
		}
	}
	sources, kinds := web.FacetGroup{Title: "Source"}, web.FacetGroup{Title: "Kind of mail"}
	for _, s := range []store.Source{store.FromReply, store.FromBounce, store.FromComplaint, store.FromOperator, store.FromImport} {
		sources.Items = append(sources.Items, q.facet(string(s), string(s), -1, q.source, func(q *query) *string { return &q.source }))
	}
	for _, m := range tasks.Mails() {
		kinds.Items = append(kinds.Items, q.facet(m.Kind(), m.Kind(), -1, q.kind, func(q *query) *string { return &q.kind }))
	}
	v.Facets = web.Facets{Label: "Parts of the list", Groups: []web.FacetGroup{states}}
	for _, group := range []web.FacetGroup{classes, sources, kinds} {
		if len(group.Items) > 0 {
			v.Facets.Groups = append(v.Facets.Groups, group)
		}
	}
	return total, nil
}

// facet returns a choice of a condition, which takes itself back when it is chosen.
func (q *query) facet(text, value string, n int64, now string, of func(*query) *string) web.Facet {
	chosen := now == value
	return web.Facet{Text: text, Count: n, Tone: web.Calm, Chosen: chosen, Href: q.with(func(c *query) {
		*of(c) = value
		if chosen {
			*of(c) = ""
		}
	}).href()}
}
