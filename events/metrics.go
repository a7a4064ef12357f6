package events

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcomes of events.
const (
	outcomeQueued  = "queued"  // became a task
	outcomeKnown   = "known"   // another worker, or this one, has made the task before
	outcomeLearned = "learned" // a name
	outcomeRefused = "refused"
	outcomeDropped = "dropped" // Redis did not take the task in time
)

// Metrics are the metrics of a Listener.
type Metrics struct {
	events     *prometheus.CounterVec
	refused    *prometheus.CounterVec
	gaps       prometheus.Counter
	gapSeconds prometheus.Counter
	listening  prometheus.Gauge
}

func newMetrics() *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evently_platform_events_total",
			Help: "Events of the platform that this process has heard, by channel and what became of them."}, []string{"channel", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evently_platform_events_refused_total",
			Help: "Events of the platform that nothing could be made of, by reason."}, []string{"reason"}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{Name: "evently_platform_event_gaps_total",
			Help: "Periods in which no worker has listened to events, each told by one process."}),
		gapSeconds: prometheus.NewCounter(prometheus.CounterOpts{Name: "evently_platform_event_gap_seconds_total",
			Help: "Length of these periods. Events that were published meanwhile are lost."}),
		listening: prometheus.NewGauge(prometheus.GaugeOpts{Name: "evently_platform_events_listening",
			Help: "1 while this process listens to events of the platform."}),
	}
	for _, r := range Reasons() {
		m.refused.WithLabelValues(string(r))
	}
	return m
}

// NewMetrics returns the metrics of a listener that has heard nothing, to describe them.
func NewMetrics() *Metrics { return newMetrics() }

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.refused, m.gaps, m.gapSeconds, m.listening}
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *Metrics) count(channel, outcome string) { m.events.WithLabelValues(channel, outcome).Inc() }

func (m *Metrics) refuse(channel string, r Reason) {
	m.count(channel, outcomeRefused)
	m.refused.WithLabelValues(string(r)).Inc()
}

func (m *Metrics) gap(d time.Duration) {
	m.gaps.Inc()
	m.gapSeconds.Add(max(0, d.Seconds()))
}

func (m *Metrics) listen(yes bool) {
	m.listening.Set(0)
	if yes {
		m.listening.Set(1)
	}
}
