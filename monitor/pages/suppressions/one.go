package suppressions

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// oneView is the page of one address: its suppressions with their evidence.
type oneView struct {
	Head     web.Head
	Problem  string
	All      []suppressionView
	Evidence []evidenceRow
	Release  string // path of the action; "": it is not offered
	Reason   string
}

// suppressionView is one suppression of the address.
type suppressionView struct {
	Title string
	Chip  web.Chip
	Facts []web.Fact
}

// evidenceRow is a piece of evidence.
type evidenceRow struct {
	At            time.Time
	Class, Source string
	Tone          web.Tone
	Kind, Reply   string
	Task, Href    string
}

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	details, err := g.cfg.Store.Show(ctx, r.PathValue("id"))
	if err != nil {
		return web.View{}, plain(err)
	}
	if len(details) == 0 {
		return web.View{}, web.NotFound("No address with this id is suppressed, and there is no evidence of one that was.")
	}
	for _, d := range details[1:] {
		if d.ID != details[0].ID {
			return web.View{}, web.Redirect("/suppressions?state=all&q=" + url.QueryEscape(r.PathValue("id")))
		}
	}
	first := &details[0]
	v := &oneView{
		Head: web.Head{
			Title: who(&first.Suppression), Back: &web.Link{Text: "Suppressions", Href: "/suppressions"}, Chips: []web.Chip{chipOf(first.State)},
			Facts: []web.Fact{{Name: "Id", Value: first.ID, Mono: true, Copy: true}, {Name: "Domain", Value: line(first.Domain), Href: "/suppressions?q=" + url.QueryEscape("@"+first.Domain)}},
		},
		Problem: r.Problem,
	}
	if r.Problem != "" {
		v.Reason = r.PostFormValue("reason")
	}
	inForce := false
	for i := range details {
		d := &details[i]
		inForce = inForce || d.State == store.Active
		v.All = append(v.All, suppressionView{Title: strings.TrimSuffix(sentence(scopeText(d.Scope)), "."), Chip: chipOf(d.State), Facts: facts(&d.Suppression)})
	}
	if inForce && r.May(web.RoleOperator) {
		v.Release = path(first.ID, "release")
	}
	for _, e := range first.Evidence {
		tone := web.Bad
		if e.Class == store.Delivered {
			tone = web.Good
		}
		v.Evidence = append(v.Evidence, evidenceRow{
			At: e.At, Class: className(e.Class), Source: line(string(e.Source)), Tone: tone, Kind: line(e.Kind), Reply: reply(e.Code, e.Enhanced, e.Diagnostic),
			Task: line(e.TaskID), Href: "/deliveries?q=" + url.QueryEscape(e.TaskID),
		})
	}
	return web.View{Title: "Suppression of " + v.Head.Title, Data: v}, nil
}

// facts are what is known of a suppression.
func facts(s *store.Suppression) (all []web.Fact) {
	add := func(f web.Fact) {
		if f.Value != "" || !f.Time.IsZero() {
			all = append(all, f)
		}
	}
	add(web.Fact{Name: "Class", Value: className(s.Class)})
	add(web.Fact{Name: "Source", Value: line(string(s.Source))})
	add(web.Fact{Name: "Evidence", Value: fmt.Sprint(s.Hits)})
	add(web.Fact{Name: "First", Time: s.First})
	add(web.Fact{Name: "Last", Time: s.Last})
	if s.Ended == nil {
		add(web.Fact{Name: "Ends", Value: endText(s)})
	}
	add(web.Fact{Name: "Last reply", Value: reply(s.Code, s.Enhanced, s.Diagnostic)})
	add(web.Fact{Name: "By", Value: line(s.CreatedBy)})
	add(web.Fact{Name: "Note", Value: line(s.Note)})
	add(web.Fact{Name: "Released", Time: timeOf(s.Ended)})
	add(web.Fact{Name: "Released by", Value: line(s.EndedBy)})
	add(web.Fact{Name: "Because", Value: line(s.EndedNote)})
	return all
}
