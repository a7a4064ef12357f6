package system

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/incident"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
)

// incidentPage makes bundles, and opens them.
type incidentPage struct {
	Head    web.Head
	Problem string
	Hours   []choice
	Opened  []shelved
	May     bool
}

// choice is a time that a bundle may be of.
type choice struct{ Value, Text string }

func (g *Group) loadIncident(_ context.Context, r *web.Request) (web.View, error) {
	return web.View{Title: "Incident", Data: incidentPage{
		Head: web.Head{
			Title: "Incident bundle",
			Lead:  "A zip with what is known: the summary, health and its history, readings of the queues, tasks, mails, configuration and versions. It has no secret, no code and no address in it.",
		},
		Problem: r.Problem, Opened: g.opened.list(), May: r.May(web.RoleOperator),
		Hours: []choice{{"1", "the last hour"}, {"3", "the last 3 hours"}, {"12", "the last 12 hours"}, {"24", "the last day"}, {"168", "the last week"}},
	}}, nil
}

// makeWithin bounds the making of a bundle.
const makeWithin = 30 * time.Second

// download makes a bundle.
func (g *Group) download(w http.ResponseWriter, r *http.Request) {
	hours, err := strconv.Atoi(cmp.Or(r.FormValue("hours"), "1"))
	if err != nil || hours < 1 || hours > 24*31 {
		http.Error(w, "hours is a whole number from 1 to 744", http.StatusBadRequest)
		return
	}
	select {
	case g.working <- struct{}{}:
		defer func() { <-g.working }()
	case <-r.Context().Done():
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), makeWithin)
	defer cancel()
	now := g.cfg.Now()
	b := g.cfg.Incident.Collect(ctx, now.Add(-time.Duration(hours)*time.Hour), now, nil)
	var zip bytes.Buffer
	if err := b.Write(&zip, g.cfg.Incident.Secrets(), b.Nodes()); err != nil {
		http.Error(w, "The bundle could not be made.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="incident-`+now.UTC().Format("20060102-150405")+`.zip"`)
	h.Set("Content-Length", strconv.Itoa(zip.Len()))
	_, _ = w.Write(zip.Bytes()) // a reader that left is no fault
}

// open opens a bundle that was sent.
func (g *Group) open(_ context.Context, r *web.Request) (web.Done, error) {
	file, head, err := r.FormFile("bundle")
	if err != nil {
		return web.Done{}, web.Invalid("Choose the file of a bundle.")
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, incident.MostSize+1))
	if err != nil {
		return web.Done{}, web.Invalid("The file could not be read.")
	}
	b, err := incident.Read(bytes.NewReader(raw), int64(len(raw)))
	if errors.Is(err, incident.ErrNoBundle) {
		return web.Done{}, web.Invalid("Not opened: " + err.Error() + ".")
	}
	if err != nil {
		return web.Done{}, err
	}
	return web.Done{Location: "/incident/" + g.opened.put(head.Filename, b, g.cfg.Now())}, nil
}

// shelf keeps the last bundles that were opened, in memory.
type shelf struct {
	mu  sync.Mutex
	all []shelved
}

// shelved is an opened bundle.
type shelved struct {
	ID, Name string
	At       time.Time
	bundle   *incident.Bundle
}

// mostOpened is the number of bundles that stay open.
const mostOpened = 3

func (s *shelf) put(name string, b *incident.Bundle, now time.Time) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 100
	if runes := []rune(name); len(runes) > most {
		name = string(runes[:most])
	}
	one := shelved{ID: rand.Text(), Name: name, At: now, bundle: b}
	s.all = append([]shelved{one}, s.all[:min(mostOpened-1, len(s.all))]...)
	return one.ID
}

func (s *shelf) list() []shelved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// bundlePage shows an opened bundle. Its texts are foreign.
type bundlePage struct {
	Head     web.Head
	Notes    []hint
	Findings []hint
	Tiles    []web.Tile
	Depths   []web.Chart
	Quiet    string // names the queues without a chart
	Timeline web.Timeline
	Cut      bool
	Mails    []mailRow
	More     int // mails that are not shown
	Health   health
	Settings []incident.Setting
	Stacks   string
}

type mailRow struct {
	At             time.Time
	Kind, To, Task string
	State          web.Chip
	Reason         string
}

func (g *Group) loadBundle(_ context.Context, r *web.Request) (web.View, error) {
	for _, one := range g.opened.list() {
		if one.ID == r.PathValue("id") {
			return web.View{Title: "Incident", Data: bundleOf(one)}, nil
		}
	}
	return web.View{}, web.NotFound("This bundle is not open any more. Open its file again.")
}

