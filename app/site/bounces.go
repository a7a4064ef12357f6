package site

import (
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/pages/bounces"
	"github.com/evently/workers/store/ledger"
)

// makeBounces makes the pages of the bounces.
func makeBounces(p *Parts) (*Module, error) {
	if p.DB == nil {
		return &Module{Group: bounces.New(nil)}, nil
	}
	return &Module{Group: bounces.New(ledger.NewBounces(ledger.BouncesConfig{DB: p.DB, Sealer: p.Sealer, Reference: mail.Reference}))}, nil
}
