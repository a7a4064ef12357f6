package workers

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/worker/inspect"
)

// roll is the state of all workers at a moment: what they answered, and what their events
// tell. It does not change.
type roll struct {
	at      time.Time
	fault   string // why they could not be asked, "" after an answer
	workers []worker
}

// worker is one worker, from its answers and its events.
type worker struct {
	node     string
	answered bool // it has answered the last question
	unasked  bool // the last question has reached no worker
	told     inspect.Worker
	event    fleet.Worker // zero without events
	heard    bool         // there are events
	queues   []string
	drained  *inspect.Drained // it was told to take nothing more, and consumes nothing
	status   string           // of its health; "": it is healthy, or tells nothing
	trouble  string           // the parts of it that are not well
}

const (
	// askEvery is the time between two questions to the workers while a page is open.
	askEvery = 3 * time.Second
	// openFor is how long after a load a page counts as open.
	openFor = 30 * time.Second
	// patience bounds the questions of one round.
	patience = 3 * time.Second
)

// roster asks the workers what they are, once for all readers, while a page is open.
type roster struct {
	operator Operator
	fleet    Fleet               // nil: no events
	vitals   func() vitals.State // nil: no health
	now      func() time.Time

	last   atomic.Pointer[roll]
	seen   atomic.Int64  // Unix nanoseconds of the last load
	wake   chan struct{} // capacity 1: a page was opened
	asking chan struct{} // capacity 1: held by one round of questions
}

func newRoster(o Operator, f Fleet, health func() vitals.State, now func() time.Time) *roster {
	return &roster{operator: o, fleet: f, vitals: health, now: now, wake: make(chan struct{}, 1), asking: make(chan struct{}, 1)}
}

// run asks until ctx ends.
func (r *roster) run(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.wake:
		}
		if last := r.last.Load(); last != nil && r.now().Sub(last.at) < askEvery {
			continue
		}
		if r.now().UnixNano()-r.seen.Load() < int64(openFor) {
			r.ask(ctx)
		}
	}
}

// get returns the latest roll. The first reader waits for it.
func (r *roster) get(ctx context.Context) *roll {
	r.seen.Store(r.now().UnixNano())
	select {
	case r.wake <- struct{}{}:
	default:
	}
	last := r.last.Load()
	if last != nil && r.now().Sub(last.at) < openFor {
		return last
	}
	return r.ask(ctx)
}

// ask asks all workers now.
func (r *roster) ask(ctx context.Context) *roll {
	if !r.begin(ctx) {
		return cmp.Or(r.last.Load(), &roll{at: r.now(), fault: ctx.Err().Error()})
	}
	defer r.end()
	if last := r.last.Load(); last != nil && r.now().Sub(last.at) < askEvery/3 {
		return last // another reader has asked meanwhile
	}
	next := r.collect(ctx)
	r.last.Store(next)
	return next
}

// changed asks anew after an action.
func (r *roster) changed(ctx context.Context) {
	if r.begin(ctx) {
		defer r.end()
		r.last.Store(r.collect(ctx))
	}
}

// begin begins a round of questions, after the one that goes on. It reports false when ctx ends
// before.
func (r *roster) begin(ctx context.Context) bool {
	select {
	case r.asking <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *roster) end() { <-r.asking }

func (r *roster) collect(ctx context.Context) *roll {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	next := &roll{at: r.now()}
	byNode := map[string]*worker{}
	if r.fleet != nil {
		for _, e := range r.fleet.Workers() {
			byNode[e.Node] = &worker{node: e.Node, event: e, heard: true}
		}
	}
	answered, err := r.operator.Workers(ctx)
	if err != nil {
		next.fault = err.Error()
	}
	for _, a := range answered {
		w := byNode[a.Node]
		if w == nil {
			w = &worker{node: a.Node}
			byNode[a.Node] = w
		}
		w.told, w.answered = a, true
	}
	if err == nil && len(answered) > 0 {
		r.addQueues(ctx, byNode, next)
	}
	r.addHealth(byNode)
	for _, w := range byNode {
		w.unasked = err != nil && !w.answered
		next.workers = append(next.workers, *w)
	}
	sorting.By(next.workers, func(a, b worker) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.node, b.node))
	})
	return next
}

// rank puts the live workers first.
func rank(w worker) int {
	switch {
	case w.answered:
		return 0
	case w.heard && w.event.Online:
		return 1
	}
	return 2
}

// addHealth adds how the workers are that are not healthy. Of several processes of one node the
// one in the most trouble counts.
func (r *roster) addHealth(byNode map[string]*worker) {
	if r.vitals == nil {
		return
	}
	for _, p := range r.vitals().Processes {
		w, status := byNode[p.Node], p.Report.Status
		if w == nil || status == monitor.StatusHealthy || w.status == monitor.StatusUnhealthy {
			continue
		}
		w.status, w.trouble = status, vitals.Trouble(p.Report)
	}
}

// addQueues adds the consumed queues, and which workers are drained.
func (r *roster) addQueues(ctx context.Context, byNode map[string]*worker, next *roll) {
	consumers, _, err := r.operator.Consumers(ctx)
	if err != nil {
		next.fault = err.Error()
		return
	}
	for queue, nodes := range consumers {
		for _, n := range nodes {
			if w := byNode[n]; w != nil {
				w.queues = append(w.queues, queue)
			}
		}
	}
	var idle []string
	for _, w := range byNode {
		sort.Strings(w.queues)
		if w.answered && len(w.queues) == 0 {
			idle = append(idle, w.node)
		}
	}
	drained, err := r.operator.Drained(ctx, idle...)
	if err != nil {
		next.fault = err.Error()
		return
	}
	for node, d := range drained {
		byNode[node].drained = &d
	}
}

// find returns a worker by its node.
func (r *roll) find(node string) (worker, bool) {
	i := slices.IndexFunc(r.workers, func(w worker) bool { return w.node == node })
	if i < 0 {
		return worker{}, false
	}
	return r.workers[i], true
}
