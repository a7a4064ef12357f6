package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
)

// bounceStore returns the store of bounces in the database of the history.
func bounceStore(cfg config.Config, db *sqlx.DB, sealer *ledger.Sealer) *ledger.Bounces {
	c := ledger.BouncesConfig{DB: db, Sealer: sealer, Reference: mail.Reference}
	if s := newSuppressions(cfg, db, sealer); s != nil {
		c.Suppressor = s
	}
	return ledger.NewBounces(c)
}

// newIntake returns an intake that stores in s.
func newIntake(cfg config.Config, s intake.Store, count func(source string, kind ledger.BounceKind, matched bool), log *slog.Logger) (*intake.Intake, error) {
	c := intake.Config{Store: s, Logger: log, Count: count}
	if cfg.Mail.BounceDomain != "" {
		var keys []string
		for _, key := range cfg.Mail.BounceKeys {
			keys = append(keys, key.Reveal())
		}
		var err error
		if c.Tagger, err = verp.New(cfg.Mail.BounceDomain, keys...); err != nil {
			return nil, fmt.Errorf("addresses for bounces: %w", err)
		}
	}
	return intake.New(c)
}

// bounces are the servers of a worker that take bounces in.
type bounces struct {
	intake  *intake.Intake
	servers []interface{ Run(context.Context) error }
	ports   []net.Listener
	listens string
}

// openBounces opens the ports for bounces, so that a conflict is reported at the start. It
// returns nil if there are none.
func (a *App) openBounces(ctx context.Context, cfg config.Config, log *slog.Logger) (b *bounces, err error) {
	if cfg.Bounces.Address == "" && cfg.Bounces.WebhookAddr == "" || a.history == nil || a.history.db == nil {
		return nil, nil
	}
	b = &bounces{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	count := func(source string, kind ledger.BounceKind, matched bool) {
		a.counts.Bounced(source, string(kind), matched)
	}
	if b.intake, err = newIntake(cfg, bounceStore(cfg, a.history.db, a.history.sealer), count, log); err != nil {
		return nil, err
	}
	if cfg.Bounces.Address != "" {
		if err := b.openListener(ctx, cfg, log); err != nil {
			return nil, err
		}
	}
	if cfg.Bounces.WebhookAddr != "" {
		if err := b.openWebhook(ctx, cfg, log); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bounces) openListener(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	c := cfg.Bounces
	l, err := b.listen(ctx, "BOUNCE_LISTEN", c.Network, c.Address)
	if err != nil {
		return err
	}
	lc := intake.ListenerConfig{Intake: b.intake, Hostname: cfg.Mail.BounceDomain, LMTP: c.LMTP, Listener: l, Logger: log}
	protocol := "SMTP"
	if c.LMTP {
		protocol = "LMTP"
	}
	if c.CertFile != "" {
		if lc.TLS, err = intake.Certificate(c.CertFile, c.KeyFile); err != nil {
			return &UsageError{Err: config.Add(nil, config.Problem{Variable: "BOUNCE_TLS_CERT_FILE", Wrong: err.Error()})}
		}
	}
	server, err := intake.NewListener(lc)
	if err != nil {
		return err
	}
	b.add(server, protocol+" on "+l.Addr().String())
	return nil
}

func (b *bounces) openWebhook(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	l, err := b.listen(ctx, "WEBHOOK_ADDR", "tcp", cfg.Bounces.WebhookAddr)
	if err != nil {
		return err
	}
	wc := intake.WebhookConfig{Intake: b.intake, Listener: l, Logger: log}
	for _, key := range cfg.Bounces.WebhookKeys {
		wc.Keys = append(wc.Keys, key.Reveal())
	}
	server, err := intake.NewWebhook(wc)
	if err != nil {
		return err
	}
	b.add(server, "webhooks on "+l.Addr().String())
	return nil
}

func (b *bounces) add(server interface{ Run(context.Context) error }, where string) {
	b.servers = append(b.servers, server)
	if b.listens != "" {
		b.listens += ", "
	}
	b.listens += where
}

// listen opens a port. A socket of a process that has ended is replaced.
func (b *bounces) listen(ctx context.Context, variable, network, address string) (net.Listener, error) {
	if network == "unix" {
		removeDeadSocket(address)
	}
	l, err := listenOn(ctx, variable, network, address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		// The mail server that delivers there is another user, usually of the same group.
		if err := os.Chmod(address, 0o660); err != nil {
			l.Close()
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
	}
	b.ports = append(b.ports, l)
	return l, nil
}

// removeDeadSocket removes a socket that no process listens on.
func removeDeadSocket(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
}

// Run serves until ctx ends, and then takes what has begun.
func (b *bounces) Run(ctx context.Context) error {
	if b == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, server := range b.servers {
		g.Go(func() error { return server.Run(ctx) })
	}
	return g.Wait()
}

func (b *bounces) close() {
	if b == nil {
		return
	}
	for _, l := range b.ports {
		_ = l.Close()
	}
}

// state returns the state of the servers for health.
func (b *bounces) state() monitor.BouncesState {
	if b == nil {
		return monitor.BouncesState{}
	}
	s := b.intake.Status()
	return monitor.BouncesState{Listens: b.listens, Stored: s.Stored, Last: s.Last, Failing: s.Failing}
}

// Bounces is the store of bounces for commands, with an intake.
type Bounces struct {
	*ledger.Bounces
	keyCheck
	Intake *intake.Intake
}

// OpenBounces returns the bounces of the configuration. It dials when it is used. The caller
// must call Close.
func OpenBounces(cfg config.Config, log *slog.Logger) (Bounces, error) {
	d, err := OpenDeliveries(cfg)
	if err != nil {
		return Bounces{}, err
	}
	sealer, err := newSealer(cfg.Ledger, nil)
	if err != nil {
		_ = d.Close()
		return Bounces{}, err
	}
	store := bounceStore(cfg, d.db, sealer)
	i, err := newIntake(cfg, store, nil, log)
	if err != nil {
		_ = d.Close()
		return Bounces{}, &UsageError{Err: err}
	}
	return Bounces{Bounces: store, keyCheck: d.keyCheck, Intake: i}, nil
}

// Close closes the connections.
func (b Bounces) Close() error { return b.db.Close() }
