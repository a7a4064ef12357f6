package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
)

// A few queues are waited for with a connection for each list, and a claim names all
// lists. Thousands of them would take all connections of a server, and more keys than a
// script can unpack: of many lists a claim first asks which have messages.
const (
	// manyLists is how many lists are many. A claim names at most that many.
	manyLists = 1000
	// listChunk is how many lists one EXISTS looks at.
	listChunk = 100
	// listPause is the pause between two looks for each list: a look at 20,000 of them
	// takes Redis some milliseconds, and comes once in a second.
	listPause = 50 * time.Microsecond
)

// many reports whether the lists are looked at before a claim.
func many(lists []list) bool { return len(lists) > manyLists }

// manyPause is the time between two looks into so many empty lists.
func (b *Broker) manyPause(lists int) time.Duration {
	return min(max(b.cfg.PollInterval, time.Duration(lists)*listPause), waitTime)
}

// claimOfMany claims with the queues alone that have messages; b.claiming is held.
func (b *Broker) claimOfMany(ctx context.Context, claim func() ([]broker.Delivery, error)) ([]broker.Delivery, error) {
	lists, all := b.lists, b.choice
	ranked := b.choice.ranked()
	found, err := b.withMessages(ctx, ranked)
	if err != nil {
		return nil, fmt.Errorf("look for queues with messages: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	b.choice, b.lists = all.of(found), nil
	b.lists = b.listsOf(b.choice.queues)
	defer func() {
		b.choice, b.lists, b.ahead = all, lists, ahead{list: -1}
	}()
	ds, err := claim()
	all.merge(found, b.choice, ds)
	return ds, err
}

// withMessages returns queues that have messages, by their numbers, the first ones as
// they are ranked: as many as a claim can name.
func (b *Broker) withMessages(ctx context.Context, ranked []int) ([]int, error) {
	steps := len(b.cfg.PrioritySteps)
	order := make([]int, 0, len(b.lists)) // of the lists, as messages are taken from them
	if b.choice.way == "weights" {
		for _, q := range ranked {
			for step := range steps {
				order = append(order, step*len(ranked)+q)
			}
		}
	} else {
		for step := range steps {
			for _, q := range ranked {
				order = append(order, step*len(ranked)+q)
			}
		}
	}
	most := max(1, manyLists/steps)
	found, seen := []int{}, map[int]bool{}
	err := b.do(ctx, func(c redigo.Conn) error {
		chunks := slices.Collect(slices.Chunk(order, listChunk))
		counts, err := b.exist(c, chunks)
		for i := 0; i < len(chunks) && err == nil && len(found) < most; i++ {
			if counts[i] == 0 {
				continue
			}
			var each []int
			if each, err = b.exist(c, slices.Collect(slices.Chunk(chunks[i], 1))); err != nil {
				return err
			}
			for j, n := range each {
				if q := chunks[i][j] % len(ranked); n > 0 && !seen[q] && len(found) < most {
					found, seen[q] = append(found, q), true
				}
			}
		}
		return err
	})
	return found, err
}

// exist returns how many lists of each chunk have messages.
func (b *Broker) exist(c redigo.Conn, chunks [][]int) ([]int, error) {
	for _, chunk := range chunks {
		keys := make([]any, len(chunk))
		for i, n := range chunk {
			keys[i] = b.lists[n].key
		}
		if err := c.Send("EXISTS", keys...); err != nil {
			return nil, err
		}
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	counts := make([]int, len(chunks))
	var fault error
	for i := range chunks {
		n, err := redigo.Int(c.Receive())
		if c.Err() != nil {
			return nil, err
		}
		if err != nil {
			fault = err
		}
		counts[i] = n
	}
	return counts, fault
}

// ranked returns the numbers of the queues, from 0, the one that is next first.
func (ch *choice) ranked() []int {
	ranked := make([]int, len(ch.queues))
	for q := range ranked {
		ranked[q] = q
	}
	slices.SortStableFunc(ranked, func(a, b int) int {
		if ch.way == "weights" {
			return cmp.Compare(ch.marks[b]+ch.weights[b], ch.marks[a]+ch.weights[a])
		}
		return cmp.Compare(ch.marks[a], ch.marks[b])
	})
	return ranked
}

// of returns the choice between some of the queues, the one that is next first.
func (ch *choice) of(numbers []int) choice {
	// By their place in the line, not by the step of their next message.
	slices.SortFunc(numbers, func(a, b int) int { return cmp.Compare(ch.marks[a], ch.marks[b]) })
	some := choice{way: ch.way}
	for i, q := range numbers {
		mark := i + 1
		if ch.way == "weights" {
			mark = ch.marks[q]
		}
		some.queues = append(some.queues, ch.queues[q])
		some.weights = append(some.weights, ch.weights[q])
		some.marks = append(some.marks, mark)
	}
	return some
}

// merge takes over what a claim from some of the queues has changed: credits, or that
// those which gave messages are at the end of the line.
func (ch *choice) merge(numbers []int, some choice, ds []broker.Delivery) {
	if ch.way == "order" {
		return
	}
	if ch.way == "weights" {
		for i, q := range numbers {
			ch.marks[q] = some.marks[i]
		}
		return
	}
	gave := map[string]bool{}
	for _, d := range ds {
		gave[d.Queue] = true
	}
	for _, i := range some.ranked() {
		if gave[some.queues[i]] {
			ch.last(numbers[i])
		}
	}
}

// last puts a queue to the end of the line.
func (ch *choice) last(q int) {
	for i, at := range ch.marks {
		if at > ch.marks[q] {
			ch.marks[i]--
		}
	}
	ch.marks[q] = len(ch.marks)
}
