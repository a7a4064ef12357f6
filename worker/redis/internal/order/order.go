// Package order keeps the choice between queues: claim.lua gets it with every claim, and
// returns how it has changed.
package order

import (
	"cmp"
	"slices"
)

// Ways of choosing, as claim.lua knows them.
const (
	Turns   = "turns"   // the queue that gave a message goes to the end of the line
	Fixed   = "order"   // the first queue as long as it has messages
	Weights = "weights" // by credits
)

// Choice is the state of the choice between queues.
type Choice struct {
	way     string
	queues  []string // in the order in which the script numbers them
	weights []int
	marks   []int // places in the line, from 1; with Weights the credits
}

// New returns the start of a choice between queues. A queue without a weight has 1.
func New(way string, queues []string, weights map[string]int) Choice {
	c := Choice{way: way, queues: queues, weights: make([]int, len(queues)), marks: make([]int, len(queues))}
	for i, q := range queues {
		c.weights[i] = max(1, weights[q])
		if way != Weights {
			c.marks[i] = i + 1
		}
	}
	return c
}

// Way returns the way of choosing.
func (c *Choice) Way() string { return c.way }

// Queues returns the queues in the order in which the script numbers them.
func (c *Choice) Queues() []string { return c.queues }

// Args returns the arguments of claim.lua.
func (c *Choice) Args() []any {
	args := []any{c.way, len(c.queues)}
	for i, q := range c.queues {
		args = append(args, q, c.weights[i], c.marks[i])
	}
	return args
}

// Set takes the marks that claim.lua has returned. It reports whether there is one for
// each queue.
func (c *Choice) Set(marks []int) bool {
	if len(marks) != len(c.queues) {
		return false
	}
	c.marks = marks
	return true
}

// Took notes that one queue gave all messages of a claim. claim.lua does the same itself.
// Credits stay as they are when no other queue has messages.
func (c *Choice) Took(queue string) {
	if c.way == Turns {
		c.last(slices.Index(c.queues, queue))
	}
}

// Ranked returns the numbers of the queues, from 0, the next one first.
func (c *Choice) Ranked() []int {
	ranked := make([]int, len(c.queues))
	for q := range ranked {
		ranked[q] = q
	}
	slices.SortStableFunc(ranked, func(a, b int) int {
		if c.way == Weights {
			return cmp.Compare(c.marks[b]+c.weights[b], c.marks[a]+c.weights[a])
		}
		return cmp.Compare(c.marks[a], c.marks[b])
	})
	return ranked
}

// Of returns the choice between some of the queues. It sorts numbers, the next queue first.
func (c *Choice) Of(numbers []int) Choice {
	// By their place in the line, not by the step of their next message.
	slices.SortFunc(numbers, func(a, b int) int { return cmp.Compare(c.marks[a], c.marks[b]) })
	some := Choice{way: c.way}
	for i, q := range numbers {
		mark := i + 1
		if c.way == Weights {
			mark = c.marks[q]
		}
		some.queues = append(some.queues, c.queues[q])
		some.weights = append(some.weights, c.weights[q])
		some.marks = append(some.marks, mark)
	}
	return some
}

// Merge takes over the changes of a claim from some of the queues: credits, or that the
// queues that gave messages are at the end of the line.
func (c *Choice) Merge(numbers []int, some Choice, gave map[string]bool) {
	switch c.way {
	case Weights:
		for i, q := range numbers {
			c.marks[q] = some.marks[i]
		}
	case Turns:
		for _, i := range some.Ranked() {
			if gave[some.queues[i]] {
				c.last(numbers[i])
			}
		}
	}
}

// last puts a queue to the end of the line.
func (c *Choice) last(q int) {
	for i, at := range c.marks {
		if at > c.marks[q] {
			c.marks[i]--
		}
	}
	c.marks[q] = len(c.marks)
}
