package workertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Broker is a [broker.Broker] in memory, for tests. It keeps no leases: a claim lasts
// until it is settled, returned or taken by Steal.
type Broker struct {
	fleet
	outbox

	mu       sync.Mutex
	session  broker.Session
	lists    queues
	claimed  map[string]*entry
	results  resultStore
	letters  Letters
	crashes  map[string]int
	chords   chords
	groups   map[string]protocol.Raw
	steps    stepCounts
	revoked  broker.Revocation
	remote   remote
	number   int
	hold     bool
	requeued int
	returned int
	sent     []broker.Publication
	changed  chan struct{} // closed and replaced at every change
}

type entry struct {
	queue string
	raw   []byte
}

// queues holds the messages by queue, then by step of their priority. The first element
// is consumed next.
type queues map[string][][]*entry

func (q queues) push(queue string, priority int, raw []byte, front bool) {
	if q[queue] == nil {
		q[queue] = make([][]*entry, steps)
	}
	l := &q[queue][step(priority)]
	e := &entry{queue: queue, raw: raw}
	if front {
		*l = slices.Insert(*l, 0, e)
	} else {
		*l = append(*l, e)
	}
}

// depth returns the number of messages in the named queues.
func (q queues) depth(names []string) (n int) {
	for _, name := range names {
		for _, l := range q[name] {
			n += len(l)
		}
	}
	return n
}

var _ broker.Broker = (*Broker)(nil)

// NewBroker makes an empty Broker.
func NewBroker() *Broker {
	b := &Broker{
		lists: queues{}, claimed: map[string]*entry{}, results: resultStore{byID: map[string]*protocol.Result{}},
		crashes: map[string]int{}, chords: chords{}, groups: map[string]protocol.Raw{},
		steps: stepCounts{}, changed: make(chan struct{}),
	}
	b.letters.b = b
	b.outbox = outbox{b: b, marks: marks{byTask: map[string]mark{}}, streams: streams{}, settled: map[string]bool{}, once: map[string]bool{}}
	return b
}

// steps is the number of steps of the priorities, as in kombu.
const steps = 4

func step(priority int) int { return min(max(priority, 0), 9) / 3 }

func (b *Broker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Consume implements [broker.Broker].
func (b *Broker) Consume(s broker.Session) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session = s
	return nil
}

// Run implements [broker.Broker].
func (b *Broker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Wait implements [broker.Broker].
func (b *Broker) Wait(ctx context.Context) error {
	changed := b.Changed()
	if n, err := b.Depth(ctx); n > 0 || err != nil {
		return err
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

// ClaimAfter implements [broker.Pipeliner].
func (b *Broker) ClaimAfter(context.Context, int, int, func()) ([]broker.Delivery, int, error) {
	return nil, 0, nil
}

// SettleAll implements [broker.Batcher].
func (b *Broker) SettleAll(ctx context.Context, ss []broker.Settlement) []error {
	errs := make([]error, len(ss))
	for i, s := range ss {
		_, errs[i] = b.Settle(ctx, s)
	}
	return errs
}

// Claim implements [broker.Broker].
func (b *Broker) Claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	return b.ClaimExcept(ctx, nil, max)
}

// ClaimExcept implements [broker.Selector].
func (b *Broker) ClaimExcept(_ context.Context, names []string, max int) ([]broker.Delivery, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ds []broker.Delivery
	claim := func(e *entry) (taken bool) {
		if len(ds) >= max || len(names) > 0 && stays(&b.session.Decoder, e.raw, names) {
			return false
		}
		b.number++
		d := broker.Delivery{Claim: fmt.Sprintf("claim-%06d", b.number), Queue: e.queue, Raw: e.raw}
		env, err := protocol.ParseEnvelope(e.raw)
		if err != nil {
			b.bury(d, "not-json")
			if b.session.DeadLettered != nil {
				b.session.DeadLettered(e.queue, "not-json")
			}
			return true
		}
		if env.Redelivered {
			d.Crashes = b.crashes[env.ID] + 1
		}
		b.claimed[d.Claim] = e
		ds = append(ds, d)
		return true
	}
	for s := range steps {
		for _, q := range b.session.Queues {
			if b.lists[q] != nil {
				b.lists[q][s] = slices.DeleteFunc(b.lists[q][s], claim)
			}
		}
	}
	return ds, nil
}

// stays reports whether a message stays in its queue while tasks of these names are held.
func stays(d *protocol.Decoder, raw []byte, names []string) bool {
	m, err := d.Decode(raw)
	return err != nil || slices.Contains(names, m.Task)
}

// Start implements [broker.Broker].
func (b *Broker) Start(_ context.Context, d broker.Delivery, st broker.Start) (broker.Started, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s broker.Started
	if b.claimed[d.Claim] == nil {
		return s, broker.ErrLost
	}
	env, err := protocol.ParseEnvelope(d.Raw)
	if err == nil && env.Redelivered {
		if m := st.Member; m != nil && b.chords[m.GroupID] != nil {
			c := b.chords[m.GroupID]
			s.Counted = c.over(true) || c.seen[m.TaskID+":"+m.Score]
		}
		if r := b.results.byID[env.ID]; st.Stored && r != nil && r.Status == protocol.StateSuccess && sameTask(r.Fingerprint, st.Fingerprint) {
			s.Success = r
		}
		if !s.Counted && s.Success == nil {
			b.crashes[env.ID]++
			s.Crashed = b.crashes[env.ID]
		}
	}
	if st.Result != nil && !s.Counted && s.Success == nil {
		b.results.store(st.Result)
		b.wake()
	}
	return s, nil
}

// sameTask reports whether a result may be that of a task, by their fingerprints.
func sameTask(stored, task string) bool { return stored == "" || task == "" || stored == task }

// Held implements [broker.Broker].
func (b *Broker) Held(_ context.Context, claim string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.claimed[claim] != nil, nil
}

// Reset implements [broker.Broker].
func (b *Broker) Reset() {}
