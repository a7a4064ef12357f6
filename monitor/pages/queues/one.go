package queues

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// oneView is the page of one queue.
type oneView struct {
	Head      web.Head
	Problem   string
	Fault     string
	Warning   string // such as a Python worker that consumes a paused queue
	Tiles     []web.Tile
	Lists     []listRow
	Waiting   web.Chart
	Rates     web.Chart
	Waits     []waitRow
	Unknown   uint64 // waits of messages that were there before the first look
	Consumers []consumer
	Paused    *paused
	May       bool
	Path      string
	Peeked    []peekedList // not in the part that is pushed: it asks Redis
	PeekFault string
	Count     int // of peeked messages, from each end of a list
	More      string
}

// paused tells who has paused a queue.
type paused struct {
	At       time.Time
	By, Note string
}

// waitRow is a line of the histogram of waits.
type waitRow struct {
	Text    string
	Count   uint64
	Share   float64
	Percent int
}

// consumer is a worker that consumes the queue.
type consumer struct{ Node, Href string }

// peekedList is a part of the list of a priority.
type peekedList struct {
	Priority       int
	Oldest, Newest []message
}

// message is a message that waits.
type message struct {
	inspect.Message
	Short, Href string
}

// Numbers of messages that a page shows of each end of a list.
const (
	peekFew  = 5
	peekMany = 50
)

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	name := r.PathValue("name")
	if err := g.fault(name); err != nil {
		return web.View{}, err
	}
	s := g.cfg.Looks.State()
	q, ok := s.Queue(name)
	if !ok && !s.At.IsZero() {
		return web.View{}, web.NotFound(fmt.Sprintf("No queue with the name %q is known: no configuration names it, no worker consumes it, and no producer has declared it.", words.Name(name)))
	}
	q.Name = name
	v := g.view(s, q, r)
	if !r.Live {
		g.peek(ctx, &v, name, r.URL.Query().Get("messages"))
	}
	return web.View{Title: "Queue " + words.Name(name), Data: v}, nil
}

// waitHint tells what the figure of the wait is.
func waitHint(p50, p95 string) string {
	if p50 == "–" {
		return "of no message yet"
	}
	return "half of them; 95 %: " + p95
}

// view returns what is known without asking Redis.
func (g *Group) view(s *watch.State, q watch.Queue, r *web.Request) oneView {
	v := oneView{
		Head:    web.Head{Title: words.Name(q.Name), Back: &web.Link{Text: "Queues", Href: "/queues"}, Chips: chips(q)},
		Problem: r.Problem, Fault: stale(s), May: r.May(web.RoleOperator), Path: href(q.Name), Waits: waitRows(q.Waits), Unknown: q.Waits.Unknown,
	}
	p50, p95 := quantile(q.Waits, .5), quantile(q.Waits, .95)
	v.Tiles = []web.Tile{
		{Label: "Waiting", Value: fmt.Sprint(q.Messages), Hint: fmt.Sprintf("%d arrived", q.Arrived)},
		{Label: "Oldest", Value: age(q.Oldest), Tone: toneOf(q.Oldest), Hint: oldestHint(q.Oldest)},
		{Label: "Arriving", Value: rate(q.In), Unit: "/s", Hint: "in the last seconds"},
		{Label: "Taken", Value: rate(q.Out), Unit: "/s", Hint: "in the last seconds"},
		{Label: "Time to empty", Value: empty(q), Hint: "at the rate of the last minute"},
		{Label: "Wait", Value: p50, Hint: waitHint(p50, p95)},
	}
	for _, l := range q.Lists {
		v.Lists = append(v.Lists, listRow{Priority: l.Priority, Messages: l.Messages, Oldest: age(l.Oldest)})
	}
	for _, node := range q.Consumers {
		v.Consumers = append(v.Consumers, consumer{Node: node, Href: "/workers/" + segment.Of(node)})
	}
	if p := q.Paused; p != nil {
		v.Paused = &paused{At: p.At, By: p.By, Note: p.Note}
		if len(q.Consumers) > 0 {
			v.Warning = "The queue is paused, and " + strings.Join(q.Consumers, ", ") + " consumed it a moment ago. Workers of this kind stop within some seconds. " +
				"A Python worker that has started since the pause goes on: pause the queue again."
		}
	}
	v.Waiting, v.Rates = g.charts(q.Name)
	return v
}

func oldestHint(a watch.Age) string {
	if a.AtLeast {
		return "it was there before this monitor"
	}
	return ""
}

