package app

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/config"
	events "github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/redact"
	"github.com/evently/workers/worker/redis"
)

// Overview reads the overview of the fleet for a command.
type Overview struct {
	*summary.Keeper
	Fleet  *events.State
	Watch  *watch.Watch
	Vitals *vitals.Reader

	Broker     *redis.Broker
	Deliveries *Deliveries // nil: there is no history
	closers    []func() error
}

// OpenOverview returns the overview of the configuration. It dials when it is used. The caller
// must call Close.
func OpenOverview(cfg config.Config) (*Overview, error) {
	log := slog.New(slog.DiscardHandler)
	o := new(Overview)
	var err error
	if o.Broker, err = OpenBroker(cfg, log); err != nil {
		return nil, &UsageError{Err: err}
	}
	o.closers = append(o.closers, o.Broker.Close)
	if o.Fleet, err = events.New(events.Config{Remote: o.Broker, Redactor: redact.New(cfg.Worker.Redact...), Logger: log}); err != nil {
		o.Close()
		return nil, err
	}
	o.Watch = watch.New(watch.Config{Source: o.Broker.Queues(), Queues: cfg.Worker.Queues, Logger: log})
	o.Vitals = vitals.NewReader(o.Broker, o.Broker.Journal(vitals.JournalName))
	c := summary.Config{
		Fleet: o.Fleet, Queues: summary.Watched(o.Watch), Vitals: o.Vitals, Letters: o.Broker.Letters().Counts,
		CodeKinds: []string{string(tasks.OTP{}.Kind())}, CodeTasks: []string{tasks.NameOTP, tasks.Module + "." + tasks.NameOTP}, Logger: log,
	}
	if d, err := OpenDeliveries(cfg); err == nil {
		o.Deliveries, c.Mails = &d, d
		o.closers = append(o.closers, d.Close)
	} else {
		c.NoHistory = err.Error()
	}
	o.Keeper = summary.New(c)
	return o, nil
}

// Run reads until ctx ends, and then returns nil.
func (o *Overview) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return o.Fleet.Run(ctx) })
	g.Go(func() error { return o.Watch.Run(ctx) })
	g.Go(func() error { return o.Keeper.Run(ctx) })
	return g.Wait()
}

// Close closes the connections.
func (o *Overview) Close() {
	for _, c := range o.closers {
		_ = c()
	}
}
