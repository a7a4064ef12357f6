package overview

import (
	"time"

	"github.com/evently/workers/monitor/web"
)

// notKnown is the state of what only Redis tells, while it does not answer.
var notKnown = web.Chip{Text: "not known", Tone: web.Wait}

// forget hides what was true when Redis answered last: it would look like news.
func (v *view) forget() {
	for i := range v.Workers {
		v.Workers[i].State, v.Workers[i].Trouble, v.Workers[i].Active = notKnown, "", "–"
	}
	for i := range v.Lamps {
		l := &v.Lamps[i]
		l.State, l.Tone, l.Text, l.Since = notKnown.Text, notKnown.Tone, "", time.Time{}
	}
}
