// Package returns gathers messages on their way back to the fronts of their queues.
package returns

import (
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
)

// Window is how long a message waits for others that go back with it. Messages that are
// given back one by one would end in the order of their returns, the last one first.
const Window = 100 * time.Millisecond

// Batch is a number of messages that go back together.
type Batch struct {
	Deliveries []broker.Delivery
	Tasks      map[string]bool // names of their tasks

	over chan struct{}
}

// Gatherer gives messages back together, so that they keep the order of their claims. Make
// one with New.
type Gatherer struct {
	give func(Batch)
	wg   sync.WaitGroup
	stop chan struct{} // closed by Stop

	mu      sync.Mutex
	batch   *Batch // nil: none was added since the last one went
	giving  int    // batches that go back now
	stopped bool
}

// New returns a Gatherer that gives messages back with give.
func New(give func(Batch)) *Gatherer {
	return &Gatherer{give: give, stop: make(chan struct{})}
}

// Add gives the message of a task back soon, together with others. The channel is closed
// when that is done, or when Stop was called.
func (g *Gatherer) Add(task string, d broker.Delivery) (over <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.batch == nil {
		g.batch = &Batch{Tasks: map[string]bool{}, over: make(chan struct{})}
		if g.stopped {
			close(g.batch.over)
		} else {
			g.wg.Go(g.giveSoon)
		}
	}
	g.batch.Deliveries = append(g.batch.Deliveries, d)
	g.batch.Tasks[task] = true
	return g.batch.over
}

func (g *Gatherer) giveSoon() {
	window := time.NewTimer(Window)
	defer window.Stop()
	select {
	case <-window.C:
	case <-g.stop:
	}
	if b := g.ripe(); b != nil {
		g.give(*b)
		g.given()
		close(b.over)
	}
}

// ripe returns the batch to give back now. After Stop it is nil, and the batch stays.
func (g *Gatherer) ripe() *Batch {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.batch
	if g.stopped {
		close(b.over)
		return nil
	}
	g.batch = nil
	g.giving++
	return b
}

func (g *Gatherer) given() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.giving--
}

// Busy reports whether messages are about to go back. A message that is claimed meanwhile
// would overtake them.
func (g *Gatherer) Busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.stopped && (g.batch != nil || g.giving > 0)
}

// Stop keeps the messages from then on, for Take.
func (g *Gatherer) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.stopped = true
		close(g.stop)
	}
}

// Take waits for a batch that is on its way, and returns the messages that were kept since
// Stop.
func (g *Gatherer) Take() []broker.Delivery {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.batch == nil {
		return nil
	}
	b := g.batch
	g.batch = nil
	return b.Deliveries
}
