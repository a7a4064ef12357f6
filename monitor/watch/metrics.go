package watch

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the queues, as each process sees them.
var (
	messagesDesc = prometheus.NewDesc("evently_queue_messages", "Messages that wait in a queue, by the priority of their list.", []string{"queue", "priority"}, nil)
	ageDesc      = prometheus.NewDesc("evently_queue_oldest_age_seconds", "Age of the oldest message of a queue; 0 without messages. After a start with a full queue it is a lower bound.", []string{"queue"}, nil)
	waitDesc     = prometheus.NewDesc("evently_queue_wait_seconds", "Time that messages have waited in a queue before a worker took them, to a second. Messages that a Python worker took between two looks are not counted.", []string{"queue"}, nil)
	emptyDesc    = prometheus.NewDesc("evently_queue_empty_in_seconds", "Time until a queue is empty at the rate of the last minute; absent when it does not become so.", []string{"queue"}, nil)
	inDesc       = prometheus.NewDesc("evently_queue_arrived_total", "Messages that arrived in a queue, as far as looks and workers tell.", []string{"queue"}, nil)
	outDesc      = prometheus.NewDesc("evently_queue_taken_total", "Messages that left a queue, as far as looks and workers tell.", []string{"queue"}, nil)
	pausedDesc   = prometheus.NewDesc("evently_queue_paused", "1 while workers of this kind take nothing from a queue because an operator has paused it.", []string{"queue"}, nil)
	unackedDesc  = prometheus.NewDesc("evently_unacked_messages", "Messages that workers hold, of all queues, also ones that wait for their time.", nil, nil)
	lookDesc     = prometheus.NewDesc("evently_queue_look_timestamp_seconds", "Unix time of the last answered look at the queues; 0: none yet.", nil, nil)
)

// Collector makes metrics of the latest look. It does no I/O.
type Collector struct{ watch *Watch }

// Collector returns the metrics of the queues.
func (w *Watch) Collector() *Collector { return &Collector{w} }

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, ageDesc, waitDesc, emptyDesc, inDesc, outDesc, pausedDesc, unackedDesc, lookDesc} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.watch.State()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...) // the labels are those of the description
	}
	look := 0.0
	if !s.At.IsZero() {
		look = float64(s.At.UnixMilli()) / 1000
	}
	gauge(lookDesc, look)
	if s.Unacked >= 0 {
		gauge(unackedDesc, float64(s.Unacked))
	}
	for _, q := range s.Queues {
		q.Name = strings.ToValidUTF8(q.Name, "\uFFFD") // labels must be UTF-8
		for _, l := range q.Lists {
			gauge(messagesDesc, float64(l.Messages), q.Name, strconv.Itoa(l.Priority))
		}
		gauge(ageDesc, q.Oldest.Seconds, q.Name)
		if q.Empty > 0 || q.Messages == 0 {
			gauge(emptyDesc, q.Empty.Seconds(), q.Name)
		}
		paused := 0.0
		if q.Paused != nil {
			paused = 1
		}
		gauge(pausedDesc, paused, q.Name)
		ch <- prometheus.MustNewConstMetric(inDesc, prometheus.CounterValue, float64(q.Arrived), q.Name)
		ch <- prometheus.MustNewConstMetric(outDesc, prometheus.CounterValue, float64(q.Taken), q.Name)
		buckets, n := map[float64]uint64{}, uint64(0)
		for i, bound := range Buckets {
			n += q.Waits.Counts[i]
			buckets[bound] = n
		}
		ch <- prometheus.MustNewConstHistogram(waitDesc, q.Waits.Count(), q.Waits.Sum, buckets, q.Name)
	}
}
