package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/protocol"
)

// Consumers returns the queues that the live workers consume, with the nodes that do, and the
// number of workers that answered. A worker of this kind leaves out queues that are paused.
func (c *Client) Consumers(ctx context.Context) (consumers map[string][]string, answered int, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Patience)
		defer cancel()
	}
	answers, err := c.ask(ctx, "active_queues", nil)
	if err != nil {
		return nil, 0, fmt.Errorf("ask for the consumed queues: %w", err)
	}
	queues := map[string][]string{}
	for _, a := range answers {
		for _, q := range readQueues(a.value) {
			if !slices.Contains(queues[q], a.node) {
				queues[q] = append(queues[q], a.node)
			}
		}
	}
	for _, nodes := range queues {
		sort.Strings(nodes)
	}
	return queues, len(answers), nil
}

func readQueues(value protocol.Raw) (names []string) {
	var queues []struct{ Name string }
	if protocol.Unmarshal(value, &queues) != nil {
		return nil
	}
	for _, q := range queues {
		if q.Name != "" {
			names = append(names, q.Name)
		}
	}
	return names
}

// RunningTask is a task that runs in a worker. Its arguments are left out, because those of a
// Python worker may hold secrets.
type RunningTask struct {
	ID, Name, Queue string
	Started         time.Time // by the clock of the worker; zero: it did not tell
}

// Detail is all that a worker tells of itself.
type Detail struct {
	Worker
	Pool       string   // implementation of the pool
	Queues     []string // that it consumes
	Running    []RunningTask
	Reserved   int      // claimed tasks that wait for a slot or a rate limit
	Registered []string // names of tasks
	Runs       map[string]int64
	Prefetch   int
	Memory     int64 // greatest resident memory, in bytes; 0: it did not tell
	// Most and Least are the bounds of autoscaling, 0 without.
	Most, Least int
}

// Detail asks one worker. The error is a *[SilentError] when it does not answer.
func (c *Client) Detail(ctx context.Context, node string) (d Detail, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*Patience)
		defer cancel()
	}
	began := time.Now()
	parts := []struct {
		method string
		read   func(*Detail, answer)
	}{
		{"stats", func(d *Detail, a answer) { d.Worker = readStats(a); d.readMore(a.value) }},
		{"active_queues", func(d *Detail, a answer) { d.Queues = readQueues(a.value) }},
		{"active", func(d *Detail, a answer) { d.Running = readRunning(a.value) }},
		{"reserved", func(d *Detail, a answer) { d.Reserved = count(a.value) }},
		{"registered", func(d *Detail, a answer) { d.Registered = readNames(a.value) }},
		{"report", func(d *Detail, a answer) {
			if d.Python {
				readReport(&d.Worker, a.value)
			}
		}},
	}
	answers, errs := make([][]answer, len(parts)), make([]error, len(parts))
	var asking sync.WaitGroup
	for i, one := range parts {
		asking.Go(func() { answers[i], errs[i] = c.ask(ctx, one.method, []string{node}) })
	}
	asking.Wait()
	// The first one: while Redis is unavailable all have the same words.
	for _, err := range errs {
		if err != nil {
			return d, fmt.Errorf("inspect %s: %w", node, err)
		}
	}
	if len(answers[0]) == 0 || len(answers[1]) == 0 {
		return d, &SilentError{Node: node, Command: "stats", After: time.Since(began)}
	}
	for i, one := range parts { // the stats come first
		if len(answers[i]) > 0 {
			one.read(&d, answers[i][0])
		}
	}
	d.Active = max(d.Active, len(d.Running))
	return d, nil
}

// readMore reads the parts of the stats that Worker does not have.
func (d *Detail) readMore(value protocol.Raw) {
	var s struct {
		Total    map[string]int64
		Prefetch int `json:"prefetch_count"`
		Pool     struct{ Implementation string }
		Rusage   any
		Scaler   struct{ Max, Min int } `json:"autoscaler"`
	}
	if protocol.Unmarshal(value, &s) != nil {
		return
	}
	d.Runs, d.Prefetch, d.Pool, d.Most, d.Least = s.Total, s.Prefetch, bounded(s.Pool.Implementation), s.Scaler.Max, s.Scaler.Min
	if usage, ok := s.Rusage.(map[string]any); ok {
		if kilobytes, ok := usage["maxrss"].(int64); ok {
			d.Memory = kilobytes * 1024
		}
	}
}

func readRunning(value protocol.Raw) []RunningTask {
	var requests []struct {
		ID, Name string
		Start    float64 `json:"time_start"`
		Delivery struct {
			Key string `json:"routing_key"`
		} `json:"delivery_info"`
	}
	if protocol.Unmarshal(value, &requests) != nil {
		return nil
	}
	running := make([]RunningTask, len(requests))
	for i, r := range requests {
		running[i] = RunningTask{ID: bounded(r.ID), Name: bounded(r.Name), Queue: bounded(r.Delivery.Key)}
		if r.Start > 1e9 { // older workers tell a time since their start
			running[i].Started = time.UnixMicro(int64(r.Start * 1e6))
		}
	}
	sorting.Stable(running, func(a, b RunningTask) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return running
}

func count(value protocol.Raw) int {
	all, err := value.Elements()
	if err != nil {
		return 0
	}
	return len(all)
}

// readNames reads the names of tasks, each of which may have attributes behind it.
func readNames(value protocol.Raw) (names []string) {
	if protocol.Unmarshal(value, &names) != nil {
		return nil
	}
	for i, n := range names {
		name, _, _ := strings.Cut(n, " [")
		names[i] = bounded(name)
	}
	sort.Strings(names)
	return names
}
