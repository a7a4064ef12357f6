// Package queues has the pages of the queues: how many messages wait and how long, which ones
// they are, and what an operator does about a queue.
package queues

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

//go:embed *.html
var files embed.FS

// Looks tells what the queues looked like, without I/O. [watch.Watch] does.
type Looks interface {
	State() *watch.State
	Samples(queue string, after time.Time) []watch.Sample
}

// Store reads and purges queues. The Queues of worker/redis are one.
type Store interface {
	inspect.Source
	// Purge removes the messages that a queue has now, and returns their number.
	Purge(ctx context.Context, queue string, progress func(removed int)) (removed int, err error)
	// QueueFault returns why a name is not that of a queue, or "".
	QueueFault(queue string) string
}

// Config is what the pages need.
type Config struct {
	Looks     Looks
	Store     Store
	Presenter *inspect.Presenter
	Operator  *inspect.Operator
}

// Group serves the pages.
type Group struct{ cfg Config }

// New returns the pages.
func New(cfg Config) *Group { return &Group{cfg: cfg} }

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/queues", Menu: "Queues", Template: "queues.list", Load: g.loadList, Badge: g.waiting})
	r.Page(web.Page{Pattern: "/queues/{name}", Template: "queues.one", Load: g.loadOne})
	r.Page(web.Page{Pattern: "/queues/{name}/purge", Template: "queues.purge", Role: web.RoleOperator, Load: g.loadPurge})
	r.Action(web.Action{Pattern: "/queues/{name}/pause", Audit: "queue.pause", Page: "/queues/{name}", Do: g.pause})
	r.Action(web.Action{Pattern: "/queues/{name}/resume", Audit: "queue.resume", Page: "/queues/{name}", Do: g.resume})
	r.Action(web.Action{Pattern: "/queues/{name}/purge", Audit: "queue.purge", Page: "/queues/{name}/purge", Do: g.purge})
	r.Action(web.Action{Pattern: "/queues/{name}/cancel", Audit: "queue.cancel_consumer", Page: "/queues/{name}", Do: g.cancel})
}

// waiting returns the number of waiting messages.
func (g *Group) waiting() int {
	n := 0
	for _, q := range g.cfg.Looks.State().Queues {
		n += q.Messages
	}
	return n
}

// href returns the path of the page of a queue.
func href(queue string) string { return "/queues/" + segment.Of(queue) }

// fault returns the error of a page for a name that is not that of a queue.
func (g *Group) fault(name string) error {
	if fault := g.cfg.Store.QueueFault(name); fault != "" {
		return web.NotFound(fmt.Sprintf("%q is not the name of a queue: %s.", name, fault))
	}
	return nil
}

// seconds returns a duration in words, without a fraction, so that it does not flicker.
func seconds(s float64) string {
	d := time.Duration(s) * time.Second
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(s))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(s)%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// age returns an age in words.
func age(a watch.Age) string {
	switch {
	case !a.Known:
		return "–"
	case a.AtLeast:
		return "≥ " + seconds(a.Seconds)
	}
	return seconds(a.Seconds)
}

// rate returns a rate in words.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 10:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", perSecond), "0"), ".")
	}
	return fmt.Sprintf("%.0f", perSecond)
}

// empty says when a queue will be empty.
func empty(q watch.Queue) string {
	switch {
	case q.Messages == 0:
		return "–"
	case q.Empty > 0:
		return seconds(q.Empty.Seconds())
	case q.In > q.Out:
		return "growing"
	}
	return "not draining"
}

// Ages from which a queue is late. A code is valid for minutes.
const (
	lateAge    = 10
	tooLateAge = 60
)

// chips are what stands beside the name of a queue.
func chips(q watch.Queue) (all []web.Chip) {
	switch {
	case q.Broken:
		all = append(all, web.Chip{Text: "broken key", Tone: web.Bad})
	case q.Paused != nil:
		all = append(all, web.Chip{Text: "paused", Tone: web.Wait})
	case len(q.Consumers) == 0 && q.Messages > 0:
		all = append(all, web.Chip{Text: "no consumer", Tone: web.Bad})
	case len(q.Consumers) == 0:
		all = append(all, web.Chip{Text: "no consumer", Tone: web.Calm})
	case q.Oldest.Known && q.Oldest.Seconds >= tooLateAge:
		all = append(all, web.Chip{Text: "behind", Tone: web.Bad})
	case q.Oldest.Known && q.Oldest.Seconds >= lateAge:
		all = append(all, web.Chip{Text: "late", Tone: web.Wait})
	default:
		all = append(all, web.Chip{Text: "consumed", Tone: web.Good})
	}
	return all
}
