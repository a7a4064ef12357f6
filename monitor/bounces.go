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

// bouncesPart tells whether bounces are taken in. Like the history it decides neither the
// readiness nor the status of the worker: senders of bounces try again.
func (h *Health) bouncesPart(now time.Time) Part {
	if h.cfg.Bounces == nil {
		return newPart(State{OK: true, Text: "not used"})
	}
	s := h.cfg.Bounces()
	if s.Listens == "" {
		return newPart(State{OK: true, Text: "not used"})
	}
	p := newPart(s.state(now)).from(s.Failing).answered(s.Last, now)
	p.check("listens", PartOK, s.Listens)
	p.check("stored", p.Status, fmt.Sprintf("bounces stored since the start: %d", s.Stored))
	return p.advised("correct the database of LEDGER_DATABASE_URL, see /health/history")
}

// state returns the state in words.
func (s *BouncesState) state(now time.Time) State {
	switch {
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
