package app

import (
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/tasks"
)

// observer counts the ends of mails for /metrics.
type observer struct{ counts *monitor.Mails }

// Ended implements [tasks.Observer].
func (o *observer) Ended(e tasks.Ended) {
	m := monitor.MailOutcome{Kind: e.Kind, State: e.State.String(), Class: e.Class, Final: e.Final, Code: e.Code, Whole: e.Whole}
	t := e.Times
	for _, p := range []monitor.MailPhase{
		{Name: "wait", Took: t.Wait}, {Name: "connect", Took: t.Connect}, {Name: "mail", Took: t.Mail}, {Name: "rcpt", Took: t.Rcpt},
		{Name: "data", Took: t.Data}, {Name: "guard", Took: t.Guard}, {Name: "final", Took: t.Final},
	} {
		if p.Took > 0 {
			m.Phases = append(m.Phases, p)
		}
	}
	o.counts.Ended(m)
}

// Limited implements [tasks.Observer].
func (o *observer) Limited(limit string, pause time.Duration) { o.counts.Limited(limit, pause) }

// Unchecked implements [tasks.Observer].
func (o *observer) Unchecked() { o.counts.Unchecked() }
