// Package letters has the pages of the repair desk: dead letters by cause, one letter with its
// history, the edited copy, and what is done to many at once.
package letters

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/pages/internal/ticket"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
)

//go:embed *.html
var files embed.FS

// Config is what the pages need.
type Config struct {
	Letters    monitor.Letters    // nil: each page says that there are none
	Deliveries monitor.Deliveries // the history of mails; nil: there is none
	Jobs       *jobs.Runner       // of this monitor; its Run must be running

	// Audit runs do between two entries of the audit trail, for what a job does.
	Audit func(ctx context.Context, who web.Actor, a desk.Action, do func(context.Context) (map[string]any, error)) error

	MayReveal bool // there is a DEAD_LETTER_KEY
	Logger    *slog.Logger
	Now       func() time.Time
}

// Group serves the pages.
type Group struct {
	cfg     Config
	box     *box
	tickets *ticket.Box[string] // letters whose values are shown
}

// revealFor is how long the values of a letter are shown after a click, and mostTickets how many
// clicks are remembered.
const (
	revealFor   = 5 * time.Minute
	mostTickets = 1000
)

// shows reports whether a person may see the values of a letter with a ticket.
func (g *Group) shows(r *web.Request, id, letter string) bool {
	of, ok := g.tickets.Get(id, r.Actor.Name)
	return ok && of == letter && r.Actor.Role >= web.RoleOperator
}

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Group{cfg: cfg, tickets: ticket.New[string](revealFor, mostTickets, cfg.Now)}
	if cfg.Letters != nil {
		g.box = newBox(cfg.Letters, cfg.Deliveries, cfg.Now)
	}
	return g
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/dead-letters", Menu: "Dead letters", Template: "letters.list", Load: g.loadList, Badge: g.open})
	r.Page(web.Page{Pattern: "/dead-letters/{id}", Template: "letters.one", Load: g.loadOne})
	r.Page(web.Page{Pattern: "/dead-letters/{id}/edit", Template: "letters.edit", Role: web.RoleOperator, Load: g.loadEdit})
	r.Page(web.Page{Pattern: "/dead-letters/{id}/delete", Template: "letters.confirm", Role: web.RoleOperator, Load: g.loadDelete})
	r.Page(web.Page{Pattern: "/dead-letters/bulk", Template: "letters.bulk", Role: web.RoleOperator, Load: g.loadBulk})
	r.Page(web.Page{Pattern: "/jobs", Template: "letters.jobs", Load: g.loadJobs})
	r.Page(web.Page{Pattern: "/jobs/{job}", Template: "letters.job", Load: g.loadJob})

	one := func(verb desk.Verb, page string) {
		r.Action(web.Action{Pattern: "/dead-letters/{id}/" + string(verb), Audit: "dead-letters." + string(verb), Page: page, Do: g.doOne(verb)})
	}
	one(desk.Retry, "/dead-letters/{id}")
	one(desk.Resolve, "/dead-letters/{id}")
	one(desk.Reopen, "/dead-letters/{id}")
	one(desk.Delete, "/dead-letters/{id}/delete")
	r.Action(web.Action{Pattern: "/dead-letters/{id}/reveal", Audit: "dead-letters.reveal", Page: "/dead-letters/{id}", Do: g.doReveal})
	r.Action(web.Action{Pattern: "/dead-letters/{id}/edit", Audit: "dead-letters.edit", Page: "/dead-letters/{id}/edit", Do: g.doEdit})
	r.Action(web.Action{Pattern: "/dead-letters/bulk", Audit: "dead-letters.bulk", Page: "/dead-letters/bulk", Do: g.doBulk})
	r.Action(web.Action{Pattern: "/jobs/{job}/stop", Audit: "dead-letters.stop", Page: "/jobs/{job}", Do: g.doStop})
}

// Run counts the open letters for the menu until ctx ends. Then no letters are read any more.
func (g *Group) Run(ctx context.Context) error {
	const every, patience = 10 * time.Second, 5 * time.Second
	if g.box == nil {
		<-ctx.Done()
		return nil
	}
	defer g.box.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		counting, cancel := context.WithTimeout(ctx, patience)
		g.box.count(counting)
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// open returns the number of open letters, as it was seen last.
func (g *Group) open() int {
	if g.box == nil {
		return 0
	}
	return int(g.box.open.Load())
}

// here returns an error if there are no dead letters to look at.
func (g *Group) here() error {
	if g.box == nil {
		return web.Missing("No dead letters", "Dead letters are in Redis, and this monitor has none. Set REDIS_URL, or REDIS_HOST and the other REDIS_* variables, to the Redis of the workers.")
	}
	return nil
}

// plain makes the errors of dead letters those of a page.
func plain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, broker.ErrNoDeadLetter) {
		if _, other := errors.AsType[*broker.LetterStateError](err); !other {
			return web.NotFound("There is no such dead letter. It was deleted, or it was older than 30 days, or there were more than DEAD_LETTERS_MAX.")
		}
	}
	_, refused := errors.AsType[syscall.Errno](err)
	_, network := errors.AsType[net.Error](err)
	if refused || network {
		return web.Missing("Redis does not answer", "Dead letters and their jobs are in Redis. Load this page again in a while.\nCheck REDIS_URL, or REDIS_HOST and the other REDIS_* variables, if it never did.")
	}
	return err
}

// refusal makes an error about the state of a letter one that the page shows.
func refusal(err error) error {
	_, state := errors.AsType[*broker.LetterStateError](err)
	_, expired := errors.AsType[*broker.ExpiredError](err)
	_, locked := errors.AsType[*broker.LockedError](err)
	_, route := errors.AsType[*broker.RouteError](err)
	if state || expired || locked || route {
		return web.Invalid(sentence(err.Error()))
	}
	return plain(err)
}

// letter returns the letter that a path names. The beginning of an id leads to the whole one.
func (g *Group) letter(ctx context.Context, r *web.Request) (broker.DeadLetter, error) {
	if err := g.here(); err != nil {
		return broker.DeadLetter{}, err
	}
	l, err := g.cfg.Letters.Get(ctx, r.PathValue("id"))
	if errors.Is(err, broker.ErrNoDeadLetter) {
		if id, err := g.cfg.Letters.Find(ctx, r.PathValue("id")); err == nil && r.Method == "GET" {
			return l, web.Redirect(letterPath(id))
		}
	}
	return l, plain(err)
}

func letterPath(id string, more ...string) string {
	path := "/dead-letters/" + segment.Of(id)
	for _, m := range more {
		path += "/" + m
	}
	return path
}
