// Package gallery has the pages of the mail templates: each mail with a sample, as light, dark and
// on a phone, its text, and what the checks say about it.
package gallery

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

//go:embed *.html
var files embed.FS

// Group serves the pages.
type Group struct {
	set *templates.Set
}

// New returns the pages. Without templates each says so.
func New(set *templates.Set) *Group { return &Group{set: set} }

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/templates", Menu: "Templates", Template: "gallery.list", Load: g.loadList})
	r.Page(web.Page{Pattern: "/templates/{kind}", Template: "gallery.one", Load: g.loadOne})
	r.Handle("GET /templates/{kind}/preview", web.RoleViewer, http.HandlerFunc(g.preview))
}

// sample is a way to fill a template.
type sample struct {
	name, title string
	mail        func(m tasks.MailTask, site string) (templates.Mail, error)
}

// samples are those of each mail; the first one is shown at first.
var samples = []sample{
	{"ordinary", "Ordinary", tasks.MailTask.SampleFor},
	{"least", "Required fields only", func(m tasks.MailTask, _ string) (templates.Mail, error) { return m.Least() }},
}

// look renders one sample of one mail.
func (g *Group) look(task tasks.MailTask, name string) (templates.Inspected, error) {
	for _, s := range samples {
		if s.name == name {
			m, err := s.mail(task, g.set.SiteURL())
			if err != nil {
				return templates.Inspected{}, err
			}
			return g.set.Inspect(m)
		}
	}
	return templates.Inspected{}, web.NotFound("There is no such sample.")
}

// taskOf returns the mail of a kind.
func taskOf(kind string) (tasks.MailTask, bool) {
	for _, m := range tasks.Mails() {
		if m.Kind() == kind {
			return m, true
		}
	}
	return tasks.MailTask{}, false
}

// here returns an error if there are no templates to look at.
func (g *Group) here() error {
	if g.set == nil {
		return web.Missing("No templates", "This monitor was started without them.")
	}
	return nil
}

// listView is the gallery.
type listView struct {
	Head  web.Head
	Cards []card
}

// card is one mail of the gallery.
type card struct {
	Title, Kind, About string
	Href, Preview      string
	Subject            string
	State              web.Chip
	Version, Size      string
	Optional, Urgent   bool
}

func path(kind string) string { return "/templates/" + url.PathEscape(kind) }

func previewPath(kind, sample string) string {
	return path(kind) + "/preview?sample=" + url.QueryEscape(sample)
}

func (g *Group) loadList(_ context.Context, _ *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	all := tasks.Mails()
	v := &listView{Head: web.Head{
		Title: "Templates", Lead: fmt.Sprintf("%s, with samples. A worker does not start if one of the checks fails.", words.Count(int64(len(all)), "mail")),
	}}
	for _, m := range all {
		i, err := g.look(m, samples[0].name)
		if err != nil {
			return web.View{}, fmt.Errorf("%s: %w", m.Name, err)
		}
		v.Cards = append(v.Cards, card{
			Title: m.Title, Kind: m.Kind(), About: m.About, Href: path(m.Kind()), Preview: previewPath(m.Kind(), samples[0].name), Subject: i.Subject,
			State: state(i.Checks), Version: templates.Version(templates.Kind(m.Kind())), Size: size(len(i.HTML)), Optional: m.Optional, Urgent: m.Urgent(),
		})
	}
	return web.View{Title: "Templates", Data: v}, nil
}

// state sums up checks.
func state(checks []templates.Check) web.Chip {
	n := 0
	for _, c := range checks {
		n += len(c.Faults)
	}
	if n > 0 {
		return web.Chip{Text: words.Count(int64(n), "fault"), Tone: web.Bad}
	}
	return web.Chip{Text: "all checks pass", Tone: web.Good}
}

func size(n int) string { return strconv.FormatFloat(float64(n)/1000, 'f', 1, 64) + " kB" }

// oneView is the page of one mail.
type oneView struct {
	Head      web.Head
	Samples   []web.Facet
	Subject   string
	Preheader string
	Preview   string
	Text      string
	Checks    []checkRow
	Fields    []fieldRow
	Files     []string
}

type checkRow struct {
	Name, Found string
	Chip        web.Chip
	Faults      []string
}

type fieldRow struct {
	Key, Label, Input, Sample string
	Use                       web.Chip
}

func (g *Group) loadOne(_ context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	kind := r.PathValue("kind")
	m, ok := taskOf(kind)
	if !ok {
		return web.View{}, web.NotFound("There is no such mail.")
	}
	chosen := r.URL.Query().Get("sample")
	if chosen == "" {
		chosen = samples[0].name
	}
	i, err := g.look(m, chosen)
	if err != nil {
		return web.View{}, err
	}
	v := &oneView{
		Head: web.Head{
			Title: m.Title, Back: &web.Link{Text: "Templates", Href: "/templates"}, Chips: []web.Chip{state(i.Checks)}, Lead: m.About,
			Facts: []web.Fact{
				{Name: "Kind", Value: kind, Mono: true}, {Name: "Task", Value: tasks.Module + "." + m.Name, Mono: true, Copy: true},
				{Name: "Version", Value: templates.Version(templates.Kind(kind)), Mono: true, Copy: true}, {Name: "Source", Value: "embedded in the program"},
				{Name: "Size", Value: size(len(i.HTML)) + " HTML, " + size(len(i.Text)) + " text"},
			},
		},
		Subject: i.Subject, Preheader: i.Preheader, Preview: previewPath(kind, chosen), Text: i.Text, Files: templates.Files(templates.Kind(kind)),
	}
	for _, s := range samples {
		v.Samples = append(v.Samples, web.Facet{Text: s.title, Href: path(kind) + "?sample=" + s.name, Chosen: s.name == chosen, Count: -1})
	}
	for _, c := range i.Checks {
		row := checkRow{Name: c.Name, Found: c.Found, Faults: c.Faults, Chip: web.Chip{Text: "ok", Tone: web.Good}}
		if len(c.Faults) > 0 {
			row.Chip = web.Chip{Text: "fault", Tone: web.Bad}
		}
		v.Checks = append(v.Checks, row)
	}
	for _, f := range m.Fields {
		use := web.Chip{Text: "optional", Tone: web.Calm}
		switch {
		case f.Required:
			use = web.Chip{Text: "required", Tone: web.Info}
		case f.Unused:
			use = web.Chip{Text: "not shown", Tone: web.Wait}
		}
		v.Fields = append(v.Fields, fieldRow{Key: f.Key, Label: f.Label, Input: inputName(f.Input), Sample: f.Sample, Use: use})
	}
	return web.View{Title: m.Title + " template", Data: v}, nil
}

func inputName(i tasks.Input) string {
	if i == tasks.Text {
		return "text"
	}
	return string(i)
}

// preview answers with the HTML of a sample. Its policy lets it load nothing and run nothing, also
// outside of a frame.
func (g *Group) preview(w http.ResponseWriter, r *http.Request) {
	m, ok := taskOf(r.PathValue("kind"))
	if !ok || g.set == nil {
		http.Error(w, "There is no such mail.", http.StatusNotFound)
		return
	}
	i, err := g.look(m, r.URL.Query().Get("sample"))
	if err != nil {
		http.Error(w, "There is no such sample.", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", web.UntrustedPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.Copy(w, strings.NewReader(i.HTML)) // the reader may leave
}
