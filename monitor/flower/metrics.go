package flower

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/internal/exposition"
)

// mostSeries bounds the label sets of each metric. Further ones become "other".
const mostSeries = 10_000

const other = "other"

// Metrics counts events as Flower does. It is a [fleet.Observer].
type Metrics struct {
	now func() time.Time

	mu         sync.Mutex
	events     map[eventLabels]float64
	runtime    map[taskLabels]*exposition.Histogram
	prefetch   map[taskLabels]float64 // seconds
	prefetched map[taskLabels]float64 // tasks
	online     map[string]float64
	executing  map[string]float64
	seen       map[string]time.Time // workers
	folded     int64
}

type (
	eventLabels struct{ worker, kind, task string }
	taskLabels  struct{ worker, task string }
)

// NewMetrics returns Metrics without any series. now is the time; nil: time.Now.
func NewMetrics(now func() time.Time) *Metrics {
	if now == nil {
		now = time.Now
	}
	return &Metrics{
		now: now, events: map[eventLabels]float64{}, runtime: map[taskLabels]*exposition.Histogram{}, prefetch: map[taskLabels]float64{},
		prefetched: map[taskLabels]float64{}, online: map[string]float64{}, executing: map[string]float64{}, seen: map[string]time.Time{},
	}
}

// ObserveTask implements [fleet.Observer].
func (m *Metrics) ObserveTask(e fleet.TaskEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.see(e.Node)
	name, t := e.Name, e.Task
	if name == "" {
		name = t.Name
	}
	count := eventLabels{e.Node, e.Type, name}
	if _, ok := m.events[count]; !ok && len(m.events) >= mostSeries {
		m.folded++
		count = eventLabels{other, other, other}
	}
	m.events[count]++
	l := m.labels(e.Node, name)
	if e.Runtime != 0 {
		h := m.runtime[l]
		if h == nil {
			h = exposition.NewHistogram(exposition.DefaultBuckets)
			m.runtime[l] = h
		}
		h.Observe(e.Runtime)
	}
	// Without its own time a task that was received waits for a process.
	if t.ETA != "" || t.Received == 0 {
		return
	}
	switch e.Type {
	case "task-received":
		m.prefetched[l]++
	case "task-started":
		m.prefetch[l] = float64(t.Started - t.Received)
		m.prefetched[l]--
	case "task-succeeded", "task-failed":
		if t.Started != 0 {
			m.prefetch[l] = 0
		}
	case "task-revoked", "task-rejected":
		if t.Started == 0 {
			m.prefetched[l]--
		}
	}
}

// labels returns those of a task at a worker, within the bound; m.mu must be held.
func (m *Metrics) labels(worker, task string) taskLabels {
	l := taskLabels{worker, task}
	if _, ok := m.prefetched[l]; !ok && len(m.prefetched) >= mostSeries {
		return taskLabels{other, other}
	}
	if _, ok := m.runtime[l]; !ok && len(m.runtime) >= mostSeries {
		return taskLabels{other, other}
	}
	return l
}

// ObserveWorker implements [fleet.Observer].
func (m *Metrics) ObserveWorker(e fleet.WorkerEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := e.Worker.Node
	if !m.see(node) {
		return
	}
	switch e.Type {
	case "worker-online":
		m.online[node] = 1
	case "worker-heartbeat":
		m.online[node] = 1
		if e.HasActive {
			m.executing[node] = float64(e.Worker.Active)
		}
	case "worker-offline":
		m.online[node] = 0
	}
}

// see notes that a worker sends events. It reports false for one beyond the bound. m.mu must
// be held.
func (m *Metrics) see(node string) bool {
	if _, ok := m.seen[node]; !ok && len(m.seen) >= mostSeries {
		return false
	}
	m.seen[node] = m.now()
	return true
}

// forget removes the series of workers that were silent for a day; m.mu must be held.
func (m *Metrics) forget() {
	gone := map[string]bool{}
	for node, at := range m.seen {
		if m.now().Sub(at) > keepSilent {
			gone[node] = true
			delete(m.seen, node)
			delete(m.online, node)
			delete(m.executing, node)
		}
	}
	if len(gone) == 0 {
		return
	}
	for l := range m.events {
		if gone[l.worker] {
			delete(m.events, l)
		}
	}
	for l := range m.runtime {
		if gone[l.worker] {
			delete(m.runtime, l)
		}
	}
	for _, gauge := range []map[taskLabels]float64{m.prefetch, m.prefetched} {
		for l := range gauge {
			if gone[l.worker] {
				delete(gauge, l)
			}
		}
	}
}

// serve answers GET /metrics.
func (m *Metrics) serve(w http.ResponseWriter, r *http.Request) {
	var out exposition.Writer
	m.mu.Lock()
	m.forget()
	m.write(&out)
	m.mu.Unlock()
	out.ServeHTTP(w, r)
}

// write writes all series; m.mu must be held.
func (m *Metrics) write(out *exposition.Writer) {
	out.Family("flower_events_total", "Number of events", "counter")
	for _, l := range sorted(m.events, func(a, b eventLabels) int {
		return strings.Compare(a.worker+"\x00"+a.kind+"\x00"+a.task, b.worker+"\x00"+b.kind+"\x00"+b.task)
	}) {
		out.Sample("flower_events_total", exposition.Labels{"task", l.task, "type", l.kind, "worker", l.worker}, m.events[l])
	}
	out.Family("flower_task_runtime_seconds", "Task runtime", "histogram")
	for _, l := range sorted(m.runtime, compareTasks) {
		out.Histogram("flower_task_runtime_seconds", l.pairs(), m.runtime[l])
	}
	gauge := func(name, help string, values map[taskLabels]float64) {
		out.Family(name, help, "gauge")
		for _, l := range sorted(values, compareTasks) {
			out.Sample(name, l.pairs(), values[l])
		}
	}
	gauge("flower_task_prefetch_time_seconds", "The time the task spent waiting at the celery worker to be executed.", m.prefetch)
	gauge("flower_worker_prefetched_tasks", "Number of tasks of given type prefetched at a worker", m.prefetched)
	workers := func(name, help string, values map[string]float64) {
		out.Family(name, help, "gauge")
		for _, node := range sorted(values, strings.Compare) {
			out.Sample(name, exposition.Labels{"worker", node}, values[node])
		}
	}
	workers("flower_worker_online", "Worker online status", m.online)
	workers("flower_worker_number_of_currently_executing_tasks", "Number of tasks currently executing at a worker", m.executing)
	out.Family("evently_flower_folded_events_total", "Events that were counted under the label values other, because there are too many label sets.", "counter")
	out.Sample("evently_flower_folded_events_total", nil, float64(m.folded))
}

func (l taskLabels) pairs() exposition.Labels {
	return exposition.Labels{"task", l.task, "worker", l.worker}
}

func compareTasks(a, b taskLabels) int {
	return strings.Compare(a.worker+"\x00"+a.task, b.worker+"\x00"+b.task)
}

// sorted returns the keys of a map in an order.
func sorted[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sorting.By(keys, compare)
	return keys
}
