package watch

import (
	"slices"
	"sync"

	"github.com/evently/workers/internal/sorting"
)

// names are the queues that are watched, by where their names are from.
type names struct {
	configured []string

	mu        sync.Mutex
	nodes     map[string][]string // consumed queues, with their nodes
	searched  map[string]bool     // declared queues of the last complete search
	searching map[string]bool     // and of the one that goes on
}

func newNames(configured []string) *names {
	return &names{configured: slices.Clone(configured), searched: map[string]bool{}, searching: map[string]bool{}}
}

// consumed replaces the consumed queues.
func (n *names) consumed(nodes map[string][]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = nodes
}

// consumers returns the nodes of each consumed queue. The caller must not change them.
func (n *names) consumers() map[string][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes
}

// add adds declared queues while the search goes on.
func (n *names) add(found []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range found {
		n.searching[q] = true
	}
}

// declared ends a search.
func (n *names) declared(found []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.searched, n.searching = map[string]bool{}, map[string]bool{}
	for _, q := range found {
		n.searched[q] = true
	}
}

// list returns the watched queues: the configured ones in their order, then the consumed and
// the declared ones by name. left is the number of the ones that are too many.
func (n *names) list() (queues []string, left int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	queues = slices.Clone(n.configured)
	seen := map[string]bool{}
	for _, q := range queues {
		seen[q] = true
	}
	for _, more := range [][]string{
		sorting.Keys(n.nodes), sorting.Keys(n.searched), sorting.Keys(n.searching),
	} {
		for _, q := range more {
			if !seen[q] {
				seen[q] = true
				queues = append(queues, q)
			}
		}
	}
	if len(queues) > MostQueues {
		queues, left = queues[:MostQueues], len(queues)-MostQueues
	}
	return queues, left
}
