package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/evently/workers/app/platform"
	"github.com/evently/workers/app/shard"
	"github.com/evently/workers/app/tracing"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/tlsfiles"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/codes"
	"github.com/evently/workers/tasks"
)

// tasksConfig returns the configuration of the tasks of a broker. The other parts of a exist
// already.
func (a *App) tasksConfig(s *shard.Shard, cfg config.Config, log *slog.Logger) tasks.Config {
	t := tasks.Config{
		Users:         &guardedUsers{store: a.store, breaker: a.outage.database},
		Mailer:        a.tracing.Mailer(&guardedMailer{relays: a.sender, breakers: a.outage.relays}),
		Step:          a.tracing.Step(),
		Templates:     a.mails,
		MaxRetries:    retries(cfg.Worker.MaxRetries),
		RetryDelay:    cfg.Worker.RetryDelay,
		UnknownPolicy: tasks.UnknownPolicy(cfg.Delivery.UnknownPolicy),
		ReplyTimeout:  cfg.Delivery.ReplyTimeout,
		GiveUpAfter:   cfg.Delivery.GiveUpAfter,
		Limits: tasks.Limits{
			Admitter:  s.Broker,
			Board:     s.Broker,
			All:       tasks.Rate(cfg.Delivery.Limits.All),
			Domain:    rates(cfg.Delivery.Limits.Domain),
			Recipient: rates(cfg.Delivery.Limits.Recipient),
		},
		Once:     platform.Kinds(cfg),
		Worker:   s.WorkerOf(cfg.Worker.Name),
		Observer: &observer{s.Mails, s.Runs},
		Check:    a.check,
		Logger:   log,
	}
	if a.codes != nil {
		t.Codes = a.codes
	}
	if a.history != nil {
		t.Ledger = a.history.sealer
		if c := a.history.checks; c != nil {
			t.Suppressions = c
		}
	}
	return t
}

// openTracing returns the tracing that the environment asks for. A mistake in it keeps no mail:
// collectors are often configured for all programs of a machine at once.
func openTracing(cfg config.Config, log *slog.Logger) *tracing.Tracing {
	t, err := tracing.New(context.Background(), tracing.Config{
		Service: Name, Version: BuildOf().Version, Instance: cfg.Worker.Name, Logger: log,
	})
	if err != nil {
		log.Warn("no traces are exported", "error", err)
	}
	return t
}

// spanCounts returns the function that counts spans; nil: there are no traces.
func (a *App) spanCounts() func() monitor.SpanCounts {
	if a.tracing == nil {
		return nil
	}
	return func() monitor.SpanCounts { return monitor.SpanCounts(a.tracing.Counts()) }
}

func rates(named map[string]config.Rate) map[string]tasks.Rate {
	if len(named) == 0 {
		return nil
	}
	all := make(map[string]tasks.Rate, len(named))
	for name, r := range named {
		all[name] = tasks.Rate(r)
	}
	return all
}

// openCodes returns a reader of the codes of the auth service, nil if they are not checked.
func openCodes(c config.Codes, log *slog.Logger) (*codes.Reader, error) {
	if c.Address == "" {
		return nil, nil
	}
	r := codes.Config{
		Network: c.Network, Address: c.Address, Username: c.Username, Password: c.Password.Reveal(), DB: c.DB,
	}
	if c.Logins != nil {
		r.Credentials = credentials[codes.Credentials]{c.Logins}
	}
	if c.UseTLS {
		files, err := tlsfiles.NewReader(tlsfiles.Files(c.TLS), log)
		if err != nil {
			return nil, fmt.Errorf("redis of the codes: %w", err)
		}
		r.TLS = files.Config
	}
	return codes.New(r)
}