// Bounds of what the page of a bundle shows.
const (
	shownMoments = 300
	shownMails   = 100
	shownQueues  = 6
)

func bundleOf(one shelved) bundlePage {
	b := one.bundle
	m := b.Manifest
	p := bundlePage{Head: web.Head{
		Title: one.Name, Back: &web.Link{Text: "Incident bundle", Href: "/incident"}, Chips: []web.Chip{{Text: "a copy, nothing here is live", Tone: web.Info}},
		Facts: []web.Fact{
			{Name: "Made", Value: words.Clock(m.Created) + " on " + m.Host}, {Name: "By", Value: m.Program},
			{Name: "From", Value: words.Clock(m.Since)}, {Name: "Until", Value: words.Clock(m.Until)},
		},
	}}
	for _, f := range b.Faults {
		p.Notes = append(p.Notes, hint{f + ".", web.Bad})
	}
	for _, f := range m.Missing {
		p.Notes = append(p.Notes, hint{"Missing: " + f + ".", web.Wait})
	}
	for _, f := range b.Summary.Findings {
		tone := web.Wait
		if f.Level == attention.Urgent {
			tone = web.Bad
		}
		p.Findings = append(p.Findings, hint{strings.TrimSpace(f.Text + " " + f.Advice), tone})
	}
	p.Tiles = []web.Tile{
		{Label: "Mails", Value: strconv.Itoa(len(b.Mails))}, {Label: "Tasks", Value: strconv.Itoa(len(b.Tasks))},
		{Label: "Changes of health", Value: strconv.Itoa(len(b.Health.Changes))}, {Label: "Workers", Value: strconv.Itoa(len(b.Summary.Workers))},
		{Label: "Dead letters", Value: ifKnown(b.Summary.Letters.Known, b.Summary.Letters.Open)},
		{Label: "Waiting in queues", Value: ifKnown(b.Summary.Queues.Known, b.Summary.Queues.Messages)},
	}
	p.Depths, p.Quiet = depths(b)
	all := b.Timeline()
	p.Cut = len(all) > shownMoments
	for _, one := range all[max(0, len(all)-shownMoments):] {
		tone := web.Good
		if one.Bad {
			tone = web.Bad
		}
		p.Timeline = append(p.Timeline, web.Event{Time: one.At, Title: one.What, Text: one.Text, Tone: tone})
	}
	for _, m := range b.Mails[:min(shownMails, len(b.Mails))] {
		p.Mails = append(p.Mails, mailRow{At: m.StateAt, Kind: m.Kind, To: m.To, Task: m.TaskID, Reason: m.Reason, State: web.Chip{Text: m.State.String(), Tone: web.Calm}})
	}
	p.More = len(b.Mails) - len(p.Mails)
	p.Settings, p.Stacks = b.Configuration, b.Goroutines
	return p
}

// ifKnown returns a number, and a dash if it is not known.
func ifKnown(known bool, n int) string {
	if !known {
		return "–"
	}
	return strconv.Itoa(n)
}

// depths draws the queues in which messages waited, and names the other ones.
func depths(b *incident.Bundle) (all []web.Chart, quiet string) {
	var names, empty []string
	for name, samples := range b.Queues {
		if slices.ContainsFunc(samples, func(s watch.Sample) bool { return s.Messages > 0 }) {
			names = append(names, name)
		} else {
			empty = append(empty, name)
		}
	}
	sort.Strings(names)
	sort.Strings(empty)
	if len(empty) > 0 {
		quiet = "No message waited at the readings of: " + strings.Join(empty[:min(shownQueues, len(empty))], ", ")
		if more := len(empty) - shownQueues; more > 0 {
			quiet += fmt.Sprintf(" and %d more", more)
		}
		quiet += "."
	}
	for i, name := range names[:min(shownQueues, len(names))] {
		c := web.Chart{ID: fmt.Sprintf("queue-%d", i), Title: name, Unit: "messages"}
		values := []float64{}
		last := int64(0)
		for _, s := range b.Queues[name] {
			if at := s.At.Unix(); at > last { // rising, also when the file has another order
				last = at
				c.Times, values = append(c.Times, at), append(values, float64(s.Messages))
			}
		}
		c.Series = []web.Series{{Label: "waiting", Tone: web.Info, Values: values}}
		all = append(all, c)
	}
	return all, quiet
}
