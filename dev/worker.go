package dev

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// siteURL is the web site that the mails of the development mode link to. The domain "test"
// is reserved (RFC 6761).
const siteURL = "https://evently.test"

// parts are the embedded parts that a worker needs.
type parts struct {
	users    *sqlx.DB
	redisURL string
	smtp     *net.TCPAddr
	log      *tasklog
	logger   *slog.Logger
	history  string       // path of its file; "": there is none
	chaos    *chaos       // nil: nothing is broken
	health   net.Listener // nil: there is no health server
}

// startWorker runs the real worker, configured as in production. Only the retry delay is
// short, because a person in front of the page waits for it.
func startWorker(ctx context.Context, p parts) error {
	set, err := tasks.NewTemplates(templates.Options{SiteURL: siteURL, SupportAddress: "help@evently.test"})
	if err != nil {
		return fmt.Errorf("prepare the mails: %w", err)
	}
	users, err := store.Open(store.Config{DB: p.users})
	if err != nil {
		return fmt.Errorf("open the users: %w", err)
	}
	looked := chaoticUsers{users, p.chaos}
	sender, err := mail.New(mail.Config{
		Host: p.smtp.IP.String(), Port: p.smtp.Port, Security: mail.Plain,
		FromName: "Evently", FromAddress: "noreply@evently.com",
		Logger: p.logger,
	})
	if err != nil {
		return fmt.Errorf("prepare the mail relay: %w", err)
	}
	broker, err := openBroker(p)
	if err != nil {
		return err
	}
	defer broker.Close()
	aside, err := openBroker(p) // the worker closes the other one before the last events are stored
	if err != nil {
		return err
	}
	defer aside.Close()
	history, sealer, err := openHistory(p, aside)
	if err != nil {
		return err
	}
	defer history.Close()
	writer, err := ledger.NewWriter(ledger.WriterConfig{DB: history, Outbox: aside, Sealer: sealer, Logger: p.logger})
	if err != nil {
		return fmt.Errorf("prepare the history: %w", err)
	}
	service, err := tasks.New(tasks.Config{
		Users: looked, Mailer: mailer{sender, p.log}, Templates: set,
		Ledger: sealer, Worker: "email-worker",
		RetryDelay: 2 * time.Second,
		Check:      users.Ping,
		Logger:     p.logger,
	})
	if err != nil {
		return fmt.Errorf("prepare the tasks: %w", err)
	}
	w, err := worker.New(worker.Config{
		Broker: broker, Name: "email-worker@%h", Queues: []string{queue},
		Tasks:       service.Definitions(),
		Concurrency: 4, PrefetchMultiplier: 1, TrackStarted: true,
		TaskTimeLimit: 300 * time.Second, TaskSoftTimeLimit: 240 * time.Second,
		Grace:          5 * time.Second,
		SendTaskEvents: true,
		Middleware:     []worker.Middleware{p.observe},
		Logger:         p.logger,
	})
	if err != nil {
		return fmt.Errorf("prepare the worker: %w", err)
	}

	health, shared, err := observed{w, sender, writer, looked, aside, broker.LetterCounts, p.smtp.String()}.health(p)
	if err != nil {
		return fmt.Errorf("prepare the health server: %w", err)
	}

	// The mail connections outlive the tasks that use them.
	relay, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	var g errgroup.Group
	g.Go(func() error { return sender.Run(relay) })
	g.Go(func() error { return writer.Run(relay) })
	g.Go(func() error { return health.Run(relay) })
	g.Go(func() error { return shared.Run(relay) })
	g.Go(func() error {
		defer hangUp()
		return w.Run(ctx)
	})
	return g.Wait()
}

func openBroker(p parts) (*redis.Broker, error) {
	broker, err := redis.New(redis.Config{
		URL: p.redisURL, VisibilityTimeout: time.Hour, ResultExpires: time.Hour, Logger: p.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the broker: %w", err)
	}
	return broker, nil
}

// openHistory opens the history of mails, whose addresses are masked.
func openHistory(p parts, secrets ledger.SecretKeeper) (*sqlx.DB, *ledger.Sealer, error) {
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Secrets: secrets, Mask: mail.MaskAddress})
	if err != nil {
		return nil, nil, fmt.Errorf("prepare the history: %w", err)
	}
	db, err := ledger.OpenSQLite(p.history)
	return db, sealer, err
}

// observe tells the page which tasks run.
func (p parts) observe(next worker.Handler) worker.Handler {
	return worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
		p.log.began(t.ID, t.Name, t.Retries)
		return next.Run(ctx, t)
	})
}

// mailer tells the page which task sent which mail, because a mail does not say it.
type mailer struct {
	*mail.Sender
	log *tasklog
}

// Send implements [tasks.Mailer].
func (m mailer) Send(ctx context.Context, msg mail.Message) (mail.Receipt, error) {
	receipt, err := m.Sender.Send(ctx, msg)
	if err == nil {
		if t, ok := worker.TaskFrom(ctx); ok {
			m.log.mailed(t.ID, receipt.MessageID)
		}
	}
	return receipt, err
}
