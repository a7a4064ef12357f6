package site

import (
	"github.com/evently/workers/monitor/pages/system"
)

// makeSystem makes the pages of health, configuration and incidents.
func makeSystem(p *Parts) (*Module, error) {
	return &Module{Group: system.New(system.Config{
		Vitals: p.Vitals.State, Settings: p.Config.Report(), Warnings: p.Config.Warnings,
		Fingerprints: p.fingerprints, Secrets: p.Secrets, Incident: incidentOf(p),
	})}, nil
}
