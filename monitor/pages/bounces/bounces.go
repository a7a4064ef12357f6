// Package bounces has the pages of the messages that tell what became of accepted mails.
package bounces

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

//go:embed *.html
var files embed.FS

// Store has the bounces. [ledger.Bounces] is one.
type Store interface {
	List(ctx context.Context, f ledger.BounceFilter) (ledger.BouncePage, error)
	Show(ctx context.Context, prefix string) ([]ledger.Bounce, error)
}

// Group serves the pages.
type Group struct {
	store Store
	now   func() time.Time
}

// New returns the pages. Without a store each says so.
func New(s Store) *Group { return &Group{store: s, now: time.Now} }

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/bounces", Menu: "Bounces", Template: "bounces.list", Load: g.loadList})
	r.Page(web.Page{Pattern: "/bounces/{id}", Template: "bounces.one", Load: g.loadOne})
}

func (g *Group) here() error {
	if g.store == nil {
		return web.Missing("No bounces", "They are in the database of the history, and LEDGER_DATABASE_URL is off. Set it to the database of the workers.")
	}
	return nil
}

func plain(err error) error {
	if errors.Is(err, ledger.ErrNoHistory) {
		return web.Missing("No bounces yet", "The tables are not there. A worker makes them at its start.")
	}
	if access, ok := errors.AsType[*ledger.AccessError](err); ok {
		return web.Missing("The bounces cannot be read", words.Sentence(access.Error()))
	}
	return err
}

// kinds are what a message may be, with what follows for its mail.
var kinds = []struct {
	kind  ledger.BounceKind
	title string
	tone  web.Tone
}{
	{ledger.BounceFailed, "Failed", web.Bad}, {ledger.BounceDelayed, "Delayed", web.Wait}, {ledger.BounceComplaint, "Complaint", web.Bad},
	{ledger.BounceAutoReply, "Automatic reply", web.Calm}, {ledger.BounceUnrelated, "Unrelated", web.Calm}, {ledger.BounceDelivered, "Delivered", web.Good},
}

func chipOf(k ledger.BounceKind) web.Chip {
	for _, known := range kinds {
		if known.kind == k {
			return web.Chip{Text: strings.ToLower(known.title), Tone: known.tone}
		}
	}
	return web.Chip{Text: words.Maybe(string(k)), Tone: web.Calm}
}

// listView is the page of the list.
type listView struct {
	Head   web.Head
	Facets web.Facets
	Rows   []row
	Pager  web.Pager
	Empty  *web.Empty
}

// row is a bounce of the list.
type row struct {
	Href, Short   string
	Kind          web.Chip
	To, Class     string
	Reply         string
	Matched       web.Chip
	Task, TaskRef string
	At            time.Time
}

func rowOf(b *ledger.Bounce) row {
	const short = 8
	r := row{
		Href: "/bounces/" + segment.Of(b.ID), Short: b.ID[:min(short, len(b.ID))], Kind: chipOf(b.Kind), To: words.Maybe(b.Recipient()), Class: words.Maybe(b.Class),
		Reply: words.Maybe(b.Reply()), Matched: web.Chip{Text: "no mail", Tone: web.Wait}, Task: words.Maybe(b.TaskID), At: b.ReceivedAt,
	}
	if b.Mail != "" {
		r.Matched = web.Chip{Text: "matched", Tone: web.Good}
	}
	if b.TaskID != "" {
		r.TaskRef = "/deliveries?q=" + url.QueryEscape(b.TaskID)
	}
	return r
}

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	v := r.URL.Query()
	f := ledger.BounceFilter{Unmatched: v.Get("unmatched") != "", After: v.Get("after")}
	if kind := v.Get("kind"); kind != "" {
		f.Kinds = []ledger.BounceKind{ledger.BounceKind(kind)}
	}
	if since := v.Get("since"); since != "" {
		var err error
		if f.Since, err = moment.Parse(since, g.now()); err != nil {
			return web.View{}, web.Invalid("Since: " + err.Error() + ".")
		}
	}
	page, err := g.store.List(ctx, f)
	if errors.Is(err, ledger.ErrCursor) {
		return web.View{}, web.Invalid("The position in the list is not one that an earlier page gave. Open the list again.")
	}
	if err != nil {
		return web.View{}, plain(err)
	}
	view := &listView{
		Head:   web.Head{Title: "Bounces", Lead: "Messages that tell what became of mails after the relay had accepted them."},
		Facets: facets(v),
	}
	for i := range page.Bounces {
		view.Rows = append(view.Rows, rowOf(&page.Bounces[i]))
	}
	if f.After != "" {
		view.Pager.First = with(v, "after", "")
	}
	if page.Next != "" {
		view.Pager.Next = with(v, "after", page.Next)
	}
	if len(view.Rows) == 0 {
		view.Empty = &web.Empty{Title: "No bounces", Text: "docs/bounces.md tells how they reach the worker: BOUNCE_LISTEN, a pipe to bounces ingest, or WEBHOOK_ADDR."}
	}
	return web.View{Title: "Bounces", Data: view}, nil
}

