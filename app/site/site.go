// Package site wires the monitor: the groups of its pages, and the parts of the service that
// they read. The command monitor, the worker and dev use it.
//
// Each group has a file here with a function that makes it. Parts that several groups read,
// such as the events of the fleet, are fields of [Parts] that a maker before them fills.
package site

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/monitor/guard"
	"github.com/evently/workers/monitor/pages/audit"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/redis"
)

// Parts are what the groups read. The program hands over the first ones; a nil one is not
// there, and the pages say so.
type Parts struct {
	Config  config.Config
	Latest  func() config.Config         // with the secrets that were replaced since; nil: none is
	Hidden  func() []string              // texts that must not be shown, the longest first; nil: those of Config
	Secrets func() []monitor.SecretState // of this process; nil: a worker tells them
	Version string
	Label   string      // beside the name of the product; "": none
	Hint    string      // about the label
	Groups  []web.Group // further pages
	Log     *slog.Logger

	Broker       *redis.Broker // required; not run: it consumes nothing
	DB           *sqlx.DB      // database of the history
	Sealer       *ledger.Sealer
	Deliveries   Deliveries
	Suppressions *suppressions.Store
	NoHistory    string       // why there is no history, and what to do; "" if there is one
	Trail        Trail        // of the audit
	Audited      audit.Reader // reads the trail of the audit; nil: there is none
	Templates    *folder.Keeper
	TemplatesRun bool // the worker around this monitor runs Templates

	// The makers fill these.
	FlowerMetrics *flower.Metrics
	Flower        *flower.API
	Exporter      *exporter.Exporter
	Fleet         *fleet.State
	Watch         *watch.Watch       // of the queues
	Operator      *inspect.Operator  // tells workers what to do
	Presenter     *inspect.Presenter // shows messages without their secrets
	Schedule      *inspect.Schedule  // of the tasks that workers hold until their time
	// WorkersJSON answers /workers?json=1 as Flower does; nil: the page answers.
	WorkersJSON http.Handler
	Jobs        *jobs.Runner    // of the pages that start long work
	Vitals      *vitals.Reader  // of the health of the fleet
	Summary     *summary.Keeper // what the overview shows
}

// Deliveries is the history of mails.
type Deliveries interface {
	monitor.Deliveries

	// Suppressed and SuppressedAddress return the suppressions in force of the recipient of
	// a mail, and of an address.
	Suppressed(ctx context.Context, m ledger.Mail) ([]suppressions.Suppression, error)
	SuppressedAddress(ctx context.Context, address string) ([]suppressions.Suppression, error)

	// Facets returns the numbers of mails that f chooses, by state, and Chart the counts of
	// events for each minute, hour or day.
	Facets(ctx context.Context, f ledger.Filter) ([]ledger.Facet, error)
	Chart(ctx context.Context, since, until time.Time, span time.Duration) ([]ledger.Point, error)

	// CheckKey returns an error if the workers seal addresses with another key.
	CheckKey(ctx context.Context) error
}

// Trail writes the audit trail. Do runs do between two entries.
type Trail interface {
	Do(ctx context.Context, e web.AuditEntry, do func(context.Context) (details map[string]any, err error)) error

	// Note writes one entry. refused tells why it was refused; "": it was done.
	Note(ctx context.Context, e web.AuditEntry, refused string, details map[string]any) error
}

// Module is a part of the monitor.
type Module struct {
	Group web.Group                       // nil: it has no pages
	Run   func(ctx context.Context) error // nil: it does nothing by itself
	Close func()                          // nil: it holds nothing

	// Of the module that decides who may come in.
	Guard  func(http.Handler) http.Handler
	Refuse func(w http.ResponseWriter, r *http.Request, needs web.Role) bool
	Login  string
	TLS    *tls.Config // nil: no TLS
}

// maker makes a module. A maker that returns nil makes none.
type maker struct {
	name string
	make func(*Parts) (*Module, error)
}

// makers are the modules in their order: what several groups read comes first.
var makers = []maker{
	{"fleet", makeFleet},
	{"watch", makeWatch},
	{"summary", makeSummary},
	{"flower", makeFlower},
	{"exporter", makeExporter},
	{"guard", makeGuard},
	{"overview", makeOverview},
	{"queues", makeQueues},
	{"workers", makeWorkers},
	{"tasks", makeTasks},
	{"schedule", makeSchedule},
	{"mails", makeMails},
	{"letters", makeLetters},
	{"suppressions", makeSuppressions},
	{"bounces", makeBounces},
	{"gallery", makeGallery},
	{"audit", makeAudit},
	{"system", makeSystem},
}

// Site is the monitor.
type Site struct {
	*web.Site
	log     *slog.Logger
	tls     *tls.Config
	modules []namedModule
}

type namedModule struct {
	name string
	*Module
}

// New makes the monitor. Nothing connects yet. The caller must call Close.
func New(p Parts) (*Site, error) {
	p.Log = cmp.Or(p.Log, slog.Default())
	s := &Site{log: p.Log}
	cfg := web.Config{
		Label: p.Label, LabelHint: p.Hint, Version: p.Version, Origin: guard.Origin(p.Config.Guard.URL), ReadOnly: p.Config.Guard.ReadOnly, Logger: p.Log,
	}
	for _, m := range makers {
		module, err := m.make(&p)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("monitor: %s: %w", m.name, err)
		}
		if module == nil {
			continue
		}
		s.modules = append(s.modules, namedModule{m.name, module})
		if module.Group != nil {
			cfg.Groups = append(cfg.Groups, module.Group)
		}
		if module.Guard != nil {
			cfg.Guard, cfg.Refuse, cfg.Login, s.tls = module.Guard, module.Refuse, module.Login, module.TLS
		}
	}
	cfg.Groups = append(cfg.Groups, p.Groups...)
	if p.Trail != nil {
		cfg.Audit = audited(p.Trail)
	}
	var err error
	if s.Site, err = web.New(cfg); err != nil {
		s.Close()
		return nil, fmt.Errorf("monitor: %w", err)
	}
	return s, nil
}

// audited returns what records the actions of the pages.
func audited(t Trail) func(context.Context, web.AuditEntry, func(context.Context) (web.Done, error)) (web.Done, error) {
	return func(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (done web.Done, err error) {
		err = t.Do(ctx, e, func(ctx context.Context) (map[string]any, error) {
			var err error
			done, err = do(ctx)
			details := map[string]any{}
			for name, value := range done.Details {
				details[name] = value
			}
			if len(done.Subjects) > 0 {
				details["subjects"] = done.Subjects
			}
			return details, err
		})
		return done, err
	}
}

// maxConns bounds the connections to the monitor: the streams of open tabs among them.
const maxConns = 256

// Run serves on l, which it closes, until ctx ends. A module that ends with an error is
// logged, and the others go on.
func (s *Site) Run(ctx context.Context, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range s.modules {
		if m.Run == nil {
			continue
		}
		g.Go(func() error {
			if err := m.Run(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("part of the monitor ended", "part", m.name, "error", err)
			}
			return nil
		})
	}
	g.Go(func() error {
		return monitor.Serve(ctx, monitor.ServerConfig{Name: "monitor", Listener: l, Handler: s, TLS: s.tls, MaxConns: maxConns, OnShutdown: s.EndStreams, Logger: s.log})
	})
	return g.Wait()
}

// Close closes what the modules hold.
func (s *Site) Close() {
	for _, m := range s.modules {
		if m.Close != nil {
			m.Close()
		}
	}
}
