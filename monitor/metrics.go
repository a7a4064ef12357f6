package monitor

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metric is one series, worked out when it is asked for.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func() float64
	label []string // values of the variable labels
}

// collector makes metrics of what the health server knows. It does no I/O.
type collector struct{ metrics []metric }

const namespace = "evently_worker"

// gauge adds a gauge.
func (c *collector) gauge(name, help string, value func() float64) {
	c.metrics = append(c.metrics, metric{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil), prometheus.GaugeValue, value, nil})
}

// newWorkerCollector makes the metrics of one worker.
func newWorkerCollector(state func() WorkerState) *collector {
	c := new(collector)
	gauge := func(name, help string, value func(WorkerState) float64) {
		c.gauge(name, help, func() float64 { return value(state()) })
	}
	counter := func(desc *prometheus.Desc, value func(WorkerState) int64, label ...string) {
		c.metrics = append(c.metrics, metric{desc, prometheus.CounterValue, func() float64 { return float64(value(state())) }, label})
	}
	gauge("consuming", "1 while messages are taken from the queues.", func(w WorkerState) float64 { return boolean(w.Consuming) })
	gauge("last_look_timestamp_seconds", "Unix time of the last completed look into the queues; 0: none yet.", func(w WorkerState) float64 { return seconds(w.LastLook) })
	gauge("slots", "Tasks that may run at once.", func(w WorkerState) float64 { return float64(w.Concurrency) })
	gauge("slots_min", "Lower bound of the slots that autoscaling may set; without autoscaling, the slots.", func(w WorkerState) float64 { return float64(w.MinConcurrency) })
	gauge("slots_max", "Most slots that autoscaling allows.", func(w WorkerState) float64 { return float64(w.MaxConcurrency) })
	gauge("up", "1 while the worker runs, 0 while it waits for its configuration or stops.", func(w WorkerState) float64 { return boolean(w.State == "running") })
	gauge("handlers_left_behind", "Handlers that go on after the worker stopped waiting for them.", func(w WorkerState) float64 { return float64(w.LeftBehind) })
	gauge("redis_faults", "Keys of Redis in the way, and other faults there that a person must correct; see /health/keys.", func(w WorkerState) float64 { return float64(len(w.Faults)) })
	gauge("tasks_running", "Tasks that run now.", func(w WorkerState) float64 { return float64(w.Running) })
	gauge("tasks_waiting", "Tasks that were taken from the queues and wait for a slot or for their time.", func(w WorkerState) float64 { return float64(w.Waiting) })

	received := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "messages_received_total"), "Messages taken from the queues.", nil, nil)
	counter(received, func(w WorkerState) int64 { return w.Received })
	letters := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "dead_letters_total"), "Messages set aside as dead letters.", nil, nil)
	counter(letters, func(w WorkerState) int64 { return w.DeadLetters })
	tasks := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "tasks_total"), "Runs of tasks, by how they ended.", []string{"outcome"}, nil)
	counter(tasks, func(w WorkerState) int64 { return w.Succeeded }, "succeeded")
	counter(tasks, func(w WorkerState) int64 { return w.Failed }, "failed")
	counter(tasks, func(w WorkerState) int64 { return w.Retried }, "retried")
	counter(tasks, func(w WorkerState) int64 { return w.Revoked }, "revoked")
	return c
}

// newMailCollector makes the metrics of the mail relays.
func newMailCollector(state func() MailState) *collector {
	c := new(collector)
	gauge := func(name, help string, value func(MailState) float64) {
		c.gauge(name, help, func() float64 { return value(state()) })
	}
	gauge("mail_faulty", "1 while the mail server takes no mails of ours, by what the last mail met; with several, while none takes them.", func(m MailState) float64 { return boolean(m.stuck()) })
	gauge("mail_relays_faulty", "Mail relays that take no mails of ours, by what the last mail met.", func(m MailState) float64 { return float64(len(m.Faulty)) })
	gauge("mail_accepted_timestamp_seconds", "Unix time of the last mail that the mail server took; 0: none yet.", func(m MailState) float64 { return seconds(m.Accepted) })
	return c
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(), m.label...) // the labels are those of the description
	}
}

// Registry returns the metrics of the worker, beside the figures of Go and the process.
func (h *Health) Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	for _, b := range h.brokers {
		b.register(r)
	}
	if h.isNamed() && h.cfg.Mails != nil {
		r.MustRegister(h.cfg.Mails.bounces)
	}
	r.MustRegister(h.cfg.Common...)
	if h.cfg.Mail != nil {
		r.MustRegister(newMailCollector(h.cfg.Mail))
	}
	if h.cfg.Suppressions != nil {
		r.MustRegister(newSuppressionCollector(h.cfg.Suppressions))
	}
	if h.cfg.Spans != nil {
		r.MustRegister(newSpanCollector(h.cfg.Spans))
	}
	if h.cfg.Secrets != nil {
		r.MustRegister(newSecretCollector(h))
	}
	if h.cfg.Build != (Build{}) {
		r.MustRegister(buildInfo(h.cfg.Build))
	}
	r.MustRegister(newBreakerCollector(h), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// metrics serves the metrics in the format of Prometheus.
func (h *Health) metrics() http.Handler {
	return promhttp.HandlerFor(h.Registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 3})
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
