package pool

// parking holds the goroutines that wait for an item. The lock of the pool guards it.
type parking[R Item] struct {
	parked []chan R
	waking bool // a goroutine has got an item and does not run yet
}

// hand gives an item to a goroutine. It reports false when none waits.
func (g *parking[R]) hand(r R) bool {
	n := len(g.parked)
	if n == 0 {
		return false
	}
	g.parked[n-1] <- r
	g.parked = g.parked[:n-1]
	return true
}

// shrink ends waiting goroutines until at most so many are left.
func (g *parking[R]) shrink(most int) {
	for n := len(g.parked); n > most; n-- {
		close(g.parked[n-1])
		g.parked[n-1] = nil
		g.parked = g.parked[:n-1]
	}
}

// mostParked returns the number of goroutines that may wait. p.mu must be held.
func (p *Pool[R]) mostParked() int { return p.slots.size + maxSettling }

// park has a goroutine wait for its next item, or ends it. p.mu must be held.
func (p *Pool[R]) park(parked chan R) {
	if p.closed || len(p.parking.parked) >= p.mostParked() {
		close(parked)
		return
	}
	p.parking.parked = append(p.parking.parked, parked)
}

// dispatch has another goroutine run the next item. It wakes one at a time, which wakes
// the next when it runs: the awake ones may have run all short items by then, and waking
// one takes longer than such a run. p.mu must be held.
func (p *Pool[R]) dispatch() {
	if p.parking.waking {
		return
	}
	r, ok := p.take()
	if !ok {
		return
	}
	p.parking.waking = true
	if p.parking.hand(r) {
		return
	}
	p.wg.Add(1)
	go func() {
		p.awake()
		p.work(r, r.Run())
	}()
}

// awake wakes the next goroutine, if there is an item for it.
func (p *Pool[R]) awake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parking.waking = false
	p.dispatch()
}

// work ends r after its run, and runs further items until the pool is closed. A goroutine
// that has run one item has the stack for the next.
func (p *Pool[R]) work(r R, result Result) {
	next := make(chan R, 1)
	for result != Replaced {
		var ok bool
		if r, ok = p.done(r, result, next); !ok {
			if r, ok = <-next; !ok {
				p.wg.Done()
				return
			}
			p.awake()
		}
		result = r.Run()
	}
}

// ReplaceGoroutine continues r on a new goroutine, because its handler may never return.
// The goroutine that runs r must return Replaced; rest is the rest of the run.
func (p *Pool[R]) ReplaceGoroutine(r R, rest func() Result) {
	go func() { p.work(r, rest()) }()
}