// with returns the path of the list with another value of a condition, from its beginning.
func with(v url.Values, name, value string) string {
	c := url.Values{}
	for _, n := range []string{"kind", "unmatched", "since"} {
		if v.Get(n) != "" {
			c.Set(n, v.Get(n))
		}
	}
	c.Del(name)
	if value != "" {
		c.Set(name, value)
	}
	if len(c) == 0 {
		return "/bounces"
	}
	return "/bounces?" + c.Encode()
}

func facets(v url.Values) web.Facets {
	choice := func(text, name, value string, tone web.Tone) web.Facet {
		chosen := v.Get(name) == value
		if chosen && value != "" {
			return web.Facet{Text: text, Href: with(v, name, ""), Count: -1, Tone: tone, Chosen: true}
		}
		return web.Facet{Text: text, Href: with(v, name, value), Count: -1, Tone: tone, Chosen: chosen}
	}
	byKind := web.FacetGroup{Title: "Kind", Items: []web.Facet{choice("All", "kind", "", web.Calm)}}
	for _, k := range kinds {
		byKind.Items = append(byKind.Items, choice(k.title, "kind", string(k.kind), k.tone))
	}
	return web.Facets{Label: "Parts of the list", Groups: []web.FacetGroup{
		byKind, {Title: "Mail", Items: []web.Facet{choice("Of no known mail", "unmatched", "1", web.Wait)}},
		{Title: "Received", Items: []web.Facet{choice("Last hour", "since", "1h", web.Calm), choice("Last 24 hours", "since", "24h", web.Calm), choice("Last 7 days", "since", "7d", web.Calm)}},
	}}
}

// oneView is the page of one bounce.
type oneView struct{ Head web.Head }

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	found, err := g.store.Show(ctx, r.PathValue("id"))
	if err != nil {
		return web.View{}, plain(err)
	}
	if len(found) != 1 {
		return web.View{}, web.NotFound("There is no such bounce, or several begin with this id.")
	}
	b := &found[0]
	head := web.Head{Title: "Bounce", Back: &web.Link{Text: "Bounces", Href: "/bounces"}, Chips: []web.Chip{chipOf(b.Kind)}, Lead: words.Sentence(b.Matched())}
	if t := words.Maybe(b.Recipient()); t != "" {
		head.Title = "Bounce of " + t
	}
	add := func(f web.Fact) {
		if f.Value != "" || !f.Time.IsZero() {
			head.Facts = append(head.Facts, f)
		}
	}
	add(web.Fact{Name: "Id", Value: b.ID, Mono: true, Copy: true})
	add(web.Fact{Name: "Received", Time: b.ReceivedAt})
	add(web.Fact{Name: "By", Value: words.Maybe(b.Source) + fmt.Sprintf(", %d bytes", b.Size)})
	add(web.Fact{Name: "Class", Value: words.Maybe(b.Class)})
	if b.Mail != "" {
		add(web.Fact{Name: "Mail", Value: words.Maybe(b.MailKind)})
		add(web.Fact{Name: "Task", Value: words.Maybe(b.TaskID), Href: "/deliveries?q=" + url.QueryEscape(b.TaskID), Mono: true})
		proof := "no: it suppresses no address"
		if b.Proven {
			proof = "yes: it may suppress the address"
		}
		add(web.Fact{Name: "Proven", Value: proof})
	}
	if b.Forwarded {
		add(web.Fact{Name: "Forwarded", Value: "the report is about another address, to which mail is forwarded"})
	}
	add(web.Fact{Name: "Said", Value: words.Maybe(b.Reply())})
	add(web.Fact{Name: "Server", Value: words.Maybe(b.RemoteMTA)})
	add(web.Fact{Name: "Reported by", Value: words.Maybe(b.Reporting)})
	add(web.Fact{Name: "Reference", Value: words.Maybe(b.Reference), Mono: true})
	return web.View{Title: head.Title, Data: &oneView{head}}, nil
}
