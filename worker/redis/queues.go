package redis

import (
	"context"
	"fmt"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/order"
)

// A few queues are waited for with a connection for each list, and a claim names all lists.
// Thousands of lists would take all connections of a server, and more keys than a script
// can unpack. A claim from many lists therefore first asks which of them have messages.
const (
	// manyLists is the greatest number of lists that a claim names.
	manyLists = 1000
	// listChunk is the number of lists that one EXISTS looks at.
	listChunk = 100
	// listPause is the pause between two looks, for each list. A look at 20,000 lists takes
	// Redis some milliseconds, and happens once a second.
	listPause = 50 * time.Microsecond
)

// many reports whether the lists are looked at before a claim.
func many(lists []list) bool { return len(lists) > manyLists }

// consume sets the queues of the worker.
func (cl *claimer) consume(queues []string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.consuming = true
	cl.setQueues(slices.Clone(queues))
}

// setQueues changes the consumed queues. The choice between them begins anew. cl.mu must be
// held.
func (cl *claimer) setQueues(queues []string) {
	cl.queues = queues
	cl.choice = cl.cfg.choice(queues)
	cl.lists, cl.ahead = cl.listsOf(cl.choice.Queues()), ahead{list: -1}
	if many(cl.lists) {
		cl.waiter.poll(min(max(cl.cfg.PollInterval, time.Duration(len(cl.lists))*listPause), waitTime))
		return
	}
	cl.waiter.watch(cl.lists)
}

// consumed returns the lists that are consumed now.
func (cl *claimer) consumed() []list {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.lists
}

// addQueue starts consuming a queue. It reports whether that was a change.
func (cl *claimer) addQueue(ctx context.Context, queue string) (bool, error) {
	if fault := cl.queueFault(queue); fault != "" {
		return false, fmt.Errorf("add queue %q: it is not the name of a queue: %s", queue, fault)
	}
	// Bound first: with an error here nothing has changed.
	if err := cl.do(ctx, func(c redigo.Conn) error { return cl.bindQueues(c, []string{queue}) }); err != nil {
		return false, fmt.Errorf("add queue %s: %w", queue, err)
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if !cl.consuming {
		return false, errNotConsuming
	}
	if slices.Contains(cl.queues, queue) {
		return false, nil
	}
	cl.setQueues(append(slices.Clone(cl.queues), queue))
	cl.waiter.signal() // it may have messages
	return true, nil
}

// cancelQueue stops consuming a queue. It reports whether that was a change. Messages that
// were claimed from it stay claimed and run.
func (cl *claimer) cancelQueue(queue string) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if !slices.Contains(cl.queues, queue) {
		return false
	}
	cl.setQueues(slices.DeleteFunc(slices.Clone(cl.queues), func(q string) bool { return q == queue }))
	return true
}

// claimOfMany claims from the queues with messages. cl.mu must be held.
func (cl *claimer) claimOfMany(ctx context.Context, max int) ([]broker.Delivery, error) {
	lists, all := cl.lists, cl.choice
	found, err := cl.withMessages(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for queues with messages: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	cl.choice = all.Of(found)
	cl.lists = cl.listsOf(cl.choice.Queues())
	defer func() {
		cl.choice, cl.lists, cl.ahead = all, lists, ahead{list: -1}
	}()
	ds, err := cl.claimNow(ctx, max)
	gave := map[string]bool{}
	for _, d := range ds {
		gave[d.Queue] = true
	}
	all.Merge(found, cl.choice, gave)
	return ds, err
}

// withMessages returns the numbers of queues that have messages, at most as many as a claim
// can name. Queues that are next come first.
func (cl *claimer) withMessages(ctx context.Context) ([]int, error) {
	ranked, steps := cl.choice.Ranked(), len(cl.cfg.PrioritySteps)
	lists := make([]int, 0, len(cl.lists)) // in the order in which messages are taken from them
	if cl.choice.Way() == order.Weights {
		for _, q := range ranked {
			for step := range steps {
				lists = append(lists, step*len(ranked)+q)
			}
		}
	} else {
		for step := range steps {
			for _, q := range ranked {
				lists = append(lists, step*len(ranked)+q)
			}
		}
	}
	most := max(1, manyLists/steps)
	found, seen := []int{}, map[int]bool{}
	err := cl.do(ctx, func(c redigo.Conn) error {
		chunks := slices.Collect(slices.Chunk(lists, listChunk))
		counts, err := cl.exist(c, chunks)
		for i := 0; i < len(chunks) && err == nil && len(found) < most; i++ {
			if counts[i] == 0 {
				continue
			}
			var each []int
			if each, err = cl.exist(c, slices.Collect(slices.Chunk(chunks[i], 1))); err != nil {
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
func (cl *claimer) exist(c redigo.Conn, chunks [][]int) ([]int, error) {
	for _, chunk := range chunks {
		keys := make([]any, len(chunk))
		for i, n := range chunk {
			keys[i] = cl.lists[n].key
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

// depths returns the number of messages in each consumed queue.
func (cl *claimer) depths(ctx context.Context) (map[string]int, error) {
	lists := cl.consumed()
	lengths, err := cl.lengths(ctx, lists)
	if err != nil {
		return nil, fmt.Errorf("ask for the depth of the queues: %w", err)
	}
	depths := map[string]int{}
	for i, n := range lengths {
		depths[lists[i].queue] += n
	}
	return depths, nil
}
