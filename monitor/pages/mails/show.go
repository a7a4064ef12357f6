package mails

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// showView is the view of one delivery.
type showView struct {
	Head     web.Head
	Verdict  string
	Tone     web.Tone
	Timeline web.Timeline
	Others   []row // of the same task
	Tabs     []tab
	Tab      string
	Looks    []tab
	Preview  *previewView
}

// tab is a link to a part of the page.
type tab struct {
	Text, Href string
	Chosen     bool
}

var (
	tabs  = []string{"preview", "text", "headers", "parts"}
	looks = []string{"light", "dark", "phone"}
)

var tabNames = map[string]string{"preview": "Preview", "text": "Text", "headers": "Headers", "parts": "MIME tree", "light": "Light", "dark": "Dark", "phone": "Phone"}

// find returns the mails of the task in the path, and the one that the query names, or the
// newest.
func (g *Group) find(ctx context.Context, r *http.Request) (all []ledger.History, chosen ledger.History, err error) {
	h, err := g.history()
	if err != nil {
		return nil, chosen, err
	}
	id := r.PathValue("task")
	if all, err = h.Show(ctx, id); err != nil {
		return nil, chosen, life.Fault(err)
	}
	if len(all) == 0 {
		return nil, chosen, web.NotFound("The history has no mail of the task " + words.Line(id) + ". It may be older than LEDGER_RETENTION, or still wait in its queue.")
	}
	i := slices.IndexFunc(all, func(h ledger.History) bool { return h.Mail.Mail == r.URL.Query().Get("mail") })
	return all, all[max(i, 0)], nil
}

// show loads the page of one delivery.
func (g *Group) show(ctx context.Context, r *web.Request) (web.View, error) {
	all, h, err := g.find(ctx, r.Request)
	if err != nil {
		return web.View{}, err
	}
	query := r.URL.Query()
	maySee := g.cfg.Unmask && h.Address != "" && r.May(web.RoleOperator)
	h.Address = ""
	v := showView{
		Head: web.Head{
			Title: verdict.KindText(h.Kind) + " mail to " + verdict.Recipient(h.Mail), Back: &web.Link{Text: "Deliveries", Href: "/deliveries"}, Chips: []web.Chip{life.Chip(h.State)},
			Facts: g.facts(h), Links: []web.Link{{Text: "Task", Href: taskPath("tasks", h.TaskID), Icon: "tasks"}},
		},
		Tab: oneOf(tabs, query.Get("tab")), Timeline: life.Timeline(h), Tone: life.Tone(h.State),
	}
	_, v.Verdict = verdict.Judge(h, g.cfg.Now())
	if maySee {
		v.Head.Forms = []web.Button{{Text: "Show the address", Action: taskPath("deliveries", h.TaskID) + "/unmask", Fields: map[string]string{"mail": h.Mail.Mail}}}
	}
	for _, other := range all {
		if other.Mail.Mail != h.Mail.Mail || !other.FirstSeen.Equal(h.FirstSeen) {
			other.Address = ""
			v.Others = append(v.Others, rowOf(other.Mail))
		}
	}
	look := oneOf(looks, query.Get("look"))
	link := func(tab, look string) string {
		return taskPath("deliveries", h.TaskID) + "?" + url.Values{"mail": {h.Mail.Mail}, "tab": {tab}, "look": {look}}.Encode() + "#mail"
	}
	for _, t := range tabs {
		v.Tabs = append(v.Tabs, tab{Text: tabNames[t], Href: link(t, look), Chosen: t == v.Tab})
	}
	for _, l := range looks {
		v.Looks = append(v.Looks, tab{Text: tabNames[l], Href: link("preview", l), Chosen: l == look})
	}
	if g.cfg.Preview != nil {
		p, err := g.cfg.Preview.Make(ctx, h)
		v.Preview = previewOf(h, p, err, look)
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

// oneOf returns value if it is one of the known ones, and the first of these otherwise.
func oneOf(known []string, value string) string {
	if slices.Contains(known, value) {
		return value
	}
	return known[0]
}

func previewQuery(h ledger.History, look string) string {
	return url.Values{"mail": {h.Mail.Mail}, "look": {look}}.Encode()
}

// servePreview serves the HTML of a mail that was made again.
func (g *Group) servePreview(w http.ResponseWriter, r *http.Request) {
	_, h, err := g.find(r.Context(), r)
	var p preview.Preview
	if err == nil && g.cfg.Preview != nil {
		h.Address = ""
		p, err = g.cfg.Preview.Make(r.Context(), h)
	}
	if err != nil || p.HTML == "" {
		http.Error(w, "The mail cannot be made again; its page says why.", http.StatusNotFound)
		return
	}
	body := []byte(preview.Scheme(p.HTML, oneOf(looks, r.URL.Query().Get("look")) == "dark"))
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", web.UntrustedPolicy)
	header.Set("X-Frame-Options", "SAMEORIGIN")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if _, err := io.Copy(w, bytes.NewReader(body)); err != nil {
		slog.DebugContext(r.Context(), "preview not sent", "error", err)
	}
}

// unmask shows the whole address of a mail to an operator.
func (g *Group) unmask(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := r.ParseForm(); err != nil {
		return web.Done{}, web.Invalid("The form cannot be read.")
	}
	query := r.Request.Clone(ctx)
	query.URL.RawQuery = url.Values{"mail": {r.PostForm.Get("mail")}}.Encode()
	query.SetPathValue("task", r.PathValue("task"))
	_, h, err := g.find(ctx, query)
	if err != nil {
		return web.Done{}, err
	}
	if !g.cfg.Unmask || h.Address == "" {
		return web.Done{}, web.Missing("The address cannot be shown", "The history has its masked form only: LEDGER_KEY was not set when the mail was sent, or it is not set here, or it is another one.")
	}
	return web.Done{
		Location: mailPath(h.Mail), Notice: "The mail is to " + words.Line(h.Address), Tone: web.Info,
		Subjects: []string{"task:" + h.TaskID}, Details: map[string]string{"masked": h.To},
	}, nil
}
