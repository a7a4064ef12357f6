package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// inTime is the time within which the relay must have accepted a code, from the first claim
// of its message.
const inTime = 10 * time.Second

// Mails counts what becomes of mails, for /metrics. Its methods may be called by several
// goroutines, and do not block.
type Mails struct {
	outcomes      *prometheus.CounterVec
	phases        *prometheus.HistogramVec
	whole         *prometheus.HistogramVec
	limited       *prometheus.HistogramVec
	bounces       *prometheus.CounterVec
	codes, prompt prometheus.Counter
	unchecked     prometheus.Counter
}

// MailOutcome is the end of one attempt to deliver a mail.
type MailOutcome struct {
	Kind  string        // of the mail
	State string        // as in the history: accepted, deferred, queued, rejected, suppressed, unknown, expired or dead
	Class string        // of the failure, one word; "" without one
	Final bool          // there is no further attempt
	Code  bool          // the mail has a code, which a reader waits for
	Whole time.Duration // since the first claim of the message

	Phases []MailPhase // of the delivery
}

// MailPhase is a phase of a delivery.
type MailPhase struct {
	Name string
	Took time.Duration
}

// NewMails returns Mails that has counted nothing.
func NewMails() *Mails {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}
	}
	histogram := func(name, help string, buckets ...float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	}
	m := &Mails{
		outcomes: prometheus.NewCounterVec(counter("mails_total", "Attempts to deliver mails, by kind of mail, how they ended, and class of failure."), []string{"kind", "state", "class"}),
		phases: prometheus.NewHistogramVec(histogram("mail_phase_duration_seconds", "Duration of the phases of deliveries.",
			.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120), []string{"phase"}),
		whole: prometheus.NewHistogramVec(histogram("mail_accepted_duration_seconds", "Time from the first claim of a message until the relay accepted its mail.",
			.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200), []string{"kind"}),
		limited: prometheus.NewHistogramVec(histogram("mail_limit_wait_seconds", "Pauses of mails that a rate limit held back, by limit.",
			.1, .5, 1, 5, 10, 30, 60, 300, 1800, 3600), []string{"limit"}),
		bounces: prometheus.NewCounterVec(counter("bounces_total", "Bounces that this process has stored, by source, kind, and whether their mail is known."),
			[]string{"source", "kind", "matched"}),
		codes:     prometheus.NewCounter(counter("codes_total", "Mails with codes that were accepted, expired, given up or left unknown. Addresses that the relay refused do not count.")),
		unchecked: prometheus.NewCounter(counter("mails_unchecked_total", "Mails that were sent although it was not known whether their address is suppressed, because the database did not answer in time.")),
		prompt:    prometheus.NewCounter(counter("codes_in_time_total", "Mails with codes that the relay accepted within 10 seconds after the first claim.")),
	}
	for _, limit := range []string{"all mails", "domain", "recipient"} {
		m.limited.WithLabelValues(limit) // a series that begins at 0 shows its first pause
	}
	return m
}

// Ended counts the end of an attempt.
func (m *Mails) Ended(o MailOutcome) {
	m.outcomes.WithLabelValues(o.Kind, o.State, o.Class).Inc()
	for _, p := range o.Phases {
		m.phases.WithLabelValues(p.Name).Observe(p.Took.Seconds())
	}
	accepted := o.State == "accepted"
	if accepted {
		m.whole.WithLabelValues(o.Kind).Observe(o.Whole.Seconds())
	}
	if !o.Code || !o.Final || o.State == "rejected" || o.State == "suppressed" {
		return
	}
	m.codes.Inc()
	if accepted && o.Whole <= inTime {
		m.prompt.Inc()
	}
}

// Limited counts the pause of a mail that a rate limit holds back.
func (m *Mails) Limited(limit string, pause time.Duration) {
	m.limited.WithLabelValues(limit).Observe(pause.Seconds())
}

// Unchecked counts a mail whose address could not be checked.
func (m *Mails) Unchecked() { m.unchecked.Inc() }

// Describe implements [prometheus.Collector].
func (m *Mails) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Mails) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Mails) all() []prometheus.Collector { return append(m.sent(), m.bounces) }

// sent returns the metrics without those of bounces, whose broker is not known.
func (m *Mails) sent() []prometheus.Collector {
	return []prometheus.Collector{m.outcomes, m.phases, m.whole, m.limited, m.codes, m.prompt, m.unchecked}
}
