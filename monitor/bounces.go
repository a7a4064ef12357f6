package monitor

import (
	"fmt"
	"time"
)

// BouncesState describes the servers that take bounces in.
type BouncesState struct {
	Listens string    // where, in words that all may read; "": nowhere
	Stored  int64     // bounces since the start
	Last    time.Time // when the last one was stored; zero: none was

	// Failing is since when no bounce can be stored; zero: the last one was stored.
	Failing time.Time
}

// bouncesState tells whether bounces are taken in. Like the history it decides neither the
// readiness nor the status of the worker: senders of bounces try again.
func (h *Health) bouncesState(now time.Time) State {
	if h.cfg.Bounces == nil {
		return State{OK: true, Text: "not used"}
	}
	s := h.cfg.Bounces()
	switch {
	case s.Listens == "":
		return State{OK: true, Text: "not used"}
	case !s.Failing.IsZero():
		return State{Text: fmt.Sprintf("no bounce can be stored for %s; their senders try again", span(now.Sub(s.Failing)))}
	case s.Last.IsZero():
		return State{OK: true, Text: s.Listens + "; no bounce yet"}
	}
	return State{OK: true, Text: fmt.Sprintf("%s; stored: %d, the last one %s ago", s.Listens, s.Stored, span(now.Sub(s.Last)))}
}

// Bounced counts a bounce that was stored.
func (m *Mails) Bounced(source, kind string, matched bool) {
	label := "no"
	if matched {
		label = "yes"
	}
	m.bounces.WithLabelValues(source, kind, label).Inc()
}
