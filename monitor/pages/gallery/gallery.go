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
	"slices"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
)

//go:embed *.html
var files embed.FS

// Group serves the pages.
type Group struct {
	templates *folder.Keeper
}

// New returns the pages. Without templates each says so.
func New(k *folder.Keeper) *Group { return &Group{templates: k} }

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

// look renders one sample of one mail in a language; "": the one that the data of the sample gets.
func look(set *templates.Set, task tasks.MailTask, name, locale string) (templates.Inspected, error) {
	if locale != "" && !slices.Contains(set.Locales(templates.Kind(task.Kind())), locale) {
		return templates.Inspected{}, web.NotFound("There are no templates in this language.")
	}
	for _, s := range samples {
		if s.name == name {
			m, err := s.mail(task, set.SiteURL())
			if err != nil {
				return templates.Inspected{}, err
			}
			return set.Inspect(templates.InLocale(m, locale))
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

// here returns the templates in use, or an error if there are none.
func (g *Group) here() (*templates.Set, error) {
	if g.templates == nil {
		return nil, web.Missing("No templates", "This monitor was started without them.")
	}
	set := g.templates.Set()
	if set == nil {
		return nil, web.Missing("Faulty templates", "No worker starts with the templates in TEMPLATES_DIR: "+g.templates.State().Faults.Short(5))
	}
	return set, nil
}

// listView is the gallery.
type listView struct {
	Head     web.Head
	Faults   []string // of TEMPLATES_DIR as it is now, which is not in use
	Warnings []string
	Cards    []card
}

// card is one mail of the gallery.
type card struct {
	Title, Kind, About string
	Href, Preview      string
	Subject            string
	State              web.Chip
	Version, Size      string
	Optional, Urgent   bool
	Own                bool
	Locales            string // "": English only
}

func path(kind string) string { return "/templates/" + segment.Of(kind) }

func previewPath(kind, sample, locale string) string {
	return path(kind) + "/preview?" + query(sample, locale)
}

func query(sample, locale string) string {
	q := url.Values{"sample": {sample}}
	if locale != "" {
		q.Set("locale", locale)
	}
	return q.Encode()
}

// isOwn reports whether a mail is made of a template of the operator.
func isOwn(files []templates.SetFile) bool {
	return slices.ContainsFunc(files, func(f templates.SetFile) bool { return f.Own })
}

// source tells where the templates of a mail are from.
func (g *Group) source(files []templates.SetFile) string {
	s := g.templates.State()
	own := 0
	for _, f := range files {
		if f.Own {
			own++
		}
	}
	if own == 0 {
		return "embedded in the program"
	}
	return fmt.Sprintf("%s of %s, version %s; the rest is embedded in the program", words.Count(int64(own), "file"), s.Dir, s.Version)
}

// faults returns what is wrong with the folder of the operator, and what is incomplete.
func (g *Group) faults() (faults, warnings []string) {
	s := g.templates.State()
	for _, f := range s.Faults {
		if !f.Warning {
			faults = append(faults, f.Error())
		}
	}
	for _, f := range s.Warnings {
		warnings = append(warnings, f.Error())
	}
	for _, name := range s.Skipped {
		warnings = append(warnings, name+" is no template by its name, and is not read")
	}
	return faults, warnings
}

func (g *Group) loadList(_ context.Context, _ *web.Request) (web.View, error) {
	set, err := g.here()
	if err != nil {
		return web.View{}, err
	}
	all := tasks.Mails()
	v := &listView{Head: web.Head{
		Title: "Templates", Lead: fmt.Sprintf("%s, with samples. A worker does not start if one of the checks fails.", words.Count(int64(len(all)), "mail")),
	}}
	v.Faults, v.Warnings = g.faults()
	for _, m := range all {
		i, err := look(set, m, samples[0].name, "")
		if err != nil {
			return web.View{}, fmt.Errorf("%s: %w", m.Name, err)
		}
		kind := templates.Kind(m.Kind())
		c := card{
			Title: m.Title, Kind: m.Kind(), About: m.About, Href: path(m.Kind()), Preview: previewPath(m.Kind(), samples[0].name, ""), Subject: i.Subject,
			State: state(i.Checks), Version: set.Version(kind), Size: size(len(i.HTML)), Optional: m.Optional, Urgent: m.Urgent(), Own: isOwn(set.Files(kind)),
		}
		if locales := set.Locales(kind); len(locales) > 1 {
			c.Locales = strings.Join(locales, ", ")
		}
		v.Cards = append(v.Cards, c)
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
	Locales   []web.Facet // none: there is one language
	Lang      string      // of the text
	Subject   string
	Preheader string
	Preview   string
	Text      string
	Checks    []checkRow
	Fields    []fieldRow
	Files     []templates.SetFile
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
	set, err := g.here()
	if err != nil {
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
	locale := r.URL.Query().Get("locale")
	i, err := look(set, m, chosen, locale)
	if err != nil {
		return web.View{}, err
	}
	files := set.Files(templates.Kind(kind))
	v := &oneView{
		Head: web.Head{
			Title: m.Title, Back: &web.Link{Text: "Templates", Href: "/templates"}, Chips: []web.Chip{state(i.Checks)}, Lead: m.About,
			Facts: []web.Fact{
				{Name: "Kind", Value: kind, Mono: true}, {Name: "Task", Value: tasks.Module + "." + m.Name, Mono: true, Copy: true},
				{Name: "Version", Value: set.Version(templates.Kind(kind)), Mono: true, Copy: true}, {Name: "Source", Value: g.source(files)},
				{Name: "Size", Value: size(len(i.HTML)) + " HTML, " + size(len(i.Text)) + " text"},
			},
		},
		Subject: i.Subject, Preheader: i.Preheader, Preview: previewPath(kind, chosen, locale), Text: i.Text, Files: files, Lang: i.Locale,
	}
	for _, s := range samples {
		v.Samples = append(v.Samples, web.Facet{Text: s.title, Href: path(kind) + "?" + query(s.name, locale), Chosen: s.name == chosen, Count: -1})
	}
	if all := set.Locales(templates.Kind(kind)); len(all) > 1 {
		for _, l := range all {
			v.Locales = append(v.Locales, web.Facet{Text: l, Href: path(kind) + "?" + query(chosen, l), Chosen: l == i.Locale, Count: -1})
		}
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
	set, err := g.here()
	if !ok || err != nil {
		http.Error(w, "There is no such mail.", http.StatusNotFound)
		return
	}
	i, err := look(set, m, r.URL.Query().Get("sample"), r.URL.Query().Get("locale"))
	if err != nil {
		http.Error(w, "There is no such sample.", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", web.UntrustedPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.Copy(w, strings.NewReader(i.HTML)) // the reader may leave
}
