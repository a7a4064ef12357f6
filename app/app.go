// Package app wires the program: it builds the parts of the service from the
// configuration, and runs them until a signal.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/app/platform"
	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/app/shard"
	"github.com/evently/workers/app/tracing"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/codes"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// App holds the parts of a running worker.
type App struct {
	mails   *mails
	shards  shard.Set // one for each broker
	store   *store.Store
	sender  *mail.Relays
	outage  *outage
	counts  *monitor.Mails  // of what belongs to no broker
	keeper  *secrets.Keeper // nil: the secrets stay as they are
	secrets *secretAges

	suppressed *suppressionCounter
	tracing    *tracing.Tracing // nil: there are no traces
	history    *history
	codes      *codes.Reader // nil: codes are not checked

	healthEvery time.Duration // between two looks of the health server at the database; 0: the usual time
}

// WorkerParts has what a program gives a worker that runs inside it.
type WorkerParts struct {
	Users       *sqlx.DB            // instead of the database of the configuration; nil: that one
	Middleware  []worker.Middleware // around those of the worker
	Health      net.Listener        // of the health server; nil: there is none
	HealthEvery time.Duration       // between two looks at the database; 0: the usual time

	keeper *secrets.Keeper // of the secrets, attached to the configuration; nil: they stay as they are
}

// New builds the parts from the configuration. Nothing connects yet, and the mails may not
// be prepared. The error is a [UsageError]. The caller must call Close.
func New(cfg config.Config, log *slog.Logger) (*App, error) { return newWith(cfg, WorkerParts{}, log) }

func newWith(cfg config.Config, e WorkerParts, log *slog.Logger) (*App, error) {
	a := &App{healthEvery: e.HealthEvery, keeper: e.keeper}
	if err := a.build(cfg, e, log); err != nil {
		a.Close()
		return nil, &UsageError{Err: err} // parts check values, they do not connect
	}
	return a, nil
}

func (a *App) build(cfg config.Config, e WorkerParts, log *slog.Logger) (err error) {
	if err := checkParts(cfg, nil); err != nil {
		return err
	}
	a.mails = prepareMails(func() *folder.Keeper { return OpenTemplates(context.Background(), cfg, log) })
	users := storeConfig(cfg.Database)
	users.DB = e.Users
	if a.store, err = store.Open(users); err != nil {
		return databaseError(cfg.Database, err)
	}
	onChange(cfg.Database.Logins, a.store.Renew)
	if err := a.openShards(cfg, log); err != nil {
		return err
	}
	if err := a.guard(cfg, log); err != nil {
		return err
	}
	a.keeper.OnHidden(a.sender.Hide)
	if a.history, err = openHistory(cfg, a.shards[0].Aside, log); err != nil {
		return err
	}
	if a.codes, err = openCodes(cfg.Delivery.Codes, log); err != nil {
		return err
	}
	if a.counts = monitor.NewMails(); len(a.shards) == 1 && a.shards[0].Name == "" {
		a.counts = a.shards[0].Mails
	}
	a.secrets = newSecretAges(cfg, a.keeper, a.shards[0].Broker, log)
	a.suppressed = newSuppressionCounter(cfg, a.history, log)
	a.tracing = openTracing(cfg, log)
	for _, s := range a.shards {
		if err := a.complete(s, cfg, e.Middleware, log); err != nil {
			return err
		}
	}
	return nil
}

// openShards opens the brokers of the configuration.
func (a *App) openShards(cfg config.Config, log *slog.Logger) error {
	brokers := cfg.Brokers
	if len(brokers) == 0 { // the configuration was not loaded
		brokers = []config.Broker{{Redis: cfg.Redis}}
	}
	for _, b := range brokers {
		own, log := cfg, brokerLogger(log, b.Name)
		own.Redis = b.Redis
		open := func() (*redis.Broker, error) { return OpenBroker(own, log) }
		s, err := shard.Open(b.Name, cfg.Worker.Queues, open, log)
		a.shards = append(a.shards, s)
		if err != nil {
			return err
		}
	}
	return nil
}

// brokerLogger returns the logger of what works on one of several brokers.
func brokerLogger(log *slog.Logger, name string) *slog.Logger {
	if name == "" {
		return log
	}
	return log.With("broker", name)
}

