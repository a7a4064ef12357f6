package worker

// How a pool comes by the goroutines that its requests run on.

// dispatch has another goroutine start what has a slot; p.mu is held. It wakes one at a
// time, which wakes the next when it runs: of short requests those that are awake may
// have run all by then, and to wake one takes longer than such a run.
func (p *pool) dispatch() {
	if p.waking {
		return
	}
	r := p.take()
	if r == nil {
		return
	}
	p.waking = true
	if n := len(p.parked); n > 0 {
		p.parked[n-1] <- r
		p.parked = p.parked[:n-1]
		return
	}
	p.wg.Add(1)
	go func() {
		p.awake()
		p.work(r, p.run(r))
	}()
}

// awake wakes the next goroutine, if there is something for it.
func (p *pool) awake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waking = false
	p.dispatch()
}

// after is what has become of a run when its function returns.
type after int

const (
	runEnded    after = iota
	runEnding         // the pool is told of its end later
	runReplaced       // another goroutine sees it to its end, in the place of this one
)

// work goes on after r has been run, and runs others until the pool is closed: a
// goroutine that has run one has the stack for the next.
func (p *pool) work(r *request, is after) {
	next := make(chan *request, 1)
	for is != runReplaced {
		if r = p.done(r, is, next); r == nil {
			if r = <-next; r == nil {
				p.wg.Done()
				return
			}
			p.awake()
		}
		is = p.run(r)
	}
}

// instead has a new goroutine take the place of the one that runs r, which may never
// return.
func (p *pool) instead(r *request, a handled) {
	go func() { p.work(r, p.resume(r, a)) }()
}
