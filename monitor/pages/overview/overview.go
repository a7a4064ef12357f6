// Package overview has the first page of the monitor: what happens now, and what an operator
// should look at.
package overview

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/web"
)

//go:embed *.html
var files embed.FS

// Config is what the page needs.
type Config struct {
	// Summary returns the latest summary. It must cost no I/O.
	Summary func() *summary.Summary
}

// Group serves the page.
type Group struct{ cfg Config }

// New returns the page.
func New(cfg Config) *Group { return &Group{cfg} }

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/", Menu: "Overview", Template: "overview.page", Load: g.load, Badge: g.urgent})
}

// urgent counts the findings that cannot wait.
func (g *Group) urgent() (n int) {
	for _, f := range g.cfg.Summary().Findings {
		if f.Level == attention.Urgent {
			n++
		}
	}
	return n
}

// view is what the page shows.
type view struct {
	Head     web.Head
	Findings []finding
	Unknown  string // what is not known at this moment; "": all is
	Now      []web.Tile
	Chart    web.Chart
	Codes    codes
	Lamps    []lamp
	Failures []bar
	Queues   []queueRow
	Workers  []workerRow
	Missing  []summary.Missing
	NoQueues string
	Refused  bool // Redis can be read and refuses writes
	Letters  string
}

// finding is something to look at.
type finding struct {
	Level, Text, Advice, Link, Page string
	Tone                            web.Tone
	Since                           time.Time
}

// lamp is a circuit breaker.
type lamp struct {
	Name, State, Text string
	Tone              web.Tone
	Since             time.Time
}

// bar is a class of failures.
type bar struct {
	Class, Href string
	Words       string // what the class means; "": the class says it
	N           int64
	Drawing     web.Tile // for its line only
}

// codes is the objective of codes.
type codes struct {
	Known, Any         bool
	Share, P95, Budget string
	Objective          string
	Ended, Expired     int64
	Tone               web.Tone
	Waiting            string // age of the oldest one; "": none waits
	Number             int
	WaitTone           web.Tone
}

type queueRow struct {
	Name, Href, Oldest, Empty string
	Messages                  int
	In, Out                   string
	State                     web.Chip
}

type workerRow struct {
	Node, Href, Kind, Version, Active string
	Processed                         int64
	State                             web.Chip
	Trouble                           string
}

func (g *Group) load(_ context.Context, r *web.Request) (web.View, error) {
	v := viewOf(g.cfg.Summary())
	if r.May(web.RoleOperator) {
		v.Head.Links = []web.Link{{Text: "Incident bundle", Href: "/incident", Icon: "bundle"}}
	}
	return web.View{Title: "Overview", Data: v}, nil
}

func viewOf(s *summary.Summary) view {
	v := view{
		Head:     web.Head{Title: "Overview"},
		Findings: findings(s), Unknown: strings.Join(s.Unknown, ", "), Now: tiles(s), Chart: chart(s), Codes: codesOf(s), Lamps: lamps(s), Queues: queues(s), Workers: workers(s), Missing: s.Missing,
	}
	v.Refused = s.Queues.Refusal != ""
	const most = 8
	for _, f := range s.Failures[:min(most, len(s.Failures))] {
		v.Failures = append(v.Failures, bar{Class: spaced(f.Class), Words: classWords[f.Class], N: f.N, Href: "/deliveries?" + url.Values{"q": {"class:" + f.Class}, "since": {"1h"}}.Encode()})
	}
	switch {
	case s.Queues.Fault != "":
		v.NoQueues = "Redis does not answer: " + s.Queues.Fault
	case !s.Queues.Known:
		v.NoQueues = "The queues are not known yet."
	}
	return v
}

func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }

var tones = map[attention.Level]web.Tone{attention.Urgent: web.Bad, attention.Warning: web.Wait, attention.Notice: web.Info}

func findings(s *summary.Summary) (all []finding) {
	for _, f := range s.Findings {
		page, _, _ := strings.Cut(strings.TrimPrefix(f.Link, "/"), "?")
		page, _, _ = strings.Cut(page, "/")
		all = append(all, finding{
			Level: f.Level.String(), Text: f.Text, Advice: f.Advice, Link: f.Link, Page: strings.ReplaceAll(page, "-", " "), Tone: tones[f.Level], Since: f.Since,
		})
	}
	return all
}

