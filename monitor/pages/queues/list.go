package queues

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"math"
	"slices"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
)

// listView is the page of all queues.
type listView struct {
	Head  web.Head
	Fault string // why nothing was seen lately
	Tiles []web.Tile
	Chart web.Chart
	Rows  []row
	Left  int
	Empty web.Empty
}

// row is a queue in the list.
type row struct {
	Name, Href string
	Chips      []web.Chip
	Messages   int
	Lists      []listRow
	Oldest     string
	Tone       web.Tone // of the oldest age
	In, Out    string
	EmptyIn    string
	Consumers  int
	Line       template.HTML
}

// listRow is the list of a priority.
type listRow struct {
	Priority, Messages int
	Oldest             string
}

// mostLines bounds the lines of the chart.
const mostLines = 5

func (g *Group) loadList(_ context.Context, _ *web.Request) (web.View, error) {
	s := g.cfg.Looks.State()
	v := listView{
		Head:  web.Head{Title: "Queues", Lead: "Messages that wait in Redis, by queue and priority. Ages are known without the help of producers."},
		Fault: stale(s), Left: s.Left,
		Empty: web.Empty{Title: "No queues yet", Text: "Queues appear when the configuration names them, when a worker consumes them, or when a producer declares them."},
	}
	if s.At.IsZero() && v.Fault == "" {
		v.Empty = web.Empty{Title: "Looking", Text: "The first look at the queues comes within a second."}
	}
	for _, q := range s.Queues {
		v.Rows = append(v.Rows, g.row(q))
	}
	v.Tiles, v.Chart = g.tiles(s), g.chart(s)
	return web.View{Title: "Queues", Data: v}, nil
}

// stale says why the state is old, "" when it is fresh.
func stale(s *watch.State) string {
	switch {
	case s.Fault == "":
		return ""
	case s.At.IsZero():
		return "Redis has not answered yet: " + s.Fault
	}
	return fmt.Sprintf("Redis does not answer. This is how the queues were at %s: %s", words.Clock(s.At), s.Fault)
}

func (g *Group) row(q watch.Queue) row {
	r := row{
		Name: words.Name(q.Name), Href: href(q.Name), Chips: chips(q), Messages: q.Messages, Oldest: age(q.Oldest), In: rate(q.In), Out: rate(q.Out),
		EmptyIn: empty(q), Consumers: len(q.Consumers), Tone: toneOf(q.Oldest),
	}
	for _, l := range q.Lists {
		if l.Messages > 0 {
			r.Lists = append(r.Lists, listRow{Priority: l.Priority, Messages: l.Messages, Oldest: age(l.Oldest)})
		}
	}
	if len(r.Lists) == 1 && r.Lists[0].Priority == 0 {
		r.Lists = nil // that is the number itself
	}
	r.Line = web.Tile{Spark: thin(depths(g.cfg.Looks.Samples(q.Name, time.Time{})), 60), Tone: web.Info}.Line()
	return r
}

func toneOf(a watch.Age) web.Tone {
	switch {
	case !a.Known || a.Seconds < lateAge:
		return web.Calm
	case a.Seconds < tooLateAge:
		return web.Wait
	}
	return web.Bad
}

func depths(samples []watch.Sample) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = float64(s.Messages)
	}
	return values
}

// thin returns at most n of the values: the greatest of each part.
func thin(values []float64, n int) []float64 {
	if len(values) <= n {
		return values
	}
	thinned := make([]float64, n)
	for i := range thinned {
		thinned[i] = slices.Max(values[i*len(values)/n : (i+1)*len(values)/n])
	}
	return thinned
}

// tiles are the figures of all queues together.
func (g *Group) tiles(s *watch.State) []web.Tile {
	var messages int
	var in, out float64
	var oldest watch.Queue
	for _, q := range s.Queues {
		messages, in, out = messages+q.Messages, in+q.In, out+q.Out
		if q.Oldest.Known && (!oldest.Oldest.Known || q.Oldest.Seconds > oldest.Oldest.Seconds) {
			oldest = q
		}
	}
	tiles := []web.Tile{
		{Label: "Waiting", Value: fmt.Sprint(messages), Hint: "in " + words.Count(int64(len(s.Queues)), "queue")},
		{Label: "Oldest", Value: age(oldest.Oldest), Tone: toneOf(oldest.Oldest)},
		{Label: "Arriving", Value: rate(in), Unit: "/s", Hint: "in the last seconds"},
		{Label: "Taken", Value: rate(out), Unit: "/s", Hint: "in the last seconds"},
	}
	if oldest.Oldest.Known {
		tiles[1].Hint, tiles[1].Href = words.Name(oldest.Name), href(oldest.Name)
	}
	if s.Unacked >= 0 {
		tiles = append(tiles, web.Tile{Label: "Held by workers", Value: fmt.Sprint(s.Unacked), Hint: "running, reserved or scheduled", Href: "/scheduled"})
	}
	return tiles
}

// chart shows the fullest queues.
func (g *Group) chart(s *watch.State) web.Chart {
	c := web.Chart{ID: "waiting", Title: "Waiting messages", Unit: "messages"}
	queues := slices.Clone(s.Queues)
	peaks := map[string]float64{}
	series := map[string][]watch.Sample{}
	for _, q := range queues {
		series[q.Name] = g.cfg.Looks.Samples(q.Name, time.Time{})
		for _, one := range series[q.Name] {
			peaks[q.Name] = max(peaks[q.Name], float64(one.Messages))
		}
	}
	sorting.Stable(queues, func(a, b watch.Queue) int { return cmp.Compare(peaks[b.Name], peaks[a.Name]) })
	queues = queues[:min(len(queues), mostLines)]
	times := map[int64]bool{}
	for _, q := range queues {
		for _, one := range series[q.Name] {
			times[one.At.Unix()] = true
		}
	}
	for t := range times {
		c.Times = append(c.Times, t)
	}
	slices.Sort(c.Times)
	c.Times = every(c.Times, chartPoints)
	tones := []web.Tone{web.Info, web.Good, web.Wait, web.Bad, web.Calm}
	for i, q := range queues {
		values := make([]float64, len(c.Times))
		byTime := map[int64]float64{}
		for _, one := range series[q.Name] {
			byTime[one.At.Unix()] = float64(one.Messages)
		}
		for j, t := range c.Times {
			value, ok := byTime[t]
			if !ok {
				value = math.NaN()
			}
			values[j] = value
		}
		c.Series = append(c.Series, web.Series{Label: words.Name(q.Name), Tone: tones[i], Values: values})
	}
	return c
}

// chartPoints is about the number of points of a chart, which is sent each second.
const chartPoints = 180

// every returns about n of the times, the last one among them. The others stay the same while
// time goes on.
func every(times []int64, n int) []int64 {
	step := int64(max(1, (len(times)+n-1)/n))
	if step == 1 {
		return times
	}
	var kept []int64
	for i, t := range times {
		if t%step == 0 || i == len(times)-1 {
			kept = append(kept, t)
		}
	}
	return kept
}
