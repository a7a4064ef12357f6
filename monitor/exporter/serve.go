package exporter

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/internal/exposition"
)

// scrapeTimeout bounds the look at the queues in a scrape.
const scrapeTimeout = 5 * time.Second

// Handler serves /metrics, /health and a page that leads there.
func (x *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>celery-exporter</title><h1>Celery Exporter</h1><p><a href="/metrics">Metrics</a></p></html>`)
	})
	mux.HandleFunc("GET /metrics", x.serveMetrics)
	mux.HandleFunc("GET /health", x.serveHealth)
	return mux
}

func (x *Exporter) serveHealth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if x.cfg.Healthy != nil {
		ctx, cancel := context.WithTimeout(r.Context(), scrapeTimeout)
		defer cancel()
		if x.cfg.Healthy(ctx) != nil { // the error may hold addresses
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "Failed to connect to broker\n")
			return
		}
	}
	_, _ = io.WriteString(w, "Connected to the broker\n")
}

func (x *Exporter) serveMetrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTimeout)
	defer cancel()
	lengths := map[string]int{}
	if x.cfg.Depths != nil {
		// Without an answer the queues have no length in this scrape: an old one would hide
		// that.
		lengths, _ = x.cfg.Depths(ctx)
	}
	var consumers []Consumer
	if x.cfg.Consumers != nil {
		consumers = x.cfg.Consumers()
		x.ledger.learn(consumers)
	}
	var out exposition.Writer
	x.ledger.mu.Lock()
	x.settle()
	x.ledger.write(&out)
	x.ledger.mu.Unlock()
	writeQueues(&out, lengths, consumers)
	out.ServeHTTP(w, r)
}

// families are the counters in the order of their columns.
var families = [columns]struct{ name, help string }{
	sent:      {"celery_task_sent_total", "Sent when a task message is published."},
	received:  {"celery_task_received_total", "Sent when the worker receives a task."},
	started:   {"celery_task_started_total", "Sent just before the worker executes the task."},
	succeeded: {"celery_task_succeeded_total", "Sent if the task executed successfully."},
	failed:    {"celery_task_failed_total", "Sent if the execution of the task failed."},
	rejected:  {"celery_task_rejected_total", "The task was rejected by the worker, possibly to be re-queued or moved to a dead letter queue."},
	revoked:   {"celery_task_revoked_total", "Sent if the task has been revoked."},
	retried:   {"celery_task_retried_total", "Sent if the task failed, but will be retried in the future."},
}

// write writes what is counted; c.mu must be held.
func (c *counts) write(out *exposition.Writer) {
	for k, f := range families {
		out.Family(f.name, f.help, "counter")
		for _, r := range c.order {
			switch {
			case k == failed:
				for _, exception := range r.failedOrder {
					l := exposition.Labels{"exception", exception, "hostname", r.host, "name", r.name, "queue_name", r.queue}
					out.Sample(f.name, l, r.failed[exception])
				}
			case k != sent || r.sent:
				out.Sample(f.name, r.pairs(), r.counted[k])
			}
		}
	}
	out.Family("celery_worker_up", "Indicates if a worker has recently sent a heartbeat.", "gauge")
	hosts := sorting.Keys(c.hosts)
	for _, name := range hosts {
		up, _, _ := c.hosts[name].state()
		out.Sample("celery_worker_up", exposition.Labels{"hostname", name}, up)
	}
	out.Family("celery_worker_tasks_active", "The number of tasks the worker is currently processing", "gauge")
	for _, name := range hosts {
		if _, active, told := c.hosts[name].state(); told {
			out.Sample("celery_worker_tasks_active", exposition.Labels{"hostname", name}, active)
		}
	}
	out.Family("celery_task_runtime", "Histogram of task runtime measurements.", "histogram")
	for _, r := range c.order {
		if r.runtime != nil {
			out.Histogram("celery_task_runtime", r.pairs(), r.runtime)
		}
	}
	out.Family("celery_task_queue_wait_time", "Histogram of the time tasks spend waiting in the queue before being executed, excluding deliberate ETA/countdown delay.", "histogram")
	for _, r := range c.order {
		if r.wait != nil {
			out.Histogram("celery_task_queue_wait_time", r.pairs(), r.wait)
		}
	}
	out.Family("evently_exporter_folded_events_total", "Events that were counted under the label values other, because there are too many label sets.", "counter")
	out.Sample("evently_exporter_folded_events_total", nil, float64(c.folded))
}

func (r *row) pairs() exposition.Labels {
	return exposition.Labels{"hostname", r.host, "name", r.name, "queue_name", r.queue}
}

// writeQueues writes the lengths and the consumers of the queues.
func writeQueues(out *exposition.Writer, lengths map[string]int, consumers []Consumer) {
	workers, processes := map[string]int{}, map[string]int{}
	for q := range lengths {
		workers[q] = 0
	}
	for _, c := range consumers {
		count, slots := 1, c.Processes
		if c.Silent {
			count, slots = 0, 0
		}
		for _, q := range c.Queues {
			workers[q] += count
			processes[q] += slots
		}
	}
	queues := sorting.Keys(workers)
	gauge := func(name, help string, value func(queue string) (int, bool)) {
		out.Family(name, help, "gauge")
		for _, q := range queues {
			if n, ok := value(q); ok {
				out.Sample(name, exposition.Labels{"queue_name", q}, float64(n))
			}
		}
	}
	gauge("celery_queue_length", "The number of message in broker queue.", func(q string) (int, bool) { n, ok := lengths[q]; return n, ok })
	gauge("celery_active_consumer_count", "The number of active consumer in broker queue.", func(string) (int, bool) { return 0, false }) // RabbitMQ only
	gauge("celery_active_worker_count", "The number of active workers in broker queue.", func(q string) (int, bool) { return workers[q], true })
	gauge("celery_active_process_count", "The number of active processes in broker queue.", func(q string) (int, bool) { return processes[q], true })
}
