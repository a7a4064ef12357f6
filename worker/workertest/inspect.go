package workertest

import (
	"slices"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

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
	b.lists.push(queue, priority, raw, false)
	b.wake()
}

// Result returns the result stored for a task id, nil if there is none.
func (b *Broker) Result(id string) *protocol.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.results.byID[id]
}

// History returns every state that was stored, in order.
func (b *Broker) History() []protocol.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.results.history)
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

// DeadLetters returns the open dead letters, the oldest first.
func (b *Broker) DeadLetters() []broker.DeadLetter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.letters.list(broker.LetterOpen)
}

// Letters returns the dead letters, with what a person may do to them.
func (b *Broker) Letters() *Letters { return &b.letters }

// Steal takes all claims, as another worker does after their leases expired, and tells
// the worker.
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

// SetCrashes sets the number of runs of a message that ended with their process.
func (b *Broker) SetCrashes(id string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashes[id] = n
}
