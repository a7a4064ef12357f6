package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/term"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// parts is everything that a running worker is made of.
type parts struct {
	mails  *mails
	broker *redis.Broker
	store  *store.Store
	sender *mail.Sender
	worker *worker.Worker
}

// build makes the parts out of the configuration. Nothing connects yet, and the mails
// may not be prepared.
func build(cfg config.Config, log *slog.Logger) (*parts, error) {
	p := new(parts)
	if err := p.build(cfg, log); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *parts) build(cfg config.Config, log *slog.Logger) (err error) {
	if err := checkParts(cfg, nil); err != nil {
		return err
	}
	p.mails = prepareMails(func() (*templates.Set, error) { return templates.New(templateOptions(cfg)) })
	if p.store, err = store.Open(storeConfig(cfg.Database)); err != nil {
		return databaseError(cfg.Database, err)
	}
	if p.sender, err = mail.New(mailConfig(cfg, log)); err != nil {
		return fmt.Errorf("prepare the mail relay: %w", err)
	}
	service, err := tasks.New(tasks.Config{
		Users: p.store, Mailer: p.sender, Templates: p.mails,
		MaxRetries: retries(cfg.Worker.MaxRetries),
		RetryDelay: cfg.Worker.RetryDelay,
		Check:      p.check,
		Logger:     log,
	})
	if err != nil {
		return err
	}
	if p.broker, err = openBroker(cfg, log); err != nil {
		return err
	}
	p.worker, err = worker.New(worker.Config{
		Broker:          p.broker,
		Name:            cfg.Worker.Name,
		Queues:          cfg.Worker.Queues,
		Tasks:           service.Definitions(),
		Concurrency:     cfg.Worker.Concurrency,
		MaxConcurrency:  cfg.Worker.MaxConcurrency,
		Autoscale:       worker.Autoscale(cfg.Worker.Autoscale),
		Control:         controlMode(cfg.Worker.RemoteControl),
		SendTaskEvents:  cfg.Worker.TaskEvents,
		Redact:          cfg.Worker.Redact,
		Software:        "evently-workers",
		SoftwareVersion: version,
		Publishing:      publishing(cfg),
		// A mail whose SUCCESS is stored is not sent again, whoever lost its
		// acknowledgement.
		DeduplicateSuccessful: true,
		PrefetchMultiplier:    cfg.Worker.PrefetchMultiplier,
		TrackStarted:          true, // as the Python worker did
		TaskTimeLimit:         cfg.Worker.TaskTimeLimit,
		TaskSoftTimeLimit:     cfg.Worker.TaskSoftTimeLimit,
		UnknownTasks:          unknownTasks(cfg.Worker.UnknownTasks),
		MaxRedeliveries:       cfg.Worker.MaxRedeliveries,
		MaxMemory:             int64(cfg.Worker.MaxMemory),
		Grace:                 cfg.Worker.ShutdownGrace,
		Limits: protocol.Limits{
			Size: cfg.Worker.MaxBytes, Depth: cfg.Worker.MaxDepth, Elements: cfg.Worker.MaxElements,
		},
		Logger: log,
	})
	return err
}

func controlMode(word string) worker.ControlMode {
	switch word {
	case "harmless":
		return worker.ControlHarmless
	case "off":
		return worker.ControlOff
	}
	return worker.ControlFull
}

// publishing sends what is linked to our tasks where the producers would.
func publishing(cfg config.Config) worker.Publishing {
	return worker.Publishing{
		Routes:       []worker.Route{{Task: "email_workers.tasks.*", Queue: "email_notifications"}},
		DefaultQueue: cfg.Worker.Queues[0],
	}
}

