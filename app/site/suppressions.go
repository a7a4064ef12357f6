package site

import "github.com/evently/workers/monitor/pages/suppressions"

// makeSuppressions makes the pages of the suppressions.
func makeSuppressions(p *Parts) (*Module, error) {
	c := suppressions.Config{Off: p.Config.Delivery.Suppressions == "off"}
	if p.Suppressions != nil {
		c.Store = p.Suppressions
	}
	if p.Deliveries != nil {
		c.CheckKey = p.Deliveries.CheckKey
	}
	return &Module{Group: suppressions.New(c)}, nil
}