// sparkSeconds is the time that the lines in tiles show.
const sparkSeconds = 120

func tiles(s *summary.Summary) []web.Tile {
	rate := func(label string, known bool, value float64, series []uint32, bad web.Tone, href string) web.Tile {
		t := web.Tile{Label: label, Value: "–", Unit: "/s", Href: href}
		if !known {
			t.Unit = ""
			return t
		}
		t.Value, t.Spark = figure(value), floats(series[max(0, len(series)-sparkSeconds):])
		if value > 0 {
			t.Tone = bad
		}
		return t
	}
	r := s.Rates
	all := []web.Tile{
		rate("Received", r.Known, r.Received, r.Series.Received, "", "/tasks"),
		rate("Succeeded", r.Known, r.Succeeded, r.Series.Succeeded, web.Good, "/tasks?state=SUCCESS"),
		rate("Deferred", r.Known, r.Retried, r.Series.Retried, web.Wait, "/scheduled"),
		rate("Failed", r.Known, r.Failed, r.Series.Failed, web.Bad, "/tasks?state=FAILURE"),
	}
	run := web.Tile{Label: "Run time, p95", Value: "–"}
	if s.Latency.Known {
		run.Value = seconds(s.Latency.P95)
		run.Hint = fmt.Sprintf("p50 %s, p99 %s", seconds(s.Latency.P50), seconds(s.Latency.P99))
	}
	depth := web.Tile{Label: "Waiting in queues", Value: "–", Href: "/queues"}
	if s.Queues.Known {
		depth.Value = grouped(s.Queues.Messages)
		depth.Hint = "none is waiting"
		if s.Queues.Oldest.Known {
			depth.Hint = "the oldest for " + seconds(s.Queues.Oldest.Seconds)
		}
		if s.Queues.Unacked >= 0 {
			depth.Hint += fmt.Sprintf("; workers hold %s", grouped(s.Queues.Unacked))
		}
		if s.Queues.Oldest.Duration() > 30*time.Second {
			depth.Tone = web.Wait
		}
	}
	letters := web.Tile{Label: "Dead letters", Value: "–", Href: "/dead-letters"}
	if s.Letters.Known {
		letters.Value = grouped(s.Letters.Open)
		if s.Letters.Grown > 0 {
			letters.Tone, letters.Hint = web.Bad, grouped(s.Letters.Grown)+" more in the last 10 min"
		}
	}
	alive := web.Tile{Label: "Workers", Value: grouped(len(s.Workers)), Href: "/workers"}
	if n := inTrouble(s); n > 0 {
		alive.Tone, alive.Hint, alive.Href = web.Wait, fmt.Sprintf("%d in trouble", n), "/health" // which tells why
	}
	if s.Queues.Fault != "" {
		alive = web.Tile{Label: alive.Label, Value: "–", Href: alive.Href}
	}
	return append(all, run, depth, letters, alive)
}

func inTrouble(s *summary.Summary) (n int) {
	for _, w := range s.Workers {
		if w.Status != "" && w.Status != "healthy" && w.Status != summary.NotKnown {
			n++
		}
	}
	return n
}

func floats(counts []uint32) []float64 {
	all := make([]float64, len(counts))
	for i, n := range counts {
		all[i] = float64(n)
	}
	return all
}

// chartStep is the time that one point of the chart is for.
const chartStep = 5

// chart draws the tasks a second of the last minutes.
func chart(s *summary.Summary) web.Chart {
	c := web.Chart{ID: "rates", Title: "Tasks", Unit: "a second", Height: 190}
	series := s.Rates.Series
	begin := series.Begin.Unix()
	skip := int((chartStep - begin%chartStep) % chartStep)
	points := max(0, len(series.Received)-skip) / chartStep
	for i := range points {
		c.Times = append(c.Times, begin+int64(skip+i*chartStep))
	}
	for _, one := range []struct {
		label  string
		tone   web.Tone
		counts []uint32
	}{{"received", web.Calm, series.Received}, {"succeeded", web.Good, series.Succeeded}, {"deferred", web.Wait, series.Retried}, {"failed", web.Bad, series.Failed}} {
		values := make([]float64, points)
		for i := range points {
			for _, n := range one.counts[skip+i*chartStep : skip+(i+1)*chartStep] {
				values[i] += float64(n) / chartStep
			}
		}
		c.Series = append(c.Series, web.Series{Label: one.label, Tone: one.tone, Values: values})
	}
	return c
}

