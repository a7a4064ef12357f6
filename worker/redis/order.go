package redis

import (
	"fmt"
	"maps"
	"slices"
)

// QueueOrder says which of several queues with messages the next one is taken
// from. The values are kombu's names (queue_order_strategy). All of them come
// after the priority: while one queue has a message of an earlier step, no queue
// is asked for one of a later step. What a worker has claimed already, see
// PrefetchMultiplier of worker.Config, runs before what it claims later.
type QueueOrder string

const (
	// RoundRobin takes from the queues in turn: the one that gave a message goes to
	// the end of the line.
	RoundRobin QueueOrder = "round_robin"
	// SortedQueues takes from the queue whose name comes first in the alphabet, as
	// long as it has messages.
	SortedQueues QueueOrder = "sorted"
	// DeclaredOrder takes from the first queue of worker.Config.Queues, as long as
	// it has messages, then from the second.
	DeclaredOrder QueueOrder = "priority"
)

// maxWeight bounds a weight: a round of all weights must not take for ever.
const maxWeight = 1000

// choice is the state of the choice between queues: what claim.lua is told of
// them, and what it has said last.
type choice struct {
	way     string   // "turns", "order" or "weights"
	queues  []string // as the script numbers them, from 1
	weights []int
	// marks are the places in the line, from 1; of weighted queues the credits.
	marks []int
}

func (c Config) checkOrder() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch c.QueueOrder {
	case "", RoundRobin, SortedQueues, DeclaredOrder:
	default:
		fault("QueueOrder is %q: want %q, %q or %q", c.QueueOrder, RoundRobin, SortedQueues, DeclaredOrder)
	}
	if c.QueueOrder != "" && len(c.QueueWeights) > 0 {
		fault("QueueOrder and QueueWeights are both set: want one of them")
	}
	for _, q := range slices.Sorted(maps.Keys(c.QueueWeights)) {
		if w := c.QueueWeights[q]; w < 1 || w > maxWeight {
			fault("QueueWeights[%q] is %d: want 1 to %d", q, w, maxWeight)
		}
	}
	return faults
}

// checkWeights finds weights of queues that are not consumed: a name misspelt.
func (c Config) checkWeights(queues []string) error {
	for _, q := range slices.Sorted(maps.Keys(c.QueueWeights)) {
		if !slices.Contains(queues, q) {
			return fmt.Errorf("QueueWeights has the queue %q, which is not consumed: want names out of %q", q, queues)
		}
	}
	return nil
}

// choiceOf begins a choice between queues.
func (c Config) choiceOf(queues []string) choice {
	ch := choice{way: "turns", queues: slices.Clone(queues), weights: make([]int, len(queues)), marks: make([]int, len(queues))}
	switch {
	case len(c.QueueWeights) > 0:
		ch.way = "weights"
	case c.QueueOrder == SortedQueues:
		ch.way = "order"
		slices.Sort(ch.queues)
	case c.QueueOrder == DeclaredOrder:
		ch.way = "order"
	}
	for i, q := range ch.queues {
		ch.weights[i] = max(1, c.QueueWeights[q])
		if ch.way != "weights" {
			ch.marks[i] = i + 1
		}
	}
	return ch
}

// args are the choice as claim.lua reads it.
func (ch *choice) args() []any {
	args := []any{ch.way, len(ch.queues)}
	for i, q := range ch.queues {
		args = append(args, q, ch.weights[i], ch.marks[i])
	}
	return args
}

// took notes that one queue had all that a claim has taken: what claim.lua does for
// itself. Credits stay as they are when no other queue has messages.
func (ch *choice) took(queue string) {
	if ch.way != "turns" {
		return
	}
	ch.last(slices.Index(ch.queues, queue))
}
