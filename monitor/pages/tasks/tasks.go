// Package tasks serves the pages about tasks: the tasks of which events tell, joined with the
// history of mails.
package tasks

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/inspect"
)

// Fleet knows the tasks since the start of the monitor. [fleet.State] is one.
type Fleet interface {
	Status() fleet.Status
	Tasks(f fleet.Filter) (fleet.Page, error)
	Task(id string) (fleet.Family, bool)
}

// History is the history of mails. [ledger.Reader] is one.
type History interface {
	List(ctx context.Context, f ledger.Filter) (ledger.Page, error)
	Show(ctx context.Context, id string) ([]ledger.History, error)
	Facets(ctx context.Context, f ledger.Filter) ([]ledger.Facet, error)
}

// Letters are the dead letters.
type Letters interface {
	verdict.Letters

	// RetryMany puts dead letters back into their queues. It returns one error, or nil, for
	// each.
	RetryMany(ctx context.Context, ids []string, by, note string) []error
}

// Revoke tells all workers not to run a task. With terminate they also stop it, if it runs.
type Revoke func(ctx context.Context, id string, terminate bool) error

// Config is the configuration of a [Group].
type Config struct {
	Fleet   Fleet   // nil: events are not listened to
	History History // nil: there is none, and Off says why
	Off     string  // what is missing for the history, and how to get it

	// Kinds, classes and domains complete the search box; without Figures the last two do not.
	Kinds   []string
	Figures search.Figures

	Letters Letters // nil: dead letters are not looked for
	Revoke  Revoke  // nil: tasks cannot be revoked
	URL     string  // of the monitor, without a path, for the calls that readers copy

	// Redis looks for the traces of a task. nil: it is not asked.
	Redis func(ctx context.Context, taskID string) verdict.Traces

	// Held returns the message of a task that a worker holds until its time; nil: there is none.
	// The field may be nil, too.
	Held func(ctx context.Context, taskID string) (*inspect.Waiting, error)

	Now func() time.Time // default: time.Now
}

// Group is the group of pages.
type Group struct {
	cfg   Config
	cache *keep.Cache
}

// New returns the group.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg, cache: keep.New(cfg.Now)}
}

//go:embed *.html
var files embed.FS

// Templates implements [web.Group].
func (*Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/tasks", Menu: "Tasks", Template: "tasks.list", Load: g.list})
	r.Page(web.Page{Pattern: "/tasks/{id}", Template: "tasks.show", Load: g.show})
	r.Page(web.Page{Pattern: "/tasks/{id}/revoke", Template: "tasks.revoke", Role: web.RoleOperator, Load: g.askRevoke})
	r.Action(web.Action{Pattern: "/tasks/{id}/revoke", Audit: "tasks.revoke", Page: "/tasks/{id}/revoke", Do: g.revoke})
	r.Action(web.Action{Pattern: "/tasks/{id}/retry", Audit: "dead-letters.retry", Do: g.retry})
}

func path(id string) string { return "/tasks/" + segment.Of(id) }