// complete makes the parts of a shard that use parts of the process. around is around the
// middleware of the worker.
func (a *App) complete(s *shard.Shard, cfg config.Config, around []worker.Middleware, log *slog.Logger) (err error) {
	log = brokerLogger(log, s.Name)
	if s.Ledger, err = a.history.newWriter(cfg, s.Aside, log); err != nil {
		return err
	}
	if err := a.audit(s, cfg, log); err != nil {
		return err
	}
	s.Platform, err = platform.Open(cfg, platform.Parts{Feed: s.Broker, Publisher: s.Aside, Publishing: a.publishing(cfg), Logger: log})
	if err != nil {
		return err
	}
	service, err := tasks.New(a.tasksConfig(s, cfg, log))
	if err != nil {
		return err
	}
	control, err := controlMode(cfg.Worker.RemoteControl)
	if err != nil {
		return err
	}
	unknown, err := unknownTasks(cfg.Worker.UnknownTasks)
	if err != nil {
		return err
	}
	s.Worker, err = worker.New(worker.Config{
		Broker:          s.Broker,
		Name:            cfg.Worker.Name,
		Queues:          cfg.Worker.Queues,
		Tasks:           service.Definitions(),
		Concurrency:     cfg.Worker.Concurrency,
		MaxConcurrency:  cfg.Worker.MaxConcurrency,
		Autoscale:       worker.Autoscale(cfg.Worker.Autoscale),
		Control:         control,
		SendTaskEvents:  cfg.Worker.TaskEvents,
		Redact:          cfg.Worker.Redact,
		Software:        Name,
		SoftwareVersion: Version(),
		Publishing:      a.publishing(cfg),
		// A mail whose SUCCESS is stored is not sent again after a lost
		// acknowledgement.
		DeduplicateSuccessful: true,
		PrefetchMultiplier:    worker.Prefetch(cfg.Worker.PrefetchMultiplier),
		TrackStarted:          true, // as the Python worker did
		TaskTimeLimit:         cfg.Worker.TaskTimeLimit,
		TaskSoftTimeLimit:     cfg.Worker.TaskSoftTimeLimit,
		UnknownTasks:          unknown,
		MaxRedeliveries:       cfg.Worker.MaxRedeliveries,
		MaxMemory:             int64(cfg.Worker.MaxMemory),
		OnControl:             s.Auditor.Changed,
		Grace:                 cfg.Worker.ShutdownGrace,
		Middleware:            slices.Concat(around, a.tracing.Middleware(), []worker.Middleware{countRuns(s.Runs)}),
		Limits: protocol.Limits{
			Size: cfg.Worker.MaxBytes, Depth: cfg.Worker.MaxDepth, Elements: cfg.Worker.MaxElements,
		},
		Logger: log,
	})
	return err
}

// guard prepares the relays and the circuit breakers.
func (a *App) guard(cfg config.Config, log *slog.Logger) (err error) {
	others := newFleet(a.shards)
	a.outage = &outage{log: log, depth: a.shards.Depth}
	a.sender, err = mailRelays(cfg, log, func(c mail.Config, sender *mail.Sender) (mail.Breaker, error) {
		name := "relay " + net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
		if slices.ContainsFunc(a.outage.relays, func(b *breaker.Breaker) bool { return b.Name() == name }) {
			name += fmt.Sprintf(" (%d)", len(a.outage.relays)+1) // with another user
		}
		b, err := newRelayBreaker(name, c, sender, others, log)
		a.outage.relays = append(a.outage.relays, b)
		return relayBreaker{b}, err
	})
	if err != nil {
		return err
	}
	if a.outage.database, err = newDatabaseBreaker(cfg.Database, a.store, others, log); err != nil {
		return err
	}
	onChange(cfg.Database.Logins, a.outage.database.Hurry)
	for i, s := range cfg.Relays {
		onChange(s.Logins, a.outage.relays[i].Hurry)
	}
	return nil
}

// audit prepares the audit trail. The history exists already.
func (a *App) audit(s *shard.Shard, cfg config.Config, log *slog.Logger) error {
	c := audit.TrailConfig{Journal: s.Aside.Journal(auditJournal), Keys: auditKeys(cfg), Logger: log}
	if a.history != nil {
		c.Store = ledger.NewAudit(a.history.db, auditPatience)
	}
	t, err := audit.New(c)
	if err != nil {
		return err
	}
	s.Audit(t, a.history != nil, log)
	return nil
}

// Check reports whether a worker could start with cfg. It connects to nothing.
func Check(cfg config.Config) error {
	a, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	a.Close() // it waits for the mails
	return a.mails.err
}

// check answers the task health_check. Producers read its error.
func (a *App) check(ctx context.Context) error {
	err := a.store.Ping(ctx)
	if fault, ok := errors.AsType[*store.AccessError](err); ok {
		return errors.New("database: " + fault.Summary())
	}
	if err != nil {
		return errors.New("database does not answer")
	}
	return nil
}

// Close drops the connections. The broker closes its own when it ran.
func (a *App) Close() {
	if a.mails != nil {
		<-a.mails.prepared
	}
	if a.store != nil {
		_ = a.store.Close()
	}
	a.history.close()
	a.tracing.Close()
	a.shards.Close()
	if a.codes != nil {
		_ = a.codes.Close()
	}
}
