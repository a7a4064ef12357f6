package worker

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// timeLimits are those that remote control has given a task; 0: none.
type timeLimits struct{ soft, hard time.Duration }

// overrides are the time limits that were changed while the worker runs.
type overrides struct {
	mu     sync.RWMutex
	byTask map[string]timeLimits
}

func (o *overrides) set(task string, l timeLimits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byTask == nil {
		o.byTask = map[string]timeLimits{}
	}
	o.byTask[task] = l
}

// timeLimits returns the limits of a task, as they are now.
func (w *Worker) timeLimits(d *definition) (soft, hard time.Duration) {
	w.overrides.mu.RLock()
	defer w.overrides.mu.RUnlock()
	if l, ok := w.overrides.byTask[d.name]; ok {
		return l.soft, l.hard
	}
	return d.SoftTimeLimit, d.TimeLimit
}

// queueSet are the queues that are consumed, as they are now.
type queueSet struct {
	mu    sync.Mutex
	names []string
}

func (q *queueSet) list() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.names)
}

func (q *queueSet) add(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.names, name) {
		q.names = append(q.names, name)
	}
}

func (q *queueSet) remove(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = slices.DeleteFunc(q.names, func(n string) bool { return n == name })
}

// checkQueue reports what is wrong with the name of a queue.
func checkQueue(name string) error {
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' }) {
		return errors.New("want the name of a queue, without control characters")
	}
	return nil
}