// openBroker makes the broker; it dials when it is used.
func openBroker(cfg config.Config, log *slog.Logger) (*redis.Broker, error) {
	r := redis.Config{
		URL:               cfg.Redis.URL().Reveal(),
		DB:                cfg.Redis.DB,
		SentinelMaster:    cfg.Redis.Sentinel.Master,
		SentinelUsername:  cfg.Redis.Sentinel.Username,
		SentinelPassword:  cfg.Redis.Sentinel.Password.Reveal(),
		KeyPrefix:         cfg.Redis.KeyPrefix,
		ResultKeyPrefix:   cfg.Redis.ResultKeyPrefix,
		PrioritySteps:     cfg.Redis.PrioritySteps,
		QueueOrder:        redis.QueueOrder(cfg.Worker.QueueOrder),
		QueueWeights:      cfg.Worker.QueueWeights,
		VisibilityTimeout: cfg.Redis.VisibilityTimeout,
		OwnerTimeout:      cfg.Redis.OwnerTimeout,
		ResultExpires:     cfg.Redis.ResultExpires,
		MaxMessageSize:    cfg.Worker.MaxBytes,
		DeadLettersMax:    cfg.Redis.DeadLettersMax,
		Logger:            log,
	}
	if cfg.Redis.UseTLS {
		var err error
		if r.TLS, err = cfg.Redis.TLS.Config(); err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
	}
	return redis.New(r)
}

// templateOptions leaves the brand alone: the subjects are those that producers
// and readers know, whoever the sender is called.
func templateOptions(cfg config.Config) templates.Options {
	return templates.Options{
		SiteURL:        cfg.Mail.SiteURL,
		SupportAddress: cfg.Mail.SupportAddress,
		LinkHosts:      cfg.Mail.LinkHosts,
	}
}

// databaseError names the variable that the database's settings came from.
func databaseError(d config.Database, err error) error {
	if d.URL.IsSet() {
		return config.Add(nil, config.Problem{Variable: "DATABASE_URL", Wrong: err.Error()})
	}
	return config.Add(nil, config.Problem{Variable: "DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD or DB_SSLMODE", Wrong: err.Error()})
}

func storeConfig(d config.Database) store.Config {
	return store.Config{
		URL: d.URL.Reveal(), Host: d.Host, Port: d.Port, Name: d.Name,
		User: d.User, Password: d.Password.Reveal(), SSLMode: d.SSLMode,
	}
}

// unboundedConns is a number of connections that no worker has slots for.
const unboundedConns = 1 << 16

func mailConfig(cfg config.Config, log *slog.Logger) mail.Config {
	s := cfg.SMTP
	if cfg.Worker.MaxConcurrency == 0 {
		s.MaxConns = unboundedConns // as many as tasks run, pool_grow included
	}
	return mail.Config{
		Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password.Reveal(),
		Security:  map[string]mail.Security{"starttls": mail.StartTLS, "implicit": mail.ImplicitTLS, "none": mail.Plain}[s.TLSMode],
		TLSCAFile: s.CAFile,
		FromName:  cfg.Mail.FromName, FromAddress: cfg.Mail.FromAddress, ReplyTo: cfg.Mail.ReplyTo,
		HelloName: s.HelloName, MaxConns: s.MaxConns, Secrets: cfg.Passwords(),
		Logger: log,
	}
}

func unknownTasks(word string) worker.UnknownTaskPolicy {
	return map[string]worker.UnknownTaskPolicy{
		"dead-letter": worker.DeadLetterUnknown, "requeue": worker.RequeueUnknown, "reject": worker.RejectUnknown,
	}[word]
}

// retries translates a number into the engine's, where 0 is the default.
func retries(n int) int {
	if n == 0 {
		return worker.NoRetries
	}
	return n
}

// check is what the task health_check says about the parts; producers read it.
func (p *parts) check(ctx context.Context) error {
	err := p.store.Ping(ctx)
	if fault, ok := errors.AsType[*store.AccessError](err); ok {
		return errors.New("database: " + fault.Summary())
	}
	if err != nil {
		return errors.New("database does not answer")
	}
	return nil
}

// close drops the connections. The broker closes its own when it ran.
func (p *parts) close() {
	if p.mails != nil {
		<-p.mails.prepared
	}
	if p.store != nil {
		_ = p.store.Close()
	}
	if p.broker != nil {
		_ = p.broker.Close()
	}
}

// newLogger logs to f: JSON for machines, text for people.
func newLogger(f *os.File, cfg config.Service) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	format := cfg.LogFormat
	if format == "" && term.IsTerminal(int(f.Fd())) {
		format = "text"
	}
	if format == "text" {
		return slog.New(slog.NewTextHandler(f, options))
	}
	return slog.New(slog.NewJSONHandler(f, options))
}
