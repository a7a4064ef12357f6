package worker

import (
	"maps"
	"sync"
)

// totals counts the runs of each task since the start.
type totals struct {
	mu     sync.Mutex
	byTask map[string]int64
	sum    int64
}

func (t *totals) add(task string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTask == nil {
		t.byTask = map[string]int64{}
	}
	t.byTask[task]++
	t.sum++
}

func (t *totals) all() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}

func (t *totals) each() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.byTask)
}
