// Package workers has the pages of the workers, ours and Python's: what they do, and what an
// operator tells them to do.
package workers

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

//go:embed *.html
var files embed.FS

// Operator asks workers and tells them what to do. [inspect.Operator] does.
type Operator interface {
	Asker
	Commander
}

// Asker asks workers.
type Asker interface {
	Workers(ctx context.Context) ([]inspect.Worker, error)
	Consumers(ctx context.Context) (consumers map[string][]string, answered int, err error)
	Detail(ctx context.Context, node string) (inspect.Detail, error)
	Drained(ctx context.Context, nodes ...string) (map[string]inspect.Drained, error)
}

// Commander tells workers what to do.
type Commander interface {
	Drain(ctx context.Context, node, by string) ([]inspect.Answer, error)
	Fill(ctx context.Context, node string) ([]inspect.Answer, error)
	Grow(ctx context.Context, n int, nodes ...string) ([]inspect.Answer, error)
	Shrink(ctx context.Context, n int, nodes ...string) ([]inspect.Answer, error)
	Autoscale(ctx context.Context, most, least int, nodes ...string) ([]inspect.Answer, error)
	AddConsumer(ctx context.Context, queue string, nodes ...string) ([]inspect.Answer, error)
	CancelConsumer(ctx context.Context, queue string, nodes ...string) ([]inspect.Answer, error)
	RateLimit(ctx context.Context, task, limit string, nodes ...string) ([]inspect.Answer, error)
	TimeLimit(ctx context.Context, task string, soft, hard time.Duration, nodes ...string) ([]inspect.Answer, error)
	Shutdown(ctx context.Context, nodes ...string) error
}

// Fleet tells what the events of workers say. [fleet.State] does.
type Fleet interface {
	Workers() []fleet.Worker
}

// Config is what the pages need.
type Config struct {
	Operator Operator
	Fleet    Fleet // nil: there are no events
	// Vitals has the health of the workers of this program; nil: it is not known.
	Vitals func() vitals.State
	// JSON answers /workers?json=1, as Flower does; nil: that is the page.
	JSON http.Handler
	Now  func() time.Time
}

// Group serves the pages.
type Group struct {
	cfg    Config
	roster *roster
}

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg, roster: newRoster(cfg.Operator, cfg.Fleet, cfg.Vitals, cfg.Now)}
}

// Run asks the workers while a page is open, until ctx ends.
func (g *Group) Run(ctx context.Context) error {
	g.roster.run(ctx)
	return nil
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/workers", Menu: "Workers", Template: "workers.list", Load: g.loadList, Instead: g.json})
	r.Page(web.Page{Pattern: "/workers/{node}", Template: "workers.one", Load: g.loadOne})
	r.Page(web.Page{Pattern: "/workers/{node}/shutdown", Template: "workers.confirm", Role: web.RoleOperator, Load: g.loadShutdown})
	one := func(verb string, do func(context.Context, *web.Request, string) ([]inspect.Answer, outcome, error)) {
		r.Action(web.Action{Pattern: "/workers/{node}/" + verb, Audit: "worker." + strings.ReplaceAll(verb, "-", "_"), Page: "/workers/{node}", Do: g.act(do)})
	}
	one("drain", g.drain)
	one("fill", g.fill)
	one("grow", g.grow)
	one("shrink", g.shrink)
	one("autoscale", g.autoscale)
	one("add-consumer", g.addConsumer)
	one("cancel-consumer", g.cancelConsumer)
	one("rate-limit", g.rateLimit)
	one("time-limit", g.timeLimit)
	r.Action(web.Action{Pattern: "/workers/{node}/shutdown", Audit: "worker.shutdown", Page: "/workers/{node}/shutdown", Do: g.shutdown})
}

// json returns the handler of Flower's /workers?json=1.
func (g *Group) json(r *http.Request) http.Handler {
	if r.URL.Query().Get("json") == "" {
		return nil
	}
	return g.cfg.JSON
}

func href(node string) string { return "/workers/" + segment.Of(node) }
