package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/app/site"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/templates/folder"
)

// monitorConns is the number of connections of the monitor to the database of the history.
const monitorConns = 5

// Monitor is the monitor with the connections that it reads from.
type Monitor struct {
	site    *site.Site
	redis   string // URL of the broker, without a password
	trail   *Trail
	keeper  *secrets.Keeper // of a monitor without a worker around it
	mails   *folder.Keeper  // of the templates that the pages show
	ages    *secretAges     // of a monitor without a worker around it; nil: the worker tells them
	closers []func() error
}

// OpenMonitor makes the monitor of the configuration. It dials when it is used: Redis and
// PostgreSQL may be down. The caller must call Close.
func OpenMonitor(cfg config.Config, log *slog.Logger) (*Monitor, error) {
	return OpenMonitorWith(cfg, log, "")
}

// openMonitorIn is [OpenMonitor] for the monitor inside of a worker, which has the templates and
// the keeper of the secrets.
func openMonitorIn(cfg config.Config, kept *secrets.Keeper, log *slog.Logger, keeper *folder.Keeper) (*Monitor, error) {
	return openMonitor(cfg, log, keptIn(kept, site.Parts{Templates: keeper, TemplatesRun: true}))
}

// keptIn returns p with the secrets of a keeper, and p if they stay as they are.
func keptIn(k *secrets.Keeper, p site.Parts) site.Parts {
	if !k.Idle() {
		p.Latest, p.Hidden = k.Config, k.Hidden
	}
	return p
}

// OpenMonitorWith is [OpenMonitor] with a label beside the name of the product, and further
// pages.
func OpenMonitorWith(cfg config.Config, log *slog.Logger, label string, groups ...web.Group) (*Monitor, error) {
	return openMonitor(cfg, log, site.Parts{Label: label, Groups: groups})
}

func openMonitor(cfg config.Config, log *slog.Logger, p site.Parts) (*Monitor, error) {
	return new(Monitor).opened(cfg, nil, log, p)
}

// opened opens m. own keeps the secrets of a monitor without a worker around it; nil: a worker, or
// no keeper, has them.
func (m *Monitor) opened(cfg config.Config, own *secrets.Keeper, log *slog.Logger, p site.Parts) (*Monitor, error) {
	m.keeper = own
	if err := m.open(cfg, log, p); err != nil {
		m.Close()
		return nil, &UsageError{Err: err}
	}
	return m, nil
}

func (m *Monitor) open(cfg config.Config, log *slog.Logger, p site.Parts) (err error) {
	brokers := cfg.BrokerNames()
	if len(cfg.Brokers) > 0 {
		if cfg, err = cfg.WithBroker(cfg.Service.Broker); err != nil {
			return err
		}
	}
	m.redis = cfg.Redis.String()
	if names := cfg.BrokerNames(); p.Label == "" && len(names) > 0 {
		p.Label = names[0]
		p.Hint = fmt.Sprintf("The broker that these pages show, of REDIS_URLS: %s. MONITOR_BROKER chooses another one.", strings.Join(brokers, ", "))
	}
	p.Config, p.Version, p.Log = cfg, Version(), log
	if p.Broker, err = OpenBroker(cfg, log); err != nil {
		return err
	}
	m.closers = append(m.closers, p.Broker.Close)
	if m.keeper != nil {
		m.ages = newSecretAges(cfg, m.keeper, p.Broker, log)
		p.Secrets = m.ages.list
	}
	if err := m.openHistory(cfg, &p); err != nil {
		return err
	}
	// By the same connections, so that a database that hangs is waited for once.
	if m.trail, err = openTrail(cfg, p.DB, log); err != nil {
		return err
	}
	if p.Hidden != nil {
		m.trail.secrets = p.Hidden
	}
	p.Trail, p.Audited = pageTrail{m.trail}, m.trail.Trail
	if p.Templates == nil {
		if err := checkParts(cfg, nil); err != nil {
			return err
		}
		p.Templates = OpenTemplates(context.Background(), cfg, log) // the pages tell what is wrong with them
	}
	m.mails = p.Templates
	m.site, err = site.New(p)
	return err
}

// openHistory opens the database of the history. Without one the pages say why.
func (m *Monitor) openHistory(cfg config.Config, p *site.Parts) error {
	d, err := openDeliveriesLater(cfg)
	if err != nil {
		p.NoHistory = err.Error()
		return nil
	}
	m.closers = append(m.closers, d.Close)
	d.db.SetMaxOpenConns(monitorConns)
	p.DB, p.Sealer, p.Deliveries, p.Suppressions = d.db, d.sealer, d, d.suppressions
	return nil
}

// Run serves on l, which it closes, until ctx ends.
func (m *Monitor) Run(ctx context.Context, l net.Listener) error { return m.site.Run(ctx, l) }

// Pages returns all pages in the order of their patterns.
func (m *Monitor) Pages() []web.PageInfo { return m.site.Pages() }

// Actions returns the patterns of all actions.
func (m *Monitor) Actions() []string { return m.site.Actions() }

// Close closes the connections.
func (m *Monitor) Close() {
	if m.site != nil {
		m.site.Close()
	}
	if m.trail != nil {
		m.trail.Close()
	}
	for _, c := range m.closers {
		_ = c()
	}
}

