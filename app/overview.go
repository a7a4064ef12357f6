package app

import (
	"log/slog"

	"github.com/evently/workers/app/site"
	"github.com/evently/workers/config"
)

// Overview reads the overview of the fleet for a command.
type Overview struct {
	*site.Overview
	monitor Monitor // holds the connections
}

// OpenOverview returns the overview of the configuration. It dials when it is used. The caller
// must call Close.
func OpenOverview(cfg config.Config) (*Overview, error) {
	log := slog.New(slog.DiscardHandler)
	o := new(Overview)
	p := site.Parts{Config: cfg, Version: Version(), Log: log}
	var err error
	if p.Broker, err = OpenBroker(cfg, log); err != nil {
		return nil, &UsageError{Err: err}
	}
	o.monitor.closers = append(o.monitor.closers, p.Broker.Close)
	if err := o.monitor.openHistory(cfg, &p); err != nil {
		o.Close()
		return nil, err
	}
	if o.Overview, err = site.NewOverview(p); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Close closes the connections.
func (o *Overview) Close() { o.monitor.Close() }
