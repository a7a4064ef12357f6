// Package mails serves the pages about mails: whether one was sent, and the deliveries with the
// timeline of each.
package mails

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"time"

	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// History is the history of mails. [ledger.Reader] is one.
type History interface {
	verdict.Mails

	// List returns the mails that f chooses, the latest first claim first.
	List(ctx context.Context, f ledger.Filter) (ledger.Page, error)

	// Show returns the mails of a task with their events, the latest first.
	Show(ctx context.Context, id string) ([]ledger.History, error)

	// Facets returns the numbers of mails that f chooses, by state.
	Facets(ctx context.Context, f ledger.Filter) ([]ledger.Facet, error)

	// Chart returns the counts of events for each minute, hour or day.
	Chart(ctx context.Context, since, until time.Time, span time.Duration) ([]ledger.Point, error)
}

// Maker makes mails again. [preview.Maker] is one.
type Maker interface {
	Make(ctx context.Context, h ledger.History) (preview.Preview, error)
}

// Config is the configuration of a [Group].
type Config struct {
	History History // nil: there is none, and Off says why
	Off     string  // what is missing, and how to get it

	// Figures complete classes and domains in the search box. nil: they are not completed.
	Figures search.Figures

	Preview Maker // nil: mails are not made again

	// Redis looks for the traces of a task. nil: it is not asked.
	Redis func(ctx context.Context, taskID string) verdict.Traces

	// Unmask says that the key of the addresses is there, so that an operator may see one.
	Unmask bool

	Now func() time.Time // default: time.Now
}

// Group is the group of pages.
type Group struct {
	cfg   Config
	kinds []string
	cache *keep.Cache
}

// New returns the group. kinds are the kinds of mails, for the choices of lists.
func New(cfg Config, kinds []string) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg, kinds: kinds, cache: keep.New(cfg.Now)}
}

//go:embed *.html
var files embed.FS

// Templates implements [web.Group].
func (*Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/was-it-sent", Menu: "Was it sent?", Template: "mails.ask", Load: g.ask})
	r.Page(web.Page{Pattern: "/deliveries", Menu: "Deliveries", Template: "mails.list", Load: g.list})
	r.Page(web.Page{Pattern: "/deliveries/{task}", Template: "mails.show", Load: g.show})
	r.Handle("GET /deliveries/{task}/preview", web.RoleViewer, http.HandlerFunc(g.servePreview))
	r.Action(web.Action{Pattern: "/deliveries/{task}/unmask", Role: web.RoleOperator, Audit: "deliveries.unmask", Do: g.unmask})
}

// taskPath returns the path of a task's page in a section of the monitor.
func taskPath(section, id string) string { return "/" + section + "/" + segment.Of(id) }

// history returns the history of mails, or what is missing.
func (g *Group) history() (History, error) {
	if g.cfg.History == nil {
		return nil, life.NoHistory(g.cfg.Off)
	}
	return g.cfg.History, nil
}