// pageTrail records the actions of pages.
type pageTrail struct{ trail *Trail }

// Do implements [site.Trail].
func (t pageTrail) Do(ctx context.Context, e web.AuditEntry, do func(context.Context) (map[string]any, error)) error {
	who := Who{Actor: cmp.Or(e.Actor.Name, "unknown"), Via: "page", From: e.From}
	return t.trail.Do(ctx, who, Action{Name: e.Action, Subjects: e.Subjects}, do)
}

// Note implements [site.Trail].
func (t pageTrail) Note(ctx context.Context, e web.AuditEntry, refused string, details map[string]any) error {
	entry := audit.Entry{
		Actor: cmp.Or(e.Actor.Name, "unknown"), Via: "page", From: e.From, Action: e.Action, IDs: e.Subjects,
		Details: t.trail.details(details), Outcome: audit.Done,
	}
	if refused != "" {
		entry.Outcome = audit.Refused + ": " + refused
	}
	return t.trail.Append(ctx, entry)
}

// RunMonitor reads the configuration and runs the monitor until a signal. It logs to output.
func RunMonitor(ctx context.Context, output *os.File) error {
	IgnoreLostOutput()
	var hangup hangups
	ctx, free := hangup.context(ctx)
	defer free()
	var again <-chan struct{}
	if config.AsksZero(nil) {
		again = hangup.again()
	}
	cfg, err := waitForConfig(ctx, output, again, func(string) {})
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	hangup.look.Store(nil)
	cfg.Service.Broker = cmp.Or(brokerOf(ctx), cfg.Service.Broker)
	log := NewLogger(output, cfg.Service)
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}
	notes := make(chan secrets.Event, mostNotes)
	keeper := newKeeper(cfg, log, func(e secrets.Event) {
		select {
		case notes <- e:
		default: // the log has it
		}
	})
	cfg = keeper.Attach(cfg)
	looks, look := hangupLooks(cfg, keeper), keeper.Look
	if looks {
		hangup.look.Store(&look)
	}
	if cfg.Service.MonitorAddr == "" {
		return &UsageError{Err: fmt.Errorf("MONITOR_ADDR is off; write where the monitor listens, such as 127.0.0.1:5555")}
	}
	m, err := new(Monitor).opened(cfg, keeper, log, keptIn(keeper, site.Parts{}))
	if err != nil {
		return err
	}
	defer m.Close()
	if looks {
		all := func() { keeper.Look(); m.mails.Look() }
		hangup.look.Store(&all)
	}
	l, err := listenOn(ctx, "MONITOR_ADDR", "tcp", cfg.Service.MonitorAddr)
	if err != nil {
		return err
	}
	log.Info("monitor listens", "url", site.LocalURL(cfg, l.Addr().String())+"/", "redis", m.redis)
	var g errgroup.Group
	keeping, end := context.WithCancel(ctx)
	g.Go(func() error { return keeper.Run(keeping) })
	g.Go(func() error { return m.ages.Run(keeping) })
	g.Go(func() error { return m.noteSecrets(keeping, notes, log) })
	g.Go(func() error {
		defer end()
		return m.Run(ctx, l)
	})
	return g.Wait()
}

// mostNotes is the number of changes of secrets that may wait for the audit trail.
const mostNotes = 100

// noteSecrets writes changes of secrets to the audit trail until ctx ends.
func (m *Monitor) noteSecrets(ctx context.Context, notes <-chan secrets.Event, log *slog.Logger) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-notes:
			entry := entryOf(e)
			entry.Actor, entry.Via = "monitor@"+host, "monitor"
			if err := m.trail.Append(ctx, entry); err != nil && ctx.Err() == nil {
				log.Warn("change of a secret is not in the audit trail", "secret", e.Variable, "result", e.Result, "error", err)
			}
		}
	}
}

// embedded is the monitor inside of a worker. A nil one serves nothing.
type embedded struct {
	monitor  *Monitor
	listener net.Listener
	log      *slog.Logger
}

// openEmbedded opens the monitor if MONITOR asks for it. The caller must call close.
func openEmbedded(ctx context.Context, cfg config.Config, keeper *secrets.Keeper, mails *mails, log *slog.Logger) (*embedded, error) {
	if !cfg.Service.Embedded {
		return nil, nil
	}
	<-mails.prepared
	m, err := openMonitorIn(cfg, keeper, log, mails.keeper)
	if err != nil {
		return nil, err
	}
	l, err := listenOn(ctx, "MONITOR_ADDR", "tcp", cfg.Service.MonitorAddr)
	if err != nil {
		m.Close()
		return nil, err
	}
	log.Info("monitor listens", "url", site.LocalURL(cfg, l.Addr().String())+"/")
	return &embedded{m, l, log}, nil
}

// Run serves until ctx ends. A monitor that fails does not end the worker.
func (e *embedded) Run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	if err := e.monitor.Run(ctx, e.listener); err != nil {
		e.log.Error("monitor ended", "error", err)
	}
	return nil
}

func (e *embedded) close() {
	if e != nil {
		e.listener.Close()
		e.monitor.Close()
	}
}
