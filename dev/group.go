package dev

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"github.com/evently/workers/monitor/web"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pagesGroup has the pages of the monitor that only the development mode has: the caught mails,
// and the switches of faults.
type pagesGroup struct {
	inbox     *Inbox
	chaos     *chaos
	addresses Addresses
}

// Templates implements [web.Group].
func (g *pagesGroup) Templates() fs.FS {
	files, err := fs.Sub(pageFiles, "pages")
	if err != nil {
		return pageFiles // the site reports that its templates are missing
	}
	return files
}

// Register implements [web.Group].
func (g *pagesGroup) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/inbox", Menu: "Inbox", Template: "dev.inbox", Load: g.loadInbox, Badge: func() int { return len(g.inbox.all()) }})
	r.Page(web.Page{Pattern: "/inbox/{mail}", Template: "dev.mail", Load: g.loadMail})
	r.Handle("GET /inbox/{mail}/html", web.RoleViewer, http.HandlerFunc(g.mailHTML))
	r.Page(web.Page{Pattern: "/chaos", Menu: "Chaos", Template: "dev.chaos", Load: g.loadChaos, Badge: g.broken})
	r.Action(web.Action{Pattern: "/chaos", Page: "/chaos", Do: g.breakIt})
}

// inboxPage lists the caught mails.
type inboxPage struct {
	Head  web.Head
	Mails []*Mail
	Empty web.Empty
}

func (g *pagesGroup) loadInbox(context.Context, *web.Request) (web.View, error) {
	const most = 200
	all := g.inbox.all()
	return web.View{Title: "Inbox", Data: inboxPage{
		Head: web.Head{
			Title: "Inbox", Lead: "Every mail that the worker has sent. None has left this machine.",
			Links: []web.Link{{Text: "Chaos", Href: "/chaos", Icon: "warn"}},
		},
		Mails: all[:min(most, len(all))],
		Empty: web.Empty{Title: "No mail yet", Text: "Send a task, and its mail appears here.", Href: g.addresses.Page + "/send", Link: "Send a task"},
	}}, nil
}

// mailPage shows a caught mail.
type mailPage struct {
	Head web.Head
	Mail *Mail
	HTML string // path; "": it has none
	Raw  string
}

func (g *pagesGroup) find(text string) *Mail {
	id, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	return g.inbox.get(id)
}

func (g *pagesGroup) loadMail(_ context.Context, r *web.Request) (web.View, error) {
	m := g.find(r.PathValue("mail"))
	if m == nil {
		return web.View{}, web.NotFound("This mail is gone. It made room for newer ones.")
	}
	p := mailPage{Mail: m, Raw: source(m), Head: web.Head{
		Title: m.Subject, Back: &web.Link{Text: "Inbox", Href: "/inbox"},
		Facts: []web.Fact{
			{Name: "From", Value: m.From}, {Name: "To", Value: m.To}, {Name: "Caught", Time: m.Received},
			{Name: "Envelope", Value: m.EnvelopeFrom + " → " + strings.Join(m.EnvelopeTo, ", ")}, {Name: "Message-ID", Value: m.MessageID, Mono: true, Copy: true},
		},
	}}
	if m.HTML != "" {
		p.HTML = "/inbox/" + strconv.Itoa(m.ID) + "/html"
	}
	return web.View{Title: m.Subject, Data: p}, nil
}

func (g *pagesGroup) mailHTML(w http.ResponseWriter, r *http.Request) {
	m := g.find(r.PathValue("mail"))
	if m == nil || m.HTML == "" {
		http.Error(w, "There is no such mail.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Security-Policy", mailPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(m.HTML)) // a reader that left is no fault
}

// chaosPage has the switches.
type chaosPage struct {
	Head    web.Head
	Problem string
	State   ChaosState
	Words   string // of the fault
	Faults  []faultWords
	Links   []web.Link
}

// broken counts what is switched off.
func (g *pagesGroup) broken() (n int) {
	s := g.chaos.State()
	for _, is := range []bool{s.Fault != NoFault, s.RedisAway, s.DatabaseAway} {
		if is {
			n++
		}
	}
	return n
}

func (g *pagesGroup) loadChaos(_ context.Context, r *web.Request) (web.View, error) {
	p := chaosPage{
		Head: web.Head{
			Title: "Chaos", Lead: "Break a part, send mails, and watch what the worker does.",
		},
		Problem: r.Problem, State: g.chaos.State(), Faults: faults,
		Links: []web.Link{
			{Text: "Send a task", Href: g.addresses.Page + "/send"}, {Text: "Overview", Href: "/"}, {Text: "Tasks", Href: "/tasks"},
			{Text: "Scheduled", Href: "/scheduled"}, {Text: "Dead letters", Href: "/dead-letters"},
		},
	}
	for _, f := range faults {
		if f.Fault == p.State.Fault {
			p.Words = f.Title + ": " + f.Text
		}
	}
	return web.View{Title: "Chaos", Data: p}, nil
}

// breakIt sets one switch.
func (g *pagesGroup) breakIt(_ context.Context, r *web.Request) (web.Done, error) {
	done := web.Done{Location: "/chaos"}
	away := r.FormValue("away") == "yes"
	verb := "works again"
	if away {
		verb = "is switched off"
	}
	switch r.FormValue("part") {
	case "mail":
		if err := g.chaos.setFault(Fault(r.FormValue("fault"))); err != nil {
			return done, web.Invalid("Choose one of the faults.")
		}
		done.Notice = "The mail server has changed."
	case "redis":
		if err := g.chaos.setRedis(away); err != nil {
			return done, web.Invalid("Redis could not be switched: " + err.Error())
		}
		done.Notice = "Redis " + verb + "."
	case "database":
		g.chaos.setDatabase(away)
		done.Notice = "The database of users " + verb + "."
	default:
		return done, web.Invalid("Choose a part.")
	}
	return done, nil
}
