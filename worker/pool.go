package worker

import (
	"slices"
	"sync"
	"time"
)

// pool runs requests in the order of their arrival, as many at once as it has
// slots. Nothing waits in a goroutine: a request that has no slot is a slice
// element, so that it can be given back at a stop.
type pool struct {
	mu      sync.Mutex
	slots   int
	active  map[*request]struct{}
	ending  int // requests that gave up their slots before their end
	ready   []*request
	closed  bool
	over    bool          // idle is closed
	idle    chan struct{} // closed when closed and nothing is active or ending
	run     func(*request) after
	resume  func(*request, handled) after // the rest of a run whose goroutine was replaced
	pace    pace                          // of slots
	runs    pace                          // of handlers: without the storing of their ends
	low     int                           // changed hears of an end when there are no more than these
	filling bool                          // more is claimed, until nothing is missing
	plenty  bool                          // the last claim has found all that it asked for
	// hesitates says that there is room for a few, and soon for more.
	hesitates bool
	most      int    // requests to begin in all; 0: no bound
	begun     int    // so far
	used      func() // called, once, with the last of them
	parked    []chan *request
	waking    bool          // a goroutine has got a request, and does not run yet
	alone     *request      // runs, and nothing else begins
	since     time.Time     // the head waits to run alone
	timer     *time.Timer   // that ends its patience
	changed   chan struct{} // capacity 1: something ended or was resized
	peak      int           // of active, since it was asked for last
	wg        sync.WaitGroup
}

func newPool(slots int) *pool {
	return &pool{slots: slots, active: map[*request]struct{}{}, idle: make(chan struct{}), changed: make(chan struct{}, 1)}
}

// add queues rs. It reports false when the pool is closed; rs stay the
// caller's.
func (p *pool) add(rs ...*request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	now := time.Now()
	for _, r := range rs {
		r.queued = now
	}
	p.ready = append(p.ready, rs...)
	p.dispatch()
	return true
}

// take gives the next request a slot, and returns nil when there is none that may
// begin; p.mu is held.
func (p *pool) take() *request {
	if p.closed || len(p.active) >= p.slots || len(p.ready) == 0 || p.most > 0 && p.begun >= p.most {
		return nil
	}
	r := p.ready[0]
	if p.alone != nil || r.lastChance && !p.mayRunAlone() {
		return nil
	}
	p.ready[0] = nil
	p.ready = p.ready[1:]
	p.active[r] = struct{}{}
	r.began = time.Now()
	p.peak = max(p.peak, len(p.active))
	if p.begun++; p.begun == p.most {
		p.used()
	}
	if r.lastChance {
		p.alone, p.since = r, time.Time{}
	}
	return r
}

// enough begins nothing more of what is in the pool.
func (p *pool) enough() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = p.begun
}

// alonePatience is how long a request that wants the worker for itself waits for
// the others to end.
const alonePatience = 30 * time.Second

// mayRunAlone reports whether the request at the head, whose last chance it is,
// may begin: when nothing else runs, so that nothing else is blamed for a crash,
// or when that does not come to pass.
func (p *pool) mayRunAlone() bool {
	if len(p.active)+p.ending == 0 {
		return true
	}
	if p.since.IsZero() {
		p.since = time.Now()
		p.timer = time.AfterFunc(alonePatience, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.dispatch()
		})
	}
	return time.Since(p.since) >= alonePatience
}

const (
	// shortRun is how long a run takes at most that gives up its slot before its end
	// is stored: the round trip to the broker takes as long.
	shortRun = time.Millisecond
	// mostEnding bounds those that do: should the process die just then, they run again.
	mostEnding = 64
)

// release lets another request have the slot of a short one, of which nothing is left
// but to tell the broker of its end.
func (p *pool) release(r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(r.began)
	p.runs.note(took)
	if len(p.ready) > 0 && !p.ready[0].lastChance && p.giveUp(r, took) {
		p.dispatch()
	}
}

// leave gives up the slot of a short run whose end the pool will hear of by ended.
func (p *pool) leave(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(r.began)
	p.runs.note(took)
	return p.giveUp(r, took)
}

// giveUp takes the slot of a run, if it was a short one; p.mu is held.
func (p *pool) giveUp(r *request, took time.Duration) bool {
	if _, ok := p.active[r]; !ok || took > shortRun || p.ending >= mostEnding || p.alone == r {
		return false
	}
	delete(p.active, r)
	p.ending++
	p.pace.note(took)
	return true
}

// ended ends n requests that had given up their slots.
func (p *pool) ended(n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending -= n
	p.dispatch() // one may have waited to run alone
	p.afterEnd()
}

// afterEnd tells those who wait for ends; p.mu is held.
func (p *pool) afterEnd() {
	p.checkIdle()
	if p.waits() == 0 && !p.hesitates || p.held() <= p.low {
		p.signal()
	}
}

// done ends a request, unless it only gave up its slot, and returns the one that takes
// its place. When there is none it comes over parked, which is closed with the pool, or
// when enough others wait.
func (p *pool) done(r *request, is after, parked chan *request) (next *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch _, active := p.active[r]; {
	case is == runEnding: // ended tells of it
	case active:
		if !r.started.IsZero() { // else there was no run
			p.pace.note(time.Since(r.began))
		}
		delete(p.active, r)
	default:
		p.ending--
	}
	if p.alone == r {
		p.alone = nil
	}
	if next = p.take(); next == nil && (p.closed || len(p.parked) >= p.slots+mostEnding) {
		close(parked)
	} else if next == nil {
		p.parked = append(p.parked, parked)
	}
	p.dispatch()
	p.afterEnd()
	return next
}

// checkIdle ends the wait for the last request; p.mu is held.
func (p *pool) checkIdle() {
	if p.closed && !p.over && len(p.active)+p.ending == 0 {
		p.over = true
		close(p.idle)
	}
}

// signal says that something has changed; p.mu is held.
func (p *pool) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// waiting is the number of requests that wait for a slot.
func (p *pool) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

// peakRunning is the most that ran at once since the last call.
func (p *pool) peakRunning() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	peak := p.peak
	p.peak = len(p.active)
	return peak
}

// size is the number of slots.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots
}

func (p *pool) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.active)
}

// unended is the number of requests that run, or whose ends are being stored.
func (p *pool) unended() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.active) + p.ending
}

// resize changes the number of slots, to one at least. What runs goes on: with
// fewer slots nothing begins until enough has ended.
func (p *pool) resize(slots int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = max(slots, 1)
	p.dispatch()
	for n := len(p.parked); n > p.slots+mostEnding; n-- {
		close(p.parked[n-1])
		p.parked = p.parked[:n-1]
	}
	p.signal()
}

// split returns those that run and those that wait for a slot.
func (p *pool) split() (active, waiting []*request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.active {
		active = append(active, r)
	}
	return active, slices.Clone(p.ready)
}

// oldest is when the first in the row began to wait for a slot; zero when nobody
// waits.
func (p *pool) oldest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return time.Time{}
	}
	return p.ready[0].queued
}

// requests are those that run or wait for a slot.
func (p *pool) requests() []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	rs := slices.Clone(p.ready)
	for r := range p.active {
		rs = append(rs, r)
	}
	return rs
}

// close starts nothing more and returns what had not begun.
func (p *pool) close() []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	rs := p.ready
	p.ready = nil
	for _, parked := range p.parked {
		close(parked)
	}
	p.parked = nil
	p.checkIdle()
	return rs
}

// drained is closed when, after close, the last running request ended.
func (p *pool) drained() <-chan struct{} { return p.idle }
