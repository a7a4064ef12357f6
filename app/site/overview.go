package site

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/incident"
	"github.com/evently/workers/monitor/pages/overview"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/tasks"
)

// makeSummary makes what reads the health of the fleet, and keeps what the overview shows.
func makeSummary(p *Parts) (*Module, error) {
	p.Vitals = vitals.NewReader(p.Broker, p.Broker.Journal(vitals.JournalName))
	c := summary.Config{
		Fleet: p.Fleet, Queues: summary.Watched(p.Watch), Vitals: p.Vitals, Letters: p.Broker.Letters().Counts,
		CodeKinds: []string{string(tasks.OTP{}.Kind())}, CodeTasks: []string{tasks.NameOTP, tasks.Module + "." + tasks.NameOTP},
		NoHistory: p.NoHistory, Logger: p.Log,
	}
	if p.Deliveries != nil {
		c.Mails = p.Deliveries
	}
	p.Summary = summary.New(c)
	return &Module{Run: p.Summary.Run}, nil
}

// makeOverview makes the overview.
func makeOverview(p *Parts) (*Module, error) {
	return &Module{Group: overview.New(overview.Config{Summary: p.Summary.Summary})}, nil
}

// Overview is the overview without pages.
type Overview struct {
	*summary.Keeper
	Parts Parts

	runs []func(ctx context.Context) error
}

// NewOverview makes the overview for a command. Nothing connects yet.
func NewOverview(p Parts) (*Overview, error) {
	p.Config.Service.MetricsAddr = "" // a command serves no metrics, and has no Flower to ask for them
	o := new(Overview)
	for _, make := range []func(*Parts) (*Module, error){makeFleet, makeWatch, makeSummary} {
		m, err := make(&p)
		if err != nil {
			return nil, err
		}
		o.runs = append(o.runs, m.Run)
	}
	o.Keeper, o.Parts = p.Summary, p
	return o, nil
}

// Run reads until ctx ends, and then returns nil.
func (o *Overview) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, run := range o.runs {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// incidentOf returns what a bundle of an incident is made of.
func incidentOf(p *Parts) incident.Sources {
	hidden := p.Hidden
	if hidden == nil {
		passwords := p.Config.Passwords()
		hidden = func() []string { return passwords }
	}
	s := incident.Sources{
		Program: "evently-workers " + p.Version, Summary: p.Summary.Summary, Vitals: p.Vitals.State, Watch: p.Watch, Fleet: p.Fleet,
		Settings: p.Config.Report(), Fingerprints: p.fingerprints, Secrets: hidden,
	}
	if p.Deliveries != nil {
		s.Mails = p.Deliveries
	}
	return s
}

// fingerprints returns the digests of the configuration, with the key of the fleet.
func (p *Parts) fingerprints(ctx context.Context) ([]config.Fingerprint, error) {
	key, err := p.Broker.Secret(ctx)
	if err != nil {
		return nil, err
	}
	if p.Latest != nil {
		return p.Latest().Fingerprints(key), nil
	}
	return p.Config.Fingerprints(key), nil
}

// Incident returns what a bundle of an incident is made of.
func (o *Overview) Incident() incident.Sources { return incidentOf(&o.Parts) }
