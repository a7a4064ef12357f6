package summary

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/vitals"
)

// counted returns the numbers of dead letters, nil if they are not known.
func (k *Keeper) counted() *lettersSeen {
	seen := k.letters.Load()
	if seen == nil || seen.err != nil || k.told.isStale(seen.at) {
		return nil
	}
	return seen
}

func (k *Keeper) deadLetters(s *Summary) {
	seen := k.counted()
	if seen == nil {
		return
	}
	more, _, _ := seen.grown()
	s.Letters = Letters{Known: true, Open: seen.counts.Open, Grown: max(0, more), Dropped: seen.counts.Dropped}
}

// memory remembers what the live workers have told of their health, and when Redis was away.
type memory struct {
	mu   sync.Mutex
	told map[string]vitals.Process // the last one of each node
	away time.Time                 // when Redis did not answer last
}

// noteFault notes that Redis does not answer.
func (m *memory) noteFault(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = now
}

// isStale reports whether something was read before Redis was away. It may have lost that.
func (m *memory) isStale(read time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return read.Before(m.away)
}

// silent takes in what the processes tell, and returns the last words of live nodes of which none
// tells anything any more, by node.
func (m *memory) silent(processes []vitals.Process, live map[string]bool) map[string]vitals.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.told
	m.told = map[string]vitals.Process{}
	silent := map[string]vitals.Process{}
	for node, p := range before {
		if live[node] {
			m.told[node], silent[node] = p, p
		}
	}
	for _, p := range processes {
		m.told[p.Node] = p
		delete(silent, p.Node)
	}
	return silent
}

// mostSilent is the number of workers that are named.
const mostSilent = 3

// unknown names what is not known. A worker that lives and has told of its health does so again
// within seconds after Redis has lost its data.
func (k *Keeper) unknown(s *Summary, state vitals.State) {
	if k.cfg.Queues != nil && !s.Queues.Known {
		s.Unknown = append(s.Unknown, "the queues")
	}
	if k.cfg.Letters != nil && !s.Letters.Known {
		s.Unknown = append(s.Unknown, "the dead letters")
	}
	if k.cfg.Vitals != nil && state.At.IsZero() {
		s.Unknown = append(s.Unknown, "the health of the workers")
	}
	live := map[string]bool{}
	for _, w := range s.Workers {
		live[w.Node] = live[w.Node] || !w.Python
	}
	silent := k.told.silent(state.Processes, live)
	for i := range s.Workers {
		w := &s.Workers[i]
		if p, ok := silent[w.Node]; ok {
			w.Status, w.Version, w.Concurrency = NotKnown, p.Version, p.Report.Tasks.Concurrency
		}
	}
	for _, node := range sorting.Keys(silent) {
		if len(silent) <= mostSilent {
			s.Unknown = append(s.Unknown, "the health of "+node)
		}
		for _, b := range silent[node].Report.Breakers {
			if !slices.ContainsFunc(s.Breakers, func(o Breaker) bool { return o.Name == b.Name }) {
				s.Breakers = append(s.Breakers, Breaker{Name: b.Name, Phase: NotKnown, Nodes: []string{}})
			}
		}
	}
	if len(silent) > mostSilent {
		s.Unknown = append(s.Unknown, fmt.Sprintf("the health of %d workers", len(silent)))
	}
	sorting.By(s.Breakers, func(a, b Breaker) int { return strings.Compare(a.Name, b.Name) })
}
