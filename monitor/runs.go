package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Runs counts runs of tasks, for /metrics. Its methods may be called by several goroutines, and
// do not block. The names of tasks are labels, so only tasks that the worker knows may be
// counted.
type Runs struct {
	durations *prometheus.HistogramVec
	outcomes  *prometheus.CounterVec
	panics    prometheus.Counter
}

// NewRuns returns Runs that has counted nothing.
func NewRuns() *Runs {
	return &Runs{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "task_duration_seconds", Help: "Duration of runs of tasks.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"task"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "task_runs_total", Help: "Runs of tasks, by task and by how they ended.",
		}, []string{"task", "outcome"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "panics_total", Help: "Handlers of tasks and deliveries of mails that have panicked.",
		}),
	}
}

// Ended counts the end of a run. outcome is one of few words.
func (r *Runs) Ended(task, outcome string, took time.Duration) {
	r.durations.WithLabelValues(task).Observe(took.Seconds())
	r.outcomes.WithLabelValues(task, outcome).Inc()
}

// Panicked counts a panic.
func (r *Runs) Panicked() { r.panics.Inc() }

// Describe implements [prometheus.Collector].
func (r *Runs) Describe(ch chan<- *prometheus.Desc) {
	r.durations.Describe(ch)
	r.outcomes.Describe(ch)
	r.panics.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (r *Runs) Collect(ch chan<- prometheus.Metric) {
	r.durations.Collect(ch)
	r.outcomes.Collect(ch)
	r.panics.Collect(ch)
}

// Build names the build of the program.
type Build struct{ Version, Revision, Go string }

// buildInfo makes the metric of the build.
func buildInfo(b Build) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the version, the revision and the version of Go as labels.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	}, func() float64 { return 1 })
}

// SuppressionCounts are the suppressions in force by class; nil: not known.
type SuppressionCounts map[string]int64

// suppressionCollector makes metrics of the suppressions.
type suppressionCollector struct {
	counts func() SuppressionCounts
	active *prometheus.Desc
}

func newSuppressionCollector(counts func() SuppressionCounts) *suppressionCollector {
	return &suppressionCollector{counts: counts, active: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "suppressions_active"),
		"Suppressions in force, by class; the same number in all workers.", []string{"class"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *suppressionCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.active }

// Collect implements [prometheus.Collector].
func (c *suppressionCollector) Collect(ch chan<- prometheus.Metric) {
	for class, n := range c.counts() {
		ch <- prometheus.MustNewConstMetric(c.active, prometheus.GaugeValue, float64(n), class)
	}
}

// SpanCounts are the numbers of spans of traces that were exported, dropped because too many
// waited, and lost because the collector did not take them.
type SpanCounts struct{ Exported, Dropped, Failed int64 }

// spanCollector makes metrics of the export of traces.
type spanCollector struct {
	counts func() SpanCounts
	spans  *prometheus.Desc
}

func newSpanCollector(counts func() SpanCounts) *spanCollector {
	return &spanCollector{counts: counts, spans: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "trace_spans_total"),
		"Spans of traces that were exported, dropped because too many waited, or lost because the collector did not take them (failed).", []string{"outcome"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *spanCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.spans }

// Collect implements [prometheus.Collector].
func (c *spanCollector) Collect(ch chan<- prometheus.Metric) {
	n := c.counts()
	for outcome, count := range map[string]int64{"exported": n.Exported, "dropped": n.Dropped, "failed": n.Failed} {
		ch <- prometheus.MustNewConstMetric(c.spans, prometheus.CounterValue, float64(count), outcome)
	}
}
