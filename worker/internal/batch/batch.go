// Package batch sends entries to a broker in few round trips (group commit).
package batch

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// most bounds one round trip: a script blocks all other clients of the broker.
	most = 64
	// mostBytes bounds one round trip of entries whose size is known.
	mostBytes = 256 << 10
	// crowd is the number of waiting entries at which a second round trip begins while
	// one is in progress.
	crowd = 16
	// patience is how long a round trip waits for entries that are expected.
	patience = 500 * time.Microsecond
)

// Config describes a Batcher.
type Config[T any] struct {
	// Send makes one round trip. It must not keep the slice.
	Send func([]T)
	// Expects reports whether more entries are about to come. It is called with the lock
	// of the Batcher held, and may take the lock of a pool. A pool must therefore not
	// call a Batcher while it holds its lock. nil: nothing is ever expected.
	Expects func() bool
	// Size returns the bytes of an entry; nil: they do not matter.
	Size func(T) int
}

// Batcher sends entries many at a time, so that no goroutine waits for one. Entries that
// come while a round trip is in progress wait for the next. Make one with New.
type Batcher[T any] struct {
	send    func([]T)
	expects func() bool
	size    func(T) int
	wg      sync.WaitGroup

	mu        sync.Mutex
	waiting   []T
	spare     []T           // memory of the last sender that ended
	senders   int           // goroutines that make round trips
	gathering chan struct{} // closed when nothing is expected; nil: no sender waits for entries
	claim     claimStep
	last      int // entries of the last round trip
}

// claimStep is the progress of a claim that goes along with a round trip.
type claimStep int

const (
	noClaim      claimStep = iota
	claimComes             // round trips wait for the claim
	claimReady             // the next round trip takes the claim along
	claimCarried           // a round trip took it; the next one waits for its messages, which are about to run
)

// New returns a Batcher without entries.
func New[T any](cfg Config[T]) *Batcher[T] {
	return &Batcher[T]{send: cfg.Send, expects: cfg.Expects, size: cfg.Size}
}

// Add sends an entry soon.
func (b *Batcher[T]) Add(e T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, e)
	if b.senders == 0 || b.senders == 1 && len(b.waiting) >= crowd {
		b.senders++
		b.wg.Add(1)
		go b.run()
	}
	b.check()
}

// Wait waits until all entries were sent. Nothing may be added meanwhile.
func (b *Batcher[T]) Wait() { b.wg.Wait() }

// check ends the wait of gather when nothing is expected any more. b.mu must be held.
func (b *Batcher[T]) check() {
	if b.gathering != nil && (len(b.waiting) >= crowd || !b.missing()) {
		close(b.gathering)
		b.gathering = nil
	}
}

// missing reports whether something is expected. b.mu must be held.
func (b *Batcher[T]) missing() bool {
	return b.claim == claimComes || b.claim == claimCarried || b.expects != nil && b.expects()
}

// ClaimComes has round trips wait for a claim that goes along, if entries wait or more are
// expected. It returns how many wait.
func (b *Batcher[T]) ClaimComes(more int) (waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if waiting = len(b.waiting); more+waiting > 0 {
		b.claim = claimComes
	}
	return waiting
}

// ClaimReady has the next round trip take the claim along.
func (b *Batcher[T]) ClaimReady() { b.step(claimReady) }

// ClaimDone has round trips wait no longer for a claim, nor for its messages.
func (b *Batcher[T]) ClaimDone() { b.step(noClaim) }

func (b *Batcher[T]) step(to claimStep) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claim = to
	b.check()
}

// run makes round trips as long as entries wait.
func (b *Batcher[T]) run() {
	defer b.wg.Done()
	var entries []T
	for {
		b.gather()
		if entries = b.take(entries); entries == nil {
			return
		}
		b.send(entries)
		b.sent()
	}
}

// sent notes that a round trip has taken a claim along.
func (b *Batcher[T]) sent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claim == claimReady {
		b.claim = claimCarried
	}
}

// gather waits a moment for expected entries: of runs that began together many end at the
// same time.
func (b *Batcher[T]) gather() {
	b.mu.Lock()
	if b.expects == nil {
		several := b.last > 1 && len(b.waiting) < crowd/2
		b.mu.Unlock()
		if several {
			runtime.Gosched() // goroutines that can run now may add entries
		}
		return
	}
	if n := len(b.waiting); n == 0 || n >= crowd || b.gathering != nil || !b.missing() {
		b.mu.Unlock()
		return
	}
	all := make(chan struct{})
	b.gathering = all
	b.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.gathering == all {
			b.gathering = nil
		}
	}
}

// take returns the next entries, in the memory of the last ones. With none there is one
// sender less.
func (b *Batcher[T]) take(last []T) []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.next()
	b.last = n
	clear(last)
	if n == 0 {
		b.senders--
		b.spare = last
		return nil
	}
	if last == nil {
		last, b.spare = b.spare, nil
	}
	entries := append(last[:0], b.waiting[:n]...)
	rest := copy(b.waiting, b.waiting[n:])
	clear(b.waiting[rest:])
	b.waiting = b.waiting[:rest]
	return entries
}

// next returns the number of entries of the next round trip. b.mu must be held.
func (b *Batcher[T]) next() int {
	n := min(len(b.waiting), most)
	if b.size == nil {
		return n
	}
	bytes := 0
	for i, e := range b.waiting[:n] {
		if bytes += b.size(e); bytes > mostBytes {
			return max(i, 1)
		}
	}
	return n
}

// remove removes an entry that waits, if it still does.
func (b *Batcher[T]) remove(is func(T) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = slices.DeleteFunc(b.waiting, is)
}
