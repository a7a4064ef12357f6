package control

import (
	"slices"
	"sync"
)

// Queues holds the queues that are consumed now. Make it with NewQueues.
type Queues struct {
	mu    sync.Mutex
	names []string
}

// NewQueues returns the queues of these names.
func NewQueues(names []string) *Queues { return &Queues{names: slices.Clone(names)} }

// List returns the names.
func (q *Queues) List() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.names)
}

// Add adds a queue.
func (q *Queues) Add(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.names, name) {
		q.names = append(q.names, name)
	}
}

// Remove removes a queue.
func (q *Queues) Remove(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = slices.DeleteFunc(q.names, func(n string) bool { return n == name })
}
