package site

import (
	"github.com/evently/workers/monitor/pages/audit"
)

// makeAudit makes the pages of the audit trail.
func makeAudit(p *Parts) (*Module, error) {
	return &Module{Group: audit.New(audit.Config{Trail: p.Audited, Jobs: p.Jobs})}, nil
}
