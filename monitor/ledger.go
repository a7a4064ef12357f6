package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LedgerState describes the history of mails.
type LedgerState struct {
	Off     bool      // no history is wanted; Reason says by which setting
	Writing bool      // events reach the database, by this worker or another one
	Reason  string    // why not, in words that all may read
	Since   time.Time // of the last change of Writing

	Unknown bool          // the stream was not looked at yet, or does not answer: the next three are not known
	Waiting int64         // events that are not in the database yet
	Lag     time.Duration // age of the oldest one
	Dropped int64         // events that were lost, since the start of the stream

	// Counters of this process.
	Written   int64 // events
	Skipped   int64 // events that cannot be stored
	Discarded int64 // events removed while there was no history

	Stray int64 // rows outside of the partitions of the months
}

// mostLag is the age of an event from which the history counts as behind.
const mostLag = time.Minute

// historyPart tells whether the history of mails is kept. It decides neither the readiness
// nor the status of the worker: mails are sent without a history.
func (b *brokerHealth) historyPart(now time.Time) Part {
	if b.cfg.Ledger == nil {
		return newPart(State{OK: true, Text: "not used"})
	}
	s := b.cfg.Ledger()
	p := newPart(s.state(now)).from(s.Since)
	switch {
	case s.Off:
		return p
	case s.Writing && !p.OK:
		p = p.degraded(p.Text, "the events follow by themselves; see how busy the database of LEDGER_DATABASE_URL is").from(now.Add(-s.Lag))
	case s.Writing && s.Stray > 0:
		p = p.degraded(fmt.Sprintf("rows outside of the partitions: %d", s.Stray), "see docs/ledger.md")
		p.Since = "" // not that of Writing
	}
	p.check("database", statusOf(s.Writing, PartFailed), s.where())
	p.check("lag", statusOf(s.Lag <= mostLag, PartDegraded), s.backlog())
	p.check("losses", statusOf(s.Dropped == 0, PartDegraded), s.losses())
	return p.advised("see that Redis and the database of LEDGER_DATABASE_URL answer; the command doctor examines them")
}

// where tells where the events go.
func (s *LedgerState) where() string {
	if s.Writing {
		return "events are stored"
	}
	return s.Reason
}

// losses tells how many events were lost.
func (s *LedgerState) losses() string {
	if s.Unknown {
		return "not known"
	}
	return fmt.Sprintf("events lost: %d", s.Dropped)
}

// backlog tells how many events wait, and for how long.
func (s *LedgerState) backlog() string {
	switch {
	case s.Unknown:
		return "not known"
	case s.Waiting == 0:
		return "events that wait: 0"
	}
	return fmt.Sprintf("events that wait: %d, the oldest for %s", s.Waiting, span(s.Lag))
}

// state returns the state in words.
func (s *LedgerState) state(now time.Time) State {
	waiting := ""
	if s.Waiting > 0 {
		waiting = "; " + s.backlog()
	}
	if s.Dropped > 0 {
		waiting += fmt.Sprintf("; events lost: %d", s.Dropped)
	}
	if s.Writing && s.Stray > 0 {
		waiting += fmt.Sprintf("; rows outside of the partitions: %d, see docs/ledger.md", s.Stray)
	}
	switch {
	case s.Off:
		return State{OK: true, Text: s.Reason}
	case !s.Writing:
		return State{Text: fmt.Sprintf("%s; since %s; no mail waits for it%s", s.Reason, span(now.Sub(s.Since)), waiting)}
	case s.Lag > mostLag:
		return State{Text: "history is behind" + waiting}
	}
	return State{OK: true, Text: "on" + waiting}
}

// ledgerCollector makes metrics of the history. Those of the stream are absent until it was looked
// at, and while it does not answer: after a zero the first number of dropped events would look like
// new losses. Stray rows are absent while the database does not tell them.
func ledgerCollector(state func() LedgerState) []prometheus.Collector {
	gauge := func(name, help string, value func(LedgerState) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, func() float64 { return value(state()) })
	}
	counter := func(name, help string, value func(LedgerState) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, func() float64 { return float64(value(state())) })
	}
	looked := func(c prometheus.Collector) prometheus.Collector {
		return conditional{c, func() bool { return !state().Unknown }}
	}
	writing := func() bool { return state().Writing }
	return []prometheus.Collector{
		gauge("ledger_up", "1 while events of mails reach the database of the history, 0 otherwise.", func(s LedgerState) float64 { return boolean(s.Writing) }),
		looked(gauge("ledger_waiting_events", "Events of mails that are not in the database yet.", func(s LedgerState) float64 { return float64(s.Waiting) })),
		looked(gauge("ledger_lag_seconds", "Age of the oldest event of a mail that is not in the database yet.", func(s LedgerState) float64 { return s.Lag.Seconds() })),
		conditional{gauge("ledger_stray_rows", "Rows of the history outside of the partitions of the months.", func(s LedgerState) float64 { return float64(s.Stray) }), writing},
		looked(counter("ledger_dropped_events_total", "Events of mails that were lost because the stream was full.", func(s LedgerState) int64 { return s.Dropped })),
		counter("ledger_written_events_total", "Events of mails that this process has stored.", func(s LedgerState) int64 { return s.Written }),
		counter("ledger_skipped_events_total", "Events of mails that this process could not store.", func(s LedgerState) int64 { return s.Skipped }),
		counter("ledger_discarded_events_total", "Events of mails that this process removed while there was no history.", func(s LedgerState) int64 { return s.Discarded }),
	}
}
