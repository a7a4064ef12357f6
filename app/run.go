package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app/internal/supervisor"
	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/worker/gcfloor"
)

// Run reads the configuration, builds the parts and runs them until a signal. It logs to
// output.
func Run(ctx context.Context, output *os.File) error {
	IgnoreLostOutput()
	reports := supervisor.Start(NewLogger(output, config.Service{}))
	defer reports.Close()
	cfg, early, err := awaitConfig(ctx, output, reports)
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	defer early.close()
	log := NewLogger(output, cfg.Service)
	defer flushLog(log)
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}
	var a *App
	keeper := newKeeper(cfg, log, func(e secrets.Event) { a.shards[0].Auditor.Note(entryOf(e)) })
	cfg = keeper.Attach(cfg)
	if a, err = newWith(cfg, WorkerParts{keeper: keeper}, log); err != nil {
		return err
	}
	defer a.Close()
	defer gcfloor.Keep(gcfloor.Usual)()
	listener, err := early.handOver(ctx, cfg.Service.HealthAddr)
	if err != nil {
		return err
	}
	var relays, modes []string
	for _, s := range cfg.Relays {
		relays, modes = append(relays, net.JoinHostPort(s.Host, fmt.Sprint(s.Port))), append(modes, s.TLSMode)
	}
	log.Info("starting", "version", Version(), "redis", strings.Join(brokersOf(cfg), " "),
		"smtp", strings.Join(relays, " "), "smtp_tls", strings.Join(modes, " "))
	return a.serve(ctx, cfg, listener, reports, log)
}

// RunWorker runs a worker inside a program that handles the signals, until ctx ends. It closes
// the parts of e.
func RunWorker(ctx context.Context, cfg config.Config, e WorkerParts, log *slog.Logger) error {
	a, err := newWith(cfg, e, log)
	if err != nil {
		if e.Health != nil {
			e.Health.Close()
		}
		return err
	}
	defer a.Close()
	return a.run(ctx, cfg, e.Health, nil, log)
}

// brokersOf returns the brokers for the log, without passwords.
func brokersOf(cfg config.Config) (all []string) {
	for _, b := range cfg.Brokers {
		text := b.String()
		if b.Name != "" {
			text = b.Name + "=" + text
		}
		all = append(all, text)
	}
	return all
}

// stopMargin is the time that a stop may take beyond the grace period.
const stopMargin = 7 * time.Second

// serve runs the worker until a signal.
func (a *App) serve(ctx context.Context, cfg config.Config, listener net.Listener, reports *supervisor.Reporter, log *slog.Logger) error {
	ctx, stop := a.stopOnSignal(ctx, cfg, log)
	defer stop()
	return a.run(ctx, cfg, listener, reports, log)
}

// run runs the worker until ctx ends. The mail sender and the health server run a little
// longer, because the worker needs them while it drains.
func (a *App) run(ctx context.Context, cfg config.Config, listener net.Listener, reports *supervisor.Reporter, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outlive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()

	var g errgroup.Group
	bounces, err := a.openBounces(ctx, cfg, log)
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		return err
	}
	pages, err := openEmbedded(ctx, cfg, a.keeper, a.mails, log)
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		bounces.close()
		return err
	}
	defer pages.close()
	shared, err := a.serveHealth(cfg, listener, bounces, log, func(health *monitor.Health) {
		g.Go(func() error {
			defer cancel() // no work without health checks
			return health.Run(outlive)
		})
	})
	if err != nil {
		bounces.close()
		return err
	}
	for _, w := range shared {
		g.Go(func() error { return w.Run(outlive) })
	}
	g.Go(func() error { return pages.Run(ctx) })
	g.Go(func() error {
		err := a.mails.Run(ctx)
		if err != nil {
			cancel()
		}
		return err
	})
	g.Go(func() error { return a.sender.Run(outlive) })
	g.Go(func() error { return a.outage.Run(outlive, a.shards.Hold) })
	g.Go(func() error { return a.keeper.Run(outlive) })
	g.Go(func() error { return a.secrets.Run(ctx) })
	g.Go(func() error { return a.suppressed.Run(ctx) })
	if bounces != nil {
		log.Info("bounces are taken in", "addr", bounces.listens)
	}
	g.Go(func() error {
		err := bounces.Run(ctx)
		if err != nil {
			cancel()
		}
		return err
	})
	g.Go(func() error { return a.shards.Run(ctx, outlive, end) })
	reports.Ready(a.shards.Words)
	defer context.AfterFunc(ctx, func() { reports.Stopping(cfg.Worker.ShutdownGrace + stopMargin) })()
	return g.Wait()
}

