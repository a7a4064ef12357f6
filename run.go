package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/gcfloor"
)

// runCmd is the worker.
type runCmd struct{}

// Help is the long help of the command.
func (runCmd) Help() string {
	return `Consumes until SIGTERM, SIGINT or SIGHUP, which a terminal that closes sends.
Then it takes nothing more, finishes what is running for up to SHUTDOWN_GRACE,
gives back the rest to the front of its queue and exits with 0. A second SIGTERM
or SIGINT ends the grace period at once, a third one the process; SIGQUIT leaves
no grace from the start. SIGHUP does not restart the worker, and does nothing
under nohup. SIGUSR1 logs the stacks of all goroutines.

Redis, PostgreSQL and the mail relay may be down at the start and at any time
after; HEALTH_ADDR and the log say so. Without Redis the worker waits. Without
PostgreSQL or the relay it goes on to take tasks: their mails are retried, and
become dead letters when MAX_RETRIES are used up. A relay that refuses the
login, or puts all mails off, uses up no retries.
A wrong configuration is told as a whole, and the exit code is 2.

Examples:

    REDIS_HOST=redis SMTP_HOST=smtp.example.com ` + programName + `
    CONCURRENCY=16 SHUTDOWN_GRACE=60 ` + programName + ` run

The variables, all optional. A variable that is empty counts as not set; times
are seconds such as 90 or 1.5, or have a unit such as 90s, 5m or 2h. Quotes
around a whole value, and a comment behind it, are left out with a warning.

` + config.Help()
}

// Run reads the configuration, builds the parts and runs them.
func (runCmd) Run(ctx context.Context, t terminal) error {
	ignoreLostOutput()
	cfg, early, err := awaitConfig(ctx, t)
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	defer early.close()
	log := newLogger(t.err, cfg.Service)
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}
	p, err := build(cfg, log)
	if err != nil {
		return &usageError{err: err} // parts check values, they do not connect
	}
	defer p.close()
	defer gcfloor.Keep(gcfloor.Usual)()
	listener, err := early.handOver(ctx, cfg.Service.HealthAddr)
	if err != nil {
		return err
	}
	log.Info("starting", "version", buildVersion(), "redis", cfg.Redis.String(),
		"smtp", net.JoinHostPort(cfg.SMTP.Host, fmt.Sprint(cfg.SMTP.Port)), "smtp_tls", cfg.SMTP.TLSMode)
	return p.serve(ctx, cfg, listener, log)
}

// serve runs the worker until a signal, and what it needs a little longer: mails
// go out, and probes want an answer, while the worker drains.
func (p *parts) serve(ctx context.Context, cfg config.Config, listener net.Listener, log *slog.Logger) error {
	ctx, stop := p.stopOnSignal(ctx, log)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outlive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()

	var g errgroup.Group
	if listener != nil {
		health, err := p.health(cfg, listener, log)
		if err != nil {
			listener.Close()
			return err
		}
		log.Info("health server listens", "addr", listener.Addr().String())
		g.Go(func() error {
			defer cancel() // without it nobody could see how we are
			return health.Run(outlive)
		})
	}
	g.Go(func() error {
		err := p.mails.wait(ctx)
		if err != nil {
			cancel()
		}
		return err
	})
	g.Go(func() error { return p.sender.Run(outlive) })
	g.Go(func() error {
		defer end()
		return p.worker.Run(ctx)
	})
	return g.Wait()
}

// listen opens the port of the health server before anything else begins: a
// port that is taken shall not be noticed in the middle of work. It returns nil
// when there is to be no health server.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("HEALTH_ADDR: another process listens on %s; stop it, or choose another address", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("HEALTH_ADDR: listen on %s: %w", addr, err)
	}
	return l, nil
}

// health makes the health server.
func (p *parts) health(cfg config.Config, listener net.Listener, log *slog.Logger) (*monitor.Health, error) {
	state := monitor.State{OK: true, Text: "valid"}
	if n := len(cfg.Warnings); n > 0 {
		state.Text = fmt.Sprintf("valid, with warnings: %d", n)
	}
	return monitor.NewHealth(monitor.HealthConfig{
		Listener:      listener,
		Worker:        func() monitor.WorkerState { return workerState(p.worker.Status()) },
		Database:      p.store.Ping,
		Mail:          func() monitor.MailState { return mailState(p.sender.Status()) },
		Profiles:      monitor.Profiles(cfg.Service.HealthPprof),
		Configuration: state,
		Logger:        log,
	})
}

// mailState gives the words of the server, which a person needs to act. They hold no
// address, no secret and nothing of a mail: the health port is often open to all.
func mailState(s mail.Status) monitor.MailState {
	m := monitor.MailState{Accepted: s.Accepted, Since: s.Since, Tried: s.Tried}
	if s.Fault != nil {
		m.Fault = s.Fault.Explain()
	}
	return m
}

func workerState(s worker.Status) monitor.WorkerState {
	return monitor.WorkerState{
		Node: s.Node, State: s.State.String(), Consuming: s.Consuming, LastLook: s.LastLook, Faults: s.Faults,
		Concurrency: s.Concurrency, MinConcurrency: s.Autoscale.Min, MaxConcurrency: s.Autoscale.Max, Running: s.Running, Waiting: s.Reserved + s.Scheduled,
		Received: s.Received, Succeeded: s.Succeeded, Failed: s.Failed, Retried: s.Retried,
		Revoked: s.Revoked, DeadLetters: s.DeadLettered,
	}
}
