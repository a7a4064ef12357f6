package summary

import (
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/attention"
)

// partsInTrouble lists the parts of a report that are not well.
func partsInTrouble(r monitor.Report) (all []attention.Part) {
	for _, p := range []struct {
		name string
		part monitor.Part
	}{{"database", r.Database}, {"mail", r.Mail}, {"bounces", r.Bounces}, {"events", r.Events}, {"configuration", r.Configuration}} {
		// A gap in the events is told, although they are heard again.
		gap := p.name == "events" && p.part.Reason != ""
		if gap {
			p.part.Text = p.part.Reason
		}
		if !p.part.OK && p.part.Text != "" && !p.part.Unasked() || gap {
			since, _ := time.Parse(time.RFC3339, p.part.Since) // zero: not known
			all = append(all, attention.Part{Name: p.name, Text: p.part.Text, Advice: p.part.Advice, Since: since})
		}
	}
	return all
}
