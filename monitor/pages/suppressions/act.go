package suppressions

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// mask writes an address or an id for people and for the audit trail.
func mask(of string) string {
	if strings.Contains(of, "@") {
		return mail.MaskAddress(of)
	}
	return line(of)
}

// masked returns the subject of the form that adds an address.
func masked(r *web.Request) []string { return []string{mask(r.PostFormValue("address"))} }

// reason returns the reason of a form, which is required.
func reason(r *web.Request) (string, error) {
	const most = 500
	text := strings.TrimSpace(r.PostFormValue("reason"))
	switch {
	case text == "":
		return "", web.Invalid("Say why, such as: asked by phone. The reason is kept with the suppression.")
	case len(text) > most || !utf8.ValidString(text):
		return "", web.Invalid(fmt.Sprintf("The reason must be text of %d bytes or less.", most))
	}
	return text, nil
}

// addView is the page with the form of a new suppression.
type addView struct {
	Head                          web.Head
	Problem                       string
	Address, Scope, Until, Reason string
}

func (g *Group) loadAdd(_ context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	v := &addView{
		Head:    web.Head{Title: "Suppress an address", Back: &web.Link{Text: "Suppressions", Href: "/suppressions"}, Lead: "Mails to the address are not sent from now on, codes included. A suppression that is in force is replaced."},
		Problem: r.Problem, Scope: string(store.AllMails),
	}
	if r.Problem != "" {
		v.Address, v.Scope, v.Until, v.Reason = r.PostFormValue("address"), r.PostFormValue("scope"), r.PostFormValue("until"), r.PostFormValue("reason")
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

func (g *Group) doAdd(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	why, err := reason(r)
	if err != nil {
		return web.Done{}, err
	}
	a := store.Addition{Address: strings.TrimSpace(r.PostFormValue("address")), By: r.Actor.Name, Note: why}
	if err := store.CheckAddress(a.Address); err != nil {
		return web.Done{}, web.Invalid("Address: " + err.Error() + ".")
	}
	if err := a.Scope.UnmarshalText([]byte(r.PostFormValue("scope"))); err != nil {
		return web.Done{}, web.Invalid(sentence(err.Error()))
	}
	if until := strings.TrimSpace(r.PostFormValue("until")); until != "" {
		if a.Expires, err = moment.End(until, g.cfg.Now()); err != nil {
			return web.Done{}, web.Invalid("Until: " + err.Error() + ".")
		}
	}
	if g.cfg.CheckKey != nil {
		if err := g.cfg.CheckKey(ctx); err != nil {
			return web.Done{}, web.Invalid(sentence(err.Error()) + " Nothing was added: the workers would not find the address.")
		}
	}
	added, replaced, err := g.cfg.Store.Add(ctx, a)
	if err != nil {
		return web.Done{}, plain(err)
	}
	notice := "The address is suppressed."
	if replaced {
		notice = "The address is suppressed, in place of an earlier suppression."
	}
	return web.Done{
		Location: path(added.ID), Notice: notice, Subjects: []string{mask(a.Address), added.ID},
		Details: map[string]string{"reason": mail.MaskAddresses(why), "scope": string(a.Scope), "replaced": strconv.FormatBool(replaced)},
	}, nil
}

// releaseView asks before suppressions are released.
type releaseView struct {
	Head    web.Head
	Problem string
	Facts   []web.Fact
	Count   int64
	Classes []web.Fact
	Fields  map[string]string
	Reason  string
	Word    string
	Cancel  string
	Empty   *web.Empty
}

func (g *Group) loadRelease(ctx context.Context, r *web.Request) (web.View, error) {
	q, n, byClass, err := g.chosen(ctx, r)
	if err != nil {
		return web.View{}, err
	}
	v := &releaseView{
		Problem: r.Problem, Count: n, Facts: q.conditions(), Fields: map[string]string{}, Cancel: q.href(), Word: fmt.Sprintf("release %d", n),
		Head: web.Head{Title: "Release " + words.Count(n, "suppression"), Back: &web.Link{Text: "Suppressions", Href: q.href()}},
	}
	for name, values := range q.values() {
		v.Fields[name] = values[0]
	}
	for _, c := range store.Classes() {
		if byClass[c] > 0 {
			v.Classes = append(v.Classes, web.Fact{Name: className(c), Value: fmt.Sprint(byClass[c])})
		}
	}
	if r.Problem != "" {
		v.Reason = r.PostFormValue("reason")
	}
	if n == 0 {
		v.Empty = &web.Empty{Title: "No suppression in force meets the conditions", Href: q.href(), Link: "Back to the list"}
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

// chosen returns the conditions of a release, and how many suppressions meet them.
func (g *Group) chosen(ctx context.Context, r *web.Request) (q *query, n int64, byClass map[store.Class]int64, err error) {
	if err := g.here(); err != nil {
		return nil, 0, nil, err
	}
	values := r.URL.Query()
	if r.Method == "POST" {
		values = r.PostForm
	}
	if q, err = readQuery(values, g.cfg.Now()); err != nil {
		return nil, 0, nil, err
	}
	q.state, q.after, q.filter.State, q.filter.After = string(store.Active), "", store.Active, ""
	if !q.narrows() {
		return nil, 0, nil, web.Invalid("Choose a class, a domain, a source or a time first: all suppressions are not released at once.")
	}
	n, byClass, err = g.cfg.Store.Count(ctx, q.filter)
	return q, n, byClass, plain(err)
}

func (g *Group) doRelease(ctx context.Context, r *web.Request) (web.Done, error) {
	q, n, _, err := g.chosen(ctx, r)
	if err != nil {
		return web.Done{}, err
	}
	why, err := reason(r)
	if err != nil {
		return web.Done{}, err
	}
	typed, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(r.PostFormValue("word"))), "release ")
	if shown, err := strconv.ParseInt(strings.TrimSpace(typed), 10, 64); !ok || err != nil || shown < n {
		return web.Done{}, web.Invalid(fmt.Sprintf("Type release %d to confirm: so many meet the conditions now. Nothing was released.", n))
	}
	released, err := g.cfg.Store.Release(ctx, q.filter, r.Actor.Name, why)
	if err != nil {
		return web.Done{}, plain(err)
	}
	details := map[string]string{"reason": mail.MaskAddresses(why), "released": strconv.FormatInt(released, 10)}
	for name, value := range q.filter.Details() {
		details[name] = strings.Trim(fmt.Sprint(value), "[]")
	}
	return web.Done{Location: q.href(), Notice: "Released: " + words.Count(released, "suppression") + ".", Details: details}, nil
}

func (g *Group) doReleaseOne(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	id := r.PathValue("id")
	const whole = 32
	if len(id) != whole {
		return web.Done{}, web.Invalid("The id is not whole: open the suppression from the list.")
	}
	why, err := reason(r)
	if err != nil {
		return web.Done{}, err
	}
	released, err := g.cfg.Store.Release(ctx, store.Filter{Of: id}, r.Actor.Name, why)
	if err != nil {
		return web.Done{}, plain(err)
	}
	if released == 0 {
		return web.Done{}, web.Invalid("The address is not suppressed any more. Nothing was released.")
	}
	return web.Done{
		Location: path(id), Notice: "Released. Mails to the address are sent again.", Subjects: []string{id},
		Details: map[string]string{"reason": mail.MaskAddresses(why), "released": strconv.FormatInt(released, 10)},
	}, nil
}

// exportName is the name of an exported file.
func exportName(now time.Time) string {
	return "suppressions-" + now.UTC().Format("20060102-150405") + ".csv"
}

func exportPath(ticket string) string { return "/suppressions/export/" + segment.Of(ticket) }
