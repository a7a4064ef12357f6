package site

import (
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/redact"
)

// makeFleet makes what listens to the events of all workers, once for all pages.
func makeFleet(p *Parts) (*Module, error) {
	redactor := redact.New(p.Config.Worker.Redact...)
	state, err := fleet.New(fleet.Config{Remote: p.Broker, Redactor: redactor, Logger: p.Log})
	if err != nil {
		return nil, err
	}
	p.Fleet = state
	return &Module{Run: state.Run}, nil
}
