// Package exporter serves the metrics of celery-exporter, so that its dashboards and alerts
// go on to work: names, labels and buckets are the same.
//
// The meaning is that of celery-exporter 0.12, with these differences. The length of a queue
// counts the messages of all priorities. The queue of a task is known also without the event
// task-sent when its worker consumes one queue alone. Several workers of one host share a label:
// together they are up while one of them is, and their running tasks are added up. The processes
// of a worker of this kind are its slots, because its one process runs as many tasks at once. The
// number of label sets is bounded: further ones become "other". The series _created of
// prometheus_client are left out, as no dashboard uses them and they double the number of series.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/internal/exposition"
)

// Defaults of [Config], those of celery-exporter but for Series.
const (
	DefaultQueue   = "celery"
	DefaultTimeout = 300 * time.Second
	DefaultPurge   = 600 * time.Second
	DefaultSeries  = 10_000
)

// waitBuckets are those of celery_task_queue_wait_time, in seconds.
var waitBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}

// Config is what an [Exporter] needs. Its zero value is ready for use.
type Config struct {
	// Depths returns the number of messages in each queue, of all priorities. Nil: not known.
	Depths func(ctx context.Context) (map[string]int, error)
	// Consumers returns the workers that have answered, with their queues. Nil: not known.
	Consumers func() []Consumer
	// Healthy returns why the broker cannot be reached. Nil: /health is always well.
	Healthy func(ctx context.Context) error
	// Queue is the name for a queue that is not known; default: DefaultQueue.
	Queue string
	// Timeout is the silence after which a worker is down, and Purge that after which its
	// series are removed. Defaults: DefaultTimeout, DefaultPurge.
	Timeout, Purge time.Duration
	// Series bounds the label sets of tasks, hosts and queues; default: DefaultSeries.
	Series int
	Now    func() time.Time // default: time.Now
}

// Consumer is a worker that consumes queues.
type Consumer struct {
	Node      string
	Queues    []string
	Processes int
	Silent    bool // it leaves questions unanswered: its queues are listed, and it does not count
}

// Exporter counts events for Prometheus. It is a [fleet.Observer].
type Exporter struct {
	cfg    Config
	ledger counts
}

// counts holds what is counted.
type counts struct {
	mu     sync.Mutex
	rows   map[labels]*row
	order  []*row // as they appeared
	hosts  map[string]*host
	sole   map[string]string // the queue of workers that consume one alone, by node; "": several
	learnt time.Time         // of the last look because of an event
	folded int64             // events that were counted as "other"
}

// labels are those of nearly all series.
type labels struct{ name, host, queue string }

// row holds the series of one label set.
type row struct {
	labels
	counted       [columns]float64
	sent          bool // was incremented: it is not there before
	failed        map[string]float64
	failedOrder   []string
	runtime, wait *exposition.Histogram
}

// The columns of a row, in the order of celery-exporter.
const (
	sent = iota
	received
	started
	succeeded
	failed
	rejected
	revoked
	retried
	columns
)

var column = map[string]int{
	"task-sent": sent, "task-received": received, "task-started": started, "task-succeeded": succeeded,
	"task-failed": failed, "task-rejected": rejected, "task-revoked": revoked, "task-retried": retried,
}

// host holds the workers of one host by their nodes.
type host struct {
	nodes map[string]*node
}

type node struct {
	seen   time.Time
	active int
	up     bool
	told   bool // of its running tasks, or it is down
}

// New returns an Exporter that has counted nothing.
func New(cfg Config) (*Exporter, error) {
	if cfg.Timeout < 0 || cfg.Purge < 0 || cfg.Series < 0 {
		return nil, errors.New("exporter: Timeout, Purge and Series must not be negative")
	}
	cfg.Queue = cmp.Or(cfg.Queue, DefaultQueue)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Purge = cmp.Or(cfg.Purge, DefaultPurge)
	cfg.Series = cmp.Or(cfg.Series, DefaultSeries)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Exporter{cfg: cfg, ledger: counts{rows: map[labels]*row{}, hosts: map[string]*host{}}}, nil
}

// other is the value of all labels beyond the bound.
const other = "other"

// ObserveTask implements [fleet.Observer].
func (x *Exporter) ObserveTask(e fleet.TaskEvent) {
	k, ok := column[e.Type]
	if !ok {
		return
	}
	x.learnAbout(&e)
	c := &x.ledger
	c.mu.Lock()
	defer c.mu.Unlock()
	l := labels{name: "None", host: hostOf(e.TaskNode), queue: x.queue(&e)}
	if e.Task.Has.Has(fleet.HasName) {
		l.name = e.Task.Name
	}
	exception := ""
	if k == failed {
		exception = class(e.Task.Exception)
	}
	r := c.row(l, x.cfg.Series, &exception)
	r.count(k, exception)
	switch k {
	case started:
		if wait, ok := e.Task.Wait(); ok {
			if r.wait == nil {
				r.wait = exposition.NewHistogram(waitBuckets)
			}
			r.wait.Observe(wait)
		}
	case succeeded:
		if e.Task.Has.Has(fleet.HasRuntime) {
			if r.runtime == nil {
				r.runtime = exposition.NewHistogram(exposition.DefaultBuckets)
			}
			r.runtime.Observe(e.Task.Runtime)
		}
	}
}

// queue returns the queue of a task. x.ledger.mu must be held.
func (x *Exporter) queue(e *fleet.TaskEvent) string {
	if e.Task.Has.Has(fleet.HasQueue) {
		return e.Task.Queue
	}
	if q := x.ledger.sole[e.TaskNode]; q != "" {
		return q
	}
	return x.cfg.Queue
}

// row returns the row of a label set, or that of all beyond the bound. c.mu must be held.
func (c *counts) row(l labels, most int, exception *string) *row {
	r := c.rows[l]
	if r == nil && len(c.rows) >= most {
		l = labels{other, other, other}
		r = c.rows[l]
		c.folded++
	}
	if r == nil {
		r = &row{labels: l, failed: map[string]float64{}}
		c.rows[l] = r
		c.order = append(c.order, r)
	}
	if _, ok := r.failed[*exception]; !ok && len(r.failed) >= mostExceptions {
		*exception = other
	}
	return r
}

// mostExceptions bounds the classes of exceptions of one label set.
const mostExceptions = 50

// count counts an event. The others are created with zero, so that a first failure is an
// increase; but not task-sent, which other hosts send.
func (r *row) count(k int, exception string) {
	r.counted[k]++
	r.sent = r.sent || k == sent
	if _, ok := r.failed[exception]; !ok {
		r.failedOrder = append(r.failedOrder, exception)
		r.failed[exception] = 0
	}
	if k == failed {
		r.failed[exception]++
	}
}

// class returns the class of an exception by what Python's repr shows of it.
func class(repr string) string {
	for i := range len(repr) {
		c := repr[i]
		switch {
		case c == '(' && i > 0:
			return repr[:i]
		case c == '_', '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z', c >= 0x80:
			continue
		}
		break
	}
	return "UnknownException"
}
