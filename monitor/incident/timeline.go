package incident

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/store/ledger"
)

// Moment is something that happened.
type Moment struct {
	At   time.Time
	Bad  bool
	What string // a few words: whose, and which part
	Text string
}

// mostMoments bounds a timeline. The latest ones stay.
const mostMoments = 1000

// Timeline returns what happened, the oldest first: changes of health, mails that were not
// accepted, and the beginning of what needed attention.
func (b *Bundle) Timeline() []Moment {
	var all []Moment
	for _, c := range b.Health.Changes {
		all = append(all, Moment{At: c.At, Bad: !c.OK || c.Part == "status" && c.Text != "healthy", What: c.Node + ": " + strings.ReplaceAll(c.Part, "_", " "), Text: c.Text})
	}
	for _, m := range b.Mails {
		if m.State == ledger.Accepted {
			continue
		}
		text := m.Reason
		switch {
		case text == m.State.String():
			text = "" // it stands before it
		case m.Class != "":
			text = strings.TrimSpace(m.Class + ": " + text)
		}
		all = append(all, Moment{At: m.StateAt, Bad: m.State != ledger.Queued && m.State != ledger.Sending, What: fmt.Sprintf("%s to %s: %s", m.Kind, cmp.Or(m.To, m.Domain, "an unknown address"), m.State), Text: text})
	}
	for _, f := range b.Summary.Findings {
		all = append(all, Moment{At: f.Since, Bad: true, What: "needs attention", Text: f.Text})
	}
	sorting.Stable(all, func(a, b Moment) int { return a.At.Compare(b.At) })
	return all[max(0, len(all)-mostMoments):]
}