func codesOf(s *summary.Summary) codes {
	k := s.Codes
	c := codes{
		Known: k.Known, Any: k.Ended > 0, Share: attention.Percent(k.InTime, k.Ended), P95: seconds(k.P95), Ended: k.Ended, Expired: k.Expired,
		Objective: attention.Percent(int64(math.Round(k.Objective*1e6)), 1e6), Number: k.Number, Tone: web.Good,
		Budget: attention.Percent(int64(max(0, k.Budget)*1e6), 1e6),
	}
	switch {
	case k.Budget < 0:
		c.Tone = web.Bad
	case k.Budget < 0.25:
		c.Tone = web.Wait
	}
	if k.Number > 0 {
		c.Waiting, c.WaitTone = seconds(k.Waiting), web.Info
		if k.Waiting > attention.CodeLimit.Seconds() {
			c.WaitTone = web.Bad
		}
	}
	return c
}

func lamps(s *summary.Summary) (all []lamp) {
	for _, b := range s.Breakers {
		l := lamp{Name: b.Name, State: b.Phase, Tone: web.Good, Since: b.Since, Text: b.Reason}
		switch b.Phase {
		case "closed":
			l.Text, l.Since = "requests pass", time.Time{}
		case "half-open", summary.NotKnown:
			l.Tone = web.Wait
		default:
			l.Tone = web.Bad
		}
		if b.Phase != "closed" && len(b.Nodes) > 0 {
			l.Text = strings.TrimSpace(l.Text + " · " + strings.Join(b.Nodes, ", "))
		}
		all = append(all, l)
	}
	return all
}

func queues(s *summary.Summary) (all []queueRow) {
	for _, q := range s.Queues.All {
		row := queueRow{
			Name: q.Name, Href: "/queues/" + segment.Of(q.Name), Messages: q.Messages, In: figure(q.In) + "/s", Out: figure(q.Out) + "/s", Oldest: "–", Empty: "–",
		}
		if q.Oldest.Known {
			row.Oldest = seconds(q.Oldest.Seconds)
			if q.Oldest.AtLeast {
				row.Oldest = "more than " + row.Oldest
			}
		}
		if q.Empty > 0 {
			row.Empty = seconds(q.Empty)
		}
		switch {
		case q.Broken:
			row.State = web.Chip{Text: "broken", Tone: web.Bad}
		case q.Paused:
			row.State = web.Chip{Text: "paused", Tone: web.Wait}
		case q.Consumers == 0:
			row.State = web.Chip{Text: "no worker", Tone: web.Bad}
		}
		all = append(all, row)
	}
	return all
}

func workers(s *summary.Summary) (all []workerRow) {
	for _, w := range s.Workers {
		row := workerRow{Node: w.Node, Href: "/workers/" + segment.Of(w.Node), Kind: "Go", Version: w.Version, Active: grouped(w.Active), Processed: w.Processed, Trouble: w.Trouble}
		if w.Concurrency > 0 {
			row.Active = fmt.Sprintf("%d of %d", w.Active, w.Concurrency)
		}
		if row.Version, _, _ = strings.Cut(row.Version, " ("); w.Python {
			row.Kind = "Python"
		}
		switch w.Status {
		case "healthy":
			row.State = web.Chip{Text: w.Status, Tone: web.Good}
		case "degraded":
			row.State = web.Chip{Text: w.Status, Tone: web.Wait}
		case summary.NotKnown:
			row.State, row.Active = web.Chip{Text: w.Status, Tone: web.Wait}, "–"
		case "":
			row.State = web.Chip{Text: "online", Tone: web.Good}
		default:
			row.State = web.Chip{Text: w.Status, Tone: web.Bad}
		}
		all = append(all, row)
	}
	return all
}
