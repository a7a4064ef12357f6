package site

import (
	"context"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/pages/system"
)

// makeSystem makes the pages of health, configuration and incidents.
func makeSystem(p *Parts) (*Module, error) {
	return &Module{Group: system.New(system.Config{
		Vitals: p.Vitals.State, Settings: p.Config.Report(), Warnings: p.Config.Warnings,
		Fingerprints: func(ctx context.Context) ([]config.Fingerprint, error) {
			key, err := p.Broker.Secret(ctx)
			if err != nil {
				return nil, err
			}
			return p.Config.Fingerprints(key), nil
		},
	})}, nil
}
