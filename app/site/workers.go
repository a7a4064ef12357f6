package site

import "github.com/evently/workers/monitor/pages/workers"

// makeWorkers makes the pages of the workers.
func makeWorkers(p *Parts) (*Module, error) {
	cfg := workers.Config{Operator: p.Operator, Vitals: p.Vitals.State, JSON: p.WorkersJSON}
	if p.Fleet != nil {
		cfg.Fleet = p.Fleet
	}
	g := workers.New(cfg)
	return &Module{Group: g, Run: g.Run}, nil
}
