package fleet

import (
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// book holds the workers and tasks.
type book struct {
	mu sync.RWMutex

	limits  limits
	hider   *hider
	names   interned
	status  Status
	series  series
	workers map[string]*worker
	types   map[string]*taskType

	tasks       map[string]*entry
	first, last *entry              // in the order of their first events
	children    map[string][]*entry // by the id of their parent
}

// limits bound the memory.
type limits struct{ tasks, workers, types, bytes int }

// entry is a task in memory.
type entry struct {
	Task
	past    []Attempt // runs that ended in a retry, without the current one
	tries   int       // runs that ended in a retry
	secrets seen
	node    string // see TaskEvent.TaskNode
	size    int
	// prev and next are its neighbours in the order of their first events.
	prev, next *entry
}

// worker is a worker in memory.
type worker struct {
	Worker
	kinds map[*kind]int64 // counts of its events
}

// taskType is a kind of task in memory.
type taskType struct {
	name     string
	counts   [8]int64
	runtime  [typeSlots]stepHistogram
	lastSeen time.Time
	tasks    int
}

// typeSlots is the number of histograms of a kind of task, of a third of Window each.
const typeSlots = 3

const typeStep = int64(Window/time.Second) / typeSlots

func newBook(l limits, h *hider) *book {
	return &book{
		limits: l, hider: h, workers: map[string]*worker{}, types: map[string]*taskType{},
		tasks: map[string]*entry{}, children: map[string][]*entry{},
	}
}

// TaskEvent is an event of a task as observers see it.
type TaskEvent struct {
	Type string // "task-received"
	Node string // that sent the event
	// TaskNode is the sender of the last event of the task in the order of Celery's states: an
	// event task-received that is late does not count.
	TaskNode string
	Name     string // of the task, if the event itself has it
	At       Seconds
	// Runtime is that of the event, 0 when it has none.
	Runtime float64
	// Created reports that this is the first event of the task.
	Created bool
	// Task is the task after the event. It is valid until the observer returns.
	Task *Task
}

// WorkerEvent is an event of a worker as observers see it.
type WorkerEvent struct {
	Type      string // "worker-heartbeat"
	New       bool   // the first event of this worker, or that of its start
	At        Seconds
	HasActive bool    // the event tells of Worker.Active
	Worker    *Worker // after the event; valid until the observer returns
}

// apply takes an event. Exactly one of the results is set.
func (b *book) apply(e *event, now time.Time) (*TaskEvent, *WorkerEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Events++
	b.status.LastEvent = now
	if e.kind.group == "worker" {
		return nil, b.workerEvent(e, now)
	}
	return b.taskEvent(e, now), nil
}

func (b *book) begin(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Began = now
	b.series.begin(now)
}

// joined notes that events arrive from now on. Any time but the first, the connection broke.
func (b *book) joined(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.status.Joined.IsZero() {
		b.status.Breaks++
	}
	b.status.Joined = now
}

func (b *book) malformed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Malformed++
}

func (b *book) workerEvent(e *event, now time.Time) *WorkerEvent {
	known := b.workers[string(e.host)]
	w := b.worker(e, now)
	w.describe(e)
	if e.kind.subject == "offline" {
		w.Heartbeats, w.Left = w.Heartbeats[:0], true
	} else {
		w.beat(secondsOf(now))
	}
	return &WorkerEvent{Type: e.kind.kind, New: known == nil || e.kind.subject == "online", At: Seconds(e.timestamp), HasActive: e.told.Active, Worker: &w.Worker}
}

// worker returns the worker that sent an event, and counts the event.
func (b *book) worker(e *event, now time.Time) *worker {
	w := b.workers[string(e.host)]
	if w == nil {
		if len(b.workers) >= b.limits.workers {
			b.dropWorkers()
		}
		w = &worker{Worker: newWorker(b.names.text(e.host)), kinds: map[*kind]int64{}}
		b.workers[w.Node] = w
	}
	w.Seen, w.Left = now, false
	if known := kinds[e.kind.kind]; known != nil || len(w.kinds) < mostKinds {
		w.count(e.kind)
	}
	return w
}

// mostKinds bounds the types of events that are counted for a worker.
const mostKinds = 30

func (w *worker) count(k *kind) {
	if kinds[k.kind] == nil { // a custom type has a new kind each time
		for known := range w.kinds {
			if known.kind == k.kind {
				k = known
				break
			}
		}
	}
	w.kinds[k]++
}

// dropWorkers makes room by dropping the ones that were silent for longest.
func (b *book) dropWorkers() {
	all := make([]*worker, 0, len(b.workers))
	for _, w := range b.workers {
		all = append(all, w)
	}
	sorting.By(all, func(v, w *worker) int { return v.Seen.Compare(w.Seen) })
	for _, w := range all[:len(all)/50+1] {
		delete(b.workers, w.Node)
		b.status.DroppedWorkers++
	}
}

// forgetSilent forgets the workers that were silent for too long.
func (b *book) forgetSilent(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for node, w := range b.workers {
		if now.Sub(w.Seen) > keepSilent {
			delete(b.workers, node)
		}
	}
}

// keepSilent is how long workers are kept that send nothing any more.
const keepSilent = 24 * time.Hour
