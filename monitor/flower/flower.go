// Package flower serves the HTTP interface of Flower 2.2 and its metrics, so that scripts,
// autoscalers and dashboards that use them go on to work.
//
// Paths, parameters, status codes, members and errors are those of Flower. These differ:
// values are shown without secrets, and calling a task needs the role of an admin. The refusal
// of a worker is plain text, which Flower declares as HTML. A task that was aborted is told to
// end, because the workers of this library do not look at the state ABORTED. /metrics has
// Flower's own metrics, and not those of its Python process.
package flower

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redact"
)

// Config is what an [API] needs. Fleet is required.
type Config struct {
	Fleet   *fleet.State
	Metrics *Metrics // nil: there is no /metrics
	// Remote carries questions and commands to the workers. Nil: there are none.
	Remote broker.Remote
	// Depths returns the numbers of messages in these queues, of all priorities. Nil: not
	// known.
	Depths func(ctx context.Context, queues []string) (map[string]int, error)
	// Backend has the results. Nil: none.
	Backend broker.Backend
	// Client publishes and revokes tasks. Nil: none.
	Client *worker.Client
	// Queue is the name of the queue when no worker tells of one; default: "celery".
	Queue string
	// Redactor hides secrets; default: redact.New().
	Redactor *redact.Redactor
	// Params returns the names of the positional parameters of a task. Nil: not known.
	Params func(task string) []string
	// Audit runs do and records it. Nil: it is only run.
	Audit    func(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error)
	ReadOnly bool
	Now      func() time.Time // default: time.Now
	Logger   *slog.Logger     // default: slog.Default()
}

// API is a [web.Group] without pages.
type API struct {
	cfg       Config
	inspector *inspector
	find      finder
}

// New returns an API. Its Run keeps what the workers tell of themselves.
func New(cfg Config) (*API, error) {
	if cfg.Fleet == nil {
		return nil, errors.New("flower: Fleet is missing")
	}
	cfg.Queue = cmp.Or(cfg.Queue, "celery")
	cfg.Redactor = cmp.Or(cfg.Redactor, redact.New())
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Audit == nil {
		cfg.Audit = func(ctx context.Context, _ web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
			return do(ctx)
		}
	}
	return &API{cfg: cfg, inspector: newInspector(&cfg), find: finder{cfg.Fleet}}, nil
}

// Run asks the workers from time to time until ctx ends.
func (a *API) Run(ctx context.Context) error { return a.inspector.run(ctx) }

//go:embed none
var none embed.FS

// Templates implements [web.Group]. There are none.
func (a *API) Templates() fs.FS { return none }

// Register implements [web.Group].
func (a *API) Register(r *web.Router) {
	for pattern, h := range a.routes() {
		role := web.RoleViewer
		if pattern == "GET /healthcheck" {
			role = web.RolePublic
		}
		r.Handle(pattern, role, h)
	}
}

// routes are the paths of Flower. A name of a task or a worker may have slashes in it.
func (a *API) routes() map[string]http.Handler {
	routes := map[string]http.Handler{
		"GET /healthcheck":                                 text("OK"),
		"GET /api/workers":                                 handler(a.listWorkers),
		"GET /api/tasks":                                   handler(a.listTasks),
		"GET /api/task/info/{id...}":                       handler(a.taskInfo),
		"GET /api/task/types":                              handler(a.taskTypes),
		"GET /api/queues/length":                           handler(a.queueLengths),
		"GET /api/task/result/{id...}":                     handler(a.taskResult),
		"POST /api/task/apply/{name...}":                   a.command(web.RoleAdmin, "task send", a.apply),
		"POST /api/task/async-apply/{name...}":             a.command(web.RoleAdmin, "task send", a.asyncApply),
		"POST /api/task/send-task/{name...}":               a.command(web.RoleAdmin, "task send", a.send),
		"POST /api/task/revoke/{id...}":                    a.command(web.RoleOperator, "task revoke", a.revoke),
		"POST /api/task/abort/{id...}":                     a.command(web.RoleOperator, "task abort", a.abort),
		"POST /api/task/timeout/{name...}":                 a.command(web.RoleOperator, "task time limit", a.timeLimit),
		"POST /api/task/rate-limit/{name...}":              a.command(web.RoleOperator, "task rate limit", a.rateLimit),
		"POST /api/worker/shutdown/{node...}":              a.command(web.RoleOperator, "worker shutdown", a.shutdown),
		"POST /api/worker/pool/restart/{node...}":          a.command(web.RoleOperator, "worker pool restart", a.restartPool),
		"POST /api/worker/pool/grow/{node...}":             a.command(web.RoleOperator, "worker grow", a.grow),
		"POST /api/worker/pool/shrink/{node...}":           a.command(web.RoleOperator, "worker shrink", a.shrink),
		"POST /api/worker/pool/autoscale/{node...}":        a.command(web.RoleOperator, "worker autoscale", a.autoscale),
		"POST /api/worker/queue/add-consumer/{node...}":    a.command(web.RoleOperator, "worker add consumer", a.addConsumer),
		"POST /api/worker/queue/cancel-consumer/{node...}": a.command(web.RoleOperator, "worker cancel consumer", a.cancelConsumer),
	}
	if a.cfg.Metrics != nil {
		routes["GET /metrics"] = http.HandlerFunc(a.cfg.Metrics.serve)
	}
	return routes
}