// quantile returns the bound that a share of the waits keeps to.
func quantile(w watch.Waits, share float64) string {
	if s, ok := w.Quantile(share); ok {
		return "≤ " + strings.TrimSuffix(strings.TrimSuffix(seconds(s), " 00 s"), " 00 min")
	}
	if w.Count() > 0 {
		return "> 1 h"
	}
	return "–"
}

// waitRows returns the histogram of waits, without the empty end.
func waitRows(w watch.Waits) (rows []waitRow) {
	total := w.Count()
	if total == 0 {
		return nil
	}
	last := 0
	for i, n := range w.Counts {
		if n > 0 {
			last = i
		}
	}
	for i, n := range w.Counts[:last+1] {
		text := "longer"
		if i < len(watch.Buckets) {
			text = "≤ " + bucket(watch.Buckets[i])
		}
		rows = append(rows, waitRow{Text: text, Count: n, Share: float64(n) / float64(total), Percent: int(float64(n)*100/float64(total) + .5)})
	}
	return rows
}

func bucket(s float64) string {
	if s != float64(int(s)) {
		return strconv.FormatFloat(s, 'f', -1, 64) + " s"
	}
	return strings.TrimSuffix(seconds(s), " 00 s")
}

// charts show the last quarter of an hour.
func (g *Group) charts(name string) (waiting, rates web.Chart) {
	samples := g.cfg.Looks.Samples(name, time.Time{})
	step := max(1, (len(samples)+chartPoints-1)/chartPoints)
	var times []int64
	var depth, oldest, in, out []float64
	var from time.Time
	var came, went int64
	for i, s := range samples {
		if from.IsZero() {
			from = s.At
		}
		came, went = came+s.In, went+s.Out
		if s.At.Unix()%int64(step) != 0 && i != len(samples)-1 {
			continue
		}
		times = append(times, s.At.Unix())
		depth, oldest = append(depth, float64(s.Messages)), append(oldest, s.Oldest.Seconds)
		elapsed := max(1, s.At.Sub(from).Seconds())
		in, out = append(in, float64(came)/elapsed), append(out, float64(went)/elapsed)
		from, came, went = s.At, 0, 0
	}
	waiting = web.Chart{ID: "waiting", Title: "Waiting, and age of the oldest", Unit: "messages, seconds", Times: times, Series: []web.Series{
		{Label: "messages", Tone: web.Info, Values: depth}, {Label: "oldest, s", Tone: web.Wait, Values: oldest},
	}}
	rates = web.Chart{ID: "rates", Title: "Arriving and taken", Unit: "messages/s", Times: times, Series: []web.Series{
		{Label: "arriving", Tone: web.Wait, Values: in}, {Label: "taken", Tone: web.Good, Values: out},
	}}
	return waiting, rates
}

// peek adds the messages at both ends of each list.
func (g *Group) peek(ctx context.Context, v *oneView, name, wanted string) {
	v.Count = peekFew
	if wanted == "all" {
		v.Count = peekMany
	} else {
		v.More = v.Path + "?messages=all#messages"
	}
	oldest, err := g.cfg.Presenter.Peek(ctx, g.cfg.Store, name, false, v.Count)
	var newest []inspect.PeekedList
	if err == nil {
		newest, err = g.cfg.Presenter.Peek(ctx, g.cfg.Store, name, true, v.Count)
	}
	if err != nil {
		v.PeekFault = "The messages could not be read: " + reason(err)
		return
	}
	for i, l := range oldest {
		if len(l.Messages) == 0 {
			continue
		}
		p := peekedList{Priority: l.Priority, Oldest: messages(l.Messages)}
		known := map[string]bool{}
		for _, m := range l.Messages {
			known[m.ID] = true
		}
		for _, m := range messages(newest[i].Messages) {
			if !known[m.ID] {
				p.Newest = append(p.Newest, m)
			}
		}
		slices.Reverse(p.Newest)
		v.Peeked = append(v.Peeked, p)
	}
}

func messages(all []inspect.Message) []message {
	found := make([]message, len(all))
	for i, m := range all {
		found[i] = message{Message: m, Short: m.ID, Href: "/tasks/" + segment.Of(m.ID)}
		if len(m.ID) == 36 {
			found[i].Short = m.ID[:8]
		}
	}
	return found
}

// reason returns an error for people: without the names of commands.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "Redis did not answer in time."
	}
	return err.Error() + "."
}