// listen opens the port of the health server before anything else begins, so that a port
// conflict is reported at startup. It returns nil when the health server is off.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	return listenOn(ctx, "HEALTH_ADDR", "tcp", addr)
}

// listenOn opens the port of a variable.
func listenOn(ctx context.Context, variable, network, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: another process listens on %s; stop it, or choose another address", variable, addr)
	}
	if err != nil {
		if e, ok := errors.AsType[*os.SyscallError](err); ok {
			err = e.Err // the rest repeats the address
		}
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", variable, addr, err)
	}
	return l, nil
}

// serveHealth prepares the health server, and starts it by run. Without a listener it has no
// clients. The writers tell the fleet of each broker the same; there is none without a broker.
func (a *App) serveHealth(cfg config.Config, listener net.Listener, bounces *bounces, log *slog.Logger, run func(*monitor.Health)) (told []*vitals.Writer, err error) {
	l := listener
	switch {
	case l == nil && a.shards[0].Aside == nil:
		return nil, nil
	case l == nil:
		l = newNowhere()
	}
	health, err := a.health(cfg, l, bounces, log)
	if err != nil {
		l.Close()
		return nil, err
	}
	for _, s := range a.shards {
		w, err := a.newVitals(cfg, s.Aside, health.Report, brokerLogger(log, s.Name))
		if err != nil {
			l.Close()
			return nil, err
		}
		told = append(told, w)
	}
	if listener != nil {
		log.Info("health server listens", "addr", listener.Addr().String())
	}
	run(health)
	return told, nil
}

// health returns the health server.
func (a *App) health(cfg config.Config, listener net.Listener, bounces *bounces, log *slog.Logger) (*monitor.Health, error) {
	state := monitor.State{OK: true, Text: "valid"}
	if n := len(cfg.Warnings); n > 0 {
		state.Text = fmt.Sprintf("valid, with warnings: %d", n)
	}
	c := monitor.HealthConfig{
		Listener:      listener,
		Database:      a.store.Ping,
		Every:         a.healthEvery,
		Mail:          func() monitor.MailState { return mailState(a.sender.Status(), a.outage.relays) },
		Breakers:      a.outage.states,
		Held:          a.outage.heldTasks,
		Bounces:       bounces.state,
		Templates:     a.mails.state,
		Common:        []prometheus.Collector{a.mails},
		Mails:         a.counts,
		Secrets:       a.secrets.list,
		Suppressions:  a.suppressed.latest,
		Spans:         a.spanCounts(),
		Build:         BuildOf().forMetrics(),
		Profiles:      monitor.Profiles(cfg.Service.HealthPprof),
		Configuration: state,
		Logger:        log,
	}
	off := ""
	if a.history == nil {
		off = "off, by LEDGER_DATABASE_URL"
	}
	for _, s := range a.shards {
		c.Brokers = append(c.Brokers, s.Health(off))
	}
	return monitor.NewHealth(c)
}

// faultFresh is how long the fault of a mail tells of the relay. The first retries come sooner.
const faultFresh = 2 * time.Minute

// mailState returns the state with the words of the servers, which an operator needs to
// act. They hold no address, no secret and nothing of a mail: the health port is often
// open to all.
//
// breakers are those of the relays, in the same order. An open one decides: it may have
// opened because of the mails of other workers.
//
// While the breaker is closed, a fault that no mail has met for faultFresh tells nothing about
// the relay of now.
func mailState(relays []mail.RelayStatus, breakers []*breaker.Breaker) monitor.MailState {
	var m monitor.MailState
	unasked := false
	for i, s := range relays {
		if s.Accepted.After(m.Accepted) {
			m.Accepted = s.Accepted
		}
		var b breaker.State
		if i < len(breakers) {
			b = breakers[i].State()
		}
		unasked = unasked || b.Unasked
		switch {
		case b.Phase == breaker.HalfOpen:
			m.Retried = append(m.Retried, s.Name)
		case b.Phase != breaker.Closed:
			m.Faulty = append(m.Faulty, monitor.RelayState{Name: s.Name, Fault: b.Reason, Since: b.Since, Tried: s.Tried, Next: b.Next})
		case s.Fault != nil && time.Since(s.Tried) > faultFresh:
			m.Untried = append(m.Untried, monitor.RelayState{Name: s.Name, Fault: s.Fault.Explain(), Since: s.Since, Tried: s.Tried})
		case s.Fault != nil:
			m.Faulty = append(m.Faulty, monitor.RelayState{Name: s.Name, Fault: s.Fault.Explain(), Since: s.Since, Tried: s.Tried})
		}
	}
	m.Working = len(relays) - len(m.Faulty)
	m.Unasked = unasked && m.Accepted.IsZero() && len(m.Faulty)+len(m.Retried)+len(m.Untried) == 0
	return m
}
