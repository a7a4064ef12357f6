package workers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/web"
)

// listView is the page of all workers.
type listView struct {
	Head   web.Head
	Fault  string
	Tiles  []web.Tile
	Facets web.Facets
	Rows   []row
	Empty  web.Empty
	Chosen string
}

// row is a worker in the list.
type row struct {
	Node, Href string
	Kind       string // "Go", "Python" or ""
	State      web.Chip
	Trouble    string // parts of its health that are not well
	Heartbeat  time.Time
	Active     string
	Processed  int64
	Known      bool // Processed is
	Version    string
	Drift      string // of its clock, "" when it is not known
	DriftTone  web.Tone
	Queues     []string
	Uptime     time.Duration
}

// state returns the state of a worker as a chip.
func state(w worker) web.Chip {
	switch {
	case w.answered && w.told.State == "stopping":
		return web.Chip{Text: "stopping", Tone: web.Wait}
	case w.drained != nil && w.told.Active > 0:
		return web.Chip{Text: "draining", Tone: web.Wait}
	case w.drained != nil:
		return web.Chip{Text: "drained", Tone: web.Wait}
	case w.answered && len(w.queues) == 0:
		return web.Chip{Text: "no queue", Tone: web.Wait}
	case w.answered && w.status == monitor.StatusDegraded:
		return web.Chip{Text: w.status, Tone: web.Wait}
	case w.answered && w.status != "": // or a word that strangers have written
		return web.Chip{Text: monitor.StatusUnhealthy, Tone: web.Bad}
	case w.answered:
		return web.Chip{Text: "online", Tone: web.Good}
	case w.event.Left:
		return web.Chip{Text: "stopped", Tone: web.Calm}
	case w.unasked: // its silence says nothing
		return web.Chip{Text: "not known", Tone: web.Wait}
	case w.event.Online:
		return web.Chip{Text: "no answer", Tone: web.Wait}
	}
	return web.Chip{Text: "lost", Tone: web.Bad}
}

// trouble names the parts of the health of a live worker that are not well.
func trouble(w worker) string {
	if !w.answered {
		return ""
	}
	return words.Maybe(w.trouble)
}

// kind tells our workers and Python's apart.
func kind(w worker) string {
	switch {
	case w.answered && w.told.Python, w.heard && w.event.Python:
		return "Python"
	case w.answered || w.event.Ident != "":
		return "Go"
	}
	return ""
}

// drift returns how far the clock of a worker is off, by its last heartbeat. Delivery takes
// some milliseconds, so small differences say nothing.
func drift(w worker) (text string, tone web.Tone) {
	beats := w.event.Heartbeats
	if len(beats) == 0 || w.event.Seen.IsZero() {
		return "", web.Calm
	}
	last := time.UnixMicro(int64(float64(beats[len(beats)-1]) * 1e6))
	d := last.Sub(w.event.Seen)
	switch {
	case d.Abs() < 500*time.Millisecond:
		return "none", web.Calm
	case d.Abs() < 5*time.Second:
		return fmt.Sprintf("%+.1f s", d.Seconds()), web.Calm
	}
	return fmt.Sprintf("%+.0f s", d.Seconds()), web.Wait
}

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	all := g.roster.get(ctx)
	v := listView{
		Head:   web.Head{Title: "Workers", Lead: "Workers of this kind and Python's, beside each other. They are asked every few seconds while this page is open."},
		Fault:  all.fault,
		Chosen: r.URL.Query().Get("kind"),
		Empty: web.Empty{Title: "No worker answers", Text: "Start one with evently-workers run, or check that it uses the same Redis database and REDIS_KEY_PREFIX. " +
			"A worker with REMOTE_CONTROL=off does not answer; one that sends events is listed all the same."},
	}
	counts := map[string]int64{}
	for _, w := range all.workers {
		key := strings.ToLower(kind(w))
		counts[""]++
		counts[key]++
		if v.Chosen == "" || v.Chosen == key {
			v.Rows = append(v.Rows, newRow(w))
		}
	}
	v.Tiles = tiles(all)
	for _, f := range []struct{ text, key string }{{"All", ""}, {"Go", "go"}, {"Python", "python"}} {
		link := "/workers"
		if f.key != "" {
			link += "?kind=" + f.key
		}
		v.Facets.Groups = append(v.Facets.Groups, web.FacetGroup{})
		v.Facets.Groups[0].Items = append(v.Facets.Groups[0].Items, web.Facet{Text: f.text, Href: link, Count: counts[f.key], Chosen: v.Chosen == f.key, Tone: web.Info})
	}
	v.Facets.Label, v.Facets.Groups = "Kinds", v.Facets.Groups[:1]
	return web.View{Title: "Workers", Data: v}, nil
}

func newRow(w worker) row {
	r := row{Node: words.Name(w.node), Href: href(w.node), Kind: kind(w), State: state(w), Trouble: trouble(w), Queues: w.queues}
	if w.heard {
		r.Processed, r.Known = w.event.Processed, w.event.Told.Processed
		if !w.event.Seen.IsZero() {
			r.Heartbeat = w.event.Seen
		}
		r.Version = strings.TrimSpace(w.event.Ident + " " + w.event.Version)
	}
	r.Drift, r.DriftTone = drift(w)
	switch {
	case w.answered:
		r.Active, r.Uptime = fmt.Sprintf("%d / %d", w.told.Active, w.told.Concurrency), w.told.Uptime
		if w.told.Software != "" {
			r.Version = strings.TrimSpace(w.told.Software + " " + w.told.Version)
		}
	case w.heard && w.event.Told.Active:
		r.Active = fmt.Sprint(w.event.Active)
	}
	r.Version = words.Name(r.Version)
	return r
}

// unasked reports whether the last question has reached no worker.
func (r *roll) unasked() bool {
	return r.fault != "" && !slices.ContainsFunc(r.workers, func(w worker) bool { return !w.unasked })
}

// tiles are the figures of all workers together.
func tiles(all *roll) []web.Tile {
	live, slots, active, lost := 0, 0, 0, 0
	for _, w := range all.workers {
		switch state(w).Text {
		case "lost", "no answer":
			lost++
		}
		if w.answered {
			live, slots, active = live+1, slots+w.told.Concurrency, active+w.told.Active
		}
	}
	t := []web.Tile{
		{Label: "Live", Value: fmt.Sprint(live), Hint: "answered just now"},
		{Label: "Running", Value: fmt.Sprint(active), Hint: fmt.Sprintf("of %d slots", slots)},
		{Label: "Lost", Value: fmt.Sprint(lost), Hint: "silent, and not stopped"},
	}
	switch {
	case all.unasked():
		t[0].Value, t[0].Hint, t[1].Value, t[1].Hint, t[2].Value, t[2].Hint = "–", "not known", "–", "not known", "–", "not known"
	case lost > 0:
		t[2].Tone = web.Bad
	}
	return t
}
