package workertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Broker is a [worker.Broker] in memory, for tests. It keeps no leases: what
// is claimed stays claimed until it is settled, returned or taken by Steal.
type Broker struct {
	mu       sync.Mutex
	session  worker.Session
	lists    map[string][][]*entry // by queue, then by step; the first element is consumed next
	claimed  map[string]*entry
	results  map[string]*protocol.Result
	history  []protocol.Result
	dead     []worker.DeadLetter
	crashes  map[string]int
	chords   map[string]*chord
	groups   map[string]protocol.Raw
	steps    map[string]int // of the settlements of a claim
	revoked  worker.Revocation
	limits   map[string]time.Time
	number   int
	hold     bool
	requeued int
	sent     []worker.Publication
	changed  chan struct{} // closed and replaced at every change
}

type entry struct {
	queue string
	raw   []byte
}

var _ worker.Broker = (*Broker)(nil)

// NewBroker makes an empty Broker.
func NewBroker() *Broker {
	return &Broker{
		lists: map[string][][]*entry{}, claimed: map[string]*entry{}, results: map[string]*protocol.Result{},
		crashes: map[string]int{}, chords: map[string]*chord{}, groups: map[string]protocol.Raw{},
		steps: map[string]int{}, limits: map[string]time.Time{}, changed: make(chan struct{}),
	}
}

// steps of the priorities, as kombu has them.
const steps = 4

func step(priority int) int { return min(max(priority, 0), 9) / 3 }

func (b *Broker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (b *Broker) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Push puts a message to the end of a queue.
func (b *Broker) Push(queue string, priority int, raw []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.push(queue, priority, raw, false)
}

func (b *Broker) push(queue string, priority int, raw []byte, front bool) {
	if b.lists[queue] == nil {
		b.lists[queue] = make([][]*entry, steps)
	}
	l := &b.lists[queue][step(priority)]
	e := &entry{queue: queue, raw: raw}
	if front {
		*l = slices.Insert(*l, 0, e)
	} else {
		*l = append(*l, e)
	}
	b.wake()
}

// Result returns what is stored for a task id, nil for nothing.
func (b *Broker) Result(id string) *protocol.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.results[id]
}

// History returns every state that was stored, in order.
func (b *Broker) History() []protocol.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.history)
}

// Queued returns the messages of a queue in the order of their consumption.
func (b *Broker) Queued(queue string) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var raws [][]byte
	for _, l := range b.lists[queue] {
		for _, e := range l {
			raws = append(raws, e.raw)
		}
	}
	return raws
}

// Unacked returns the number of claimed messages.
func (b *Broker) Unacked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.claimed)
}

// DeadLetters returns what was set aside.
func (b *Broker) DeadLetters() []worker.DeadLetter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.dead)
}

// Steal takes all claims away, as a peer does that finds their leases expired,
// and tells the worker.
func (b *Broker) Steal() {
	b.mu.Lock()
	var lost []string
	for claim := range b.claimed {
		lost = append(lost, claim)
		delete(b.claimed, claim)
	}
	tell := b.session.Lost
	b.wake()
	b.mu.Unlock()
	for _, claim := range lost {
		if tell != nil {
			tell(claim)
		}
	}
}

// SetCrashes makes a message look as if n runs of it had ended with their
// process.
func (b *Broker) SetCrashes(id string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashes[id] = n
}

// Consume implements [worker.Broker].
func (b *Broker) Consume(s worker.Session) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session = s
	return nil
}

// Run implements [worker.Broker].
func (b *Broker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Wait implements [worker.Broker].
func (b *Broker) Wait(ctx context.Context) error {
	changed := b.Changed()
	if b.waiting() {
		return nil
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
	return nil
}

func (b *Broker) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.session.Queues {
		for _, l := range b.lists[q] {
			if len(l) > 0 {
				return true
			}
		}
	}
	return false
}

// Claim implements [worker.Broker].
func (b *Broker) Claim(_ context.Context, max int) ([]worker.Delivery, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ds []worker.Delivery
	for s := range steps {
		for _, q := range b.session.Queues {
			if b.lists[q] == nil {
				continue
			}
			l := &b.lists[q][s]
			for len(*l) > 0 && len(ds) < max {
				e := (*l)[0]
				*l = (*l)[1:]
				b.number++
				d := worker.Delivery{Claim: fmt.Sprintf("claim-%06d", b.number), Queue: q, Raw: e.raw}
				env, err := protocol.ParseEnvelope(e.raw)
				if err != nil {
					b.bury(d, "not-json")
					if b.session.DeadLettered != nil {
						b.session.DeadLettered(q, "not-json")
					}
					continue
				}
				if env.Redelivered {
					d.Crashes = b.crashes[env.ID] + 1
				}
				b.claimed[d.Claim] = e
				ds = append(ds, d)
			}
		}
	}
	return ds, nil
}

func (b *Broker) bury(d worker.Delivery, reason string) {
	l := worker.DeadLetter{ID: d.Claim, Queue: d.Queue, Reason: reason, At: time.Now(), Size: len(d.Raw), Raw: d.Raw}
	if env, err := protocol.ParseEnvelope(d.Raw); err == nil {
		l.TaskName, l.TaskID = env.Task, env.ID
	}
	b.dead = append(b.dead, l)
	b.wake()
}

// Start implements [worker.Broker].
func (b *Broker) Start(_ context.Context, d worker.Delivery, st worker.Start) (worker.Started, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s worker.Started
	if b.claimed[d.Claim] == nil {
		return s, worker.ErrLost
	}
	env, err := protocol.ParseEnvelope(d.Raw)
	if err == nil && env.Redelivered {
		if m := st.Member; m != nil && b.chords[m.GroupID] != nil {
			c := b.chords[m.GroupID]
			s.Counted = c.over(true) || c.seen[m.TaskID+":"+m.Score]
		}
		if r := b.results[env.ID]; st.Stored && r != nil && r.Status == protocol.StateSuccess {
			s.Success = r
		}
		if !s.Counted && s.Success == nil {
			b.crashes[env.ID]++
			s.Crashed = b.crashes[env.ID]
		}
	}
	if st.Result != nil && !s.Counted && s.Success == nil {
		b.store(st.Result)
	}
	return s, nil
}

func (b *Broker) store(r *protocol.Result) {
	if old := b.results[r.TaskID]; old != nil && old.Status == protocol.StateSuccess {
		return
	}
	b.results[r.TaskID] = r
	b.history = append(b.history, *r)
	b.wake()
}

// Held implements [worker.Broker].
func (b *Broker) Held(_ context.Context, claim string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.claimed[claim] != nil, nil
}

// Settle implements [worker.Broker].
func (b *Broker) Settle(_ context.Context, s worker.Settlement) (worker.Settled, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake()
	d := s.Delivery
	held := d.Claim == "" || b.claimed[d.Claim] != nil
	if s.Result != nil && (held && !b.again(s) || s.Result.Status == protocol.StateSuccess) {
		b.store(s.Result)
	}
	if !held {
		return worker.Settled{}, worker.ErrLost
	}
	env, _ := protocol.ParseEnvelope(d.Raw)
	if settled := b.carry(s); !settled.Done() {
		b.steps[d.Claim] = s.Step + 1
		return settled, nil
	}
	delete(b.steps, d.Claim)
	delete(b.crashes, env.ID)
	if s.Requeue != worker.NoRequeue {
		raw := d.Raw
		if marked, err := protocol.MarkRedelivered(raw); err == nil && s.Requeue == worker.RequeueRedelivered {
			raw = marked
		}
		b.crashes[env.ID] = -1
		b.requeued++
		if !b.hold {
			b.push(d.Queue, env.Priority, raw, false)
		}
	}
	if s.DeadLetter != "" {
		b.bury(d, s.DeadLetter)
	}
	delete(b.claimed, d.Claim)
	return worker.Settled{}, nil
}

// Return implements [worker.Broker].
func (b *Broker) Return(_ context.Context, ds []worker.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(x, y worker.Delivery) int { return cmp.Compare(y.Claim, x.Claim) })
	for _, d := range ds {
		if b.claimed[d.Claim] == nil {
			continue
		}
		delete(b.claimed, d.Claim)
		raw := d.Raw
		if marked, err := protocol.MarkRedelivered(raw); err == nil {
			raw = marked
		}
		env, _ := protocol.ParseEnvelope(raw)
		b.crashes[env.ID] = -1
		b.push(d.Queue, env.Priority, raw, true)
	}
	return nil
}

// Reset implements [worker.Broker].
func (b *Broker) Reset() {}
