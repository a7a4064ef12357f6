package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// waiter waits for messages without taking them: with a peeker for each list, or by polling.
type waiter struct {
	*server
	peekers peekers

	ready     chan struct{}             // capacity 1: a message may be waiting
	pause     atomic.Int64              // between two looks into many lists; 0: they are watched
	pollUntil atomic.Pointer[time.Time] // until then the server cannot block without taking
	fault     atomic.Pointer[error]     // of waiting, to be returned once
	refusal   *error                    // of a heartbeat, of its goroutine alone; nil after a good one
}

func newWaiter(s *server) *waiter { return &waiter{server: s, ready: make(chan struct{}, 1)} }

// wait blocks until a message may be waiting, ctx ends, or some seconds have passed.
func (w *waiter) wait(ctx context.Context) error {
	wait := waitTime
	if pause := time.Duration(w.pause.Load()); pause > 0 {
		wait = pause
	} else if until := w.pollUntil.Load(); until != nil && time.Now().Before(*until) {
		wait = w.cfg.PollInterval
	} else {
		w.peekers.arm()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-w.ready:
	case <-t.C:
	}
	// A server that is full answers a claim that finds nothing, but refuses BLMOVE.
	if err := w.fault.Swap(nil); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for messages: %w", *err)
	}
	return nil
}

// observe returns beat, whose refusals the next wait returns: a claim that finds nothing
// writes nothing, and polling many lists is only such claims.
func (w *waiter) observe(beat func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := beat(ctx)
		switch {
		case conn.Refusal(err) != "":
			w.refusal = &err
			w.fault.Store(w.refusal)
		case err == nil && w.refusal != nil:
			w.fault.CompareAndSwap(w.refusal, nil) // there may have been no wait since
			w.refusal = nil
		}
		return err
	}
}

// watch has lists watched by peekers.
func (w *waiter) watch(lists []list) {
	w.pause.Store(0)
	w.peekers.set(w, lists)
}

// poll has lists looked at by claims, with a pause between two of them.
func (w *waiter) poll(pause time.Duration) {
	w.pause.Store(int64(pause))
	w.peekers.set(w, nil)
}

// signal ends a wait.
func (w *waiter) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// pollSpell is the number of polls after which BLMOVE is tried again: the server may be
// another one, or its user may have got the permission.
const pollSpell = 300

// fallBack turns to polling, on a server without BLMOVE (before Redis 6.2).
func (w *waiter) fallBack() {
	until := time.Now().Add(pollSpell * w.cfg.PollInterval)
	if w.pollUntil.Swap(&until) == nil {
		w.log.Info("BLMOVE unavailable (it needs Redis 6.2 and the permission), polling queues", "interval", w.cfg.PollInterval.Seconds())
	}
}

// peekers are the peekers of the watched lists. They run from start on, or from when their
// queue was added, until it is cancelled.
type peekers struct {
	mu    sync.Mutex
	all   map[string]*peeker // by key
	ctx   context.Context    // of start; nil before
	loops sync.WaitGroup
}

// start runs all peekers until ctx ends.
func (p *peekers) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, one := range p.all {
		p.launch(one)
	}
}

// wait waits for all peekers to end.
func (p *peekers) wait() { p.loops.Wait() }

// launch runs one peeker. p.mu must be held.
func (p *peekers) launch(one *peeker) {
	ctx, cancel := context.WithCancel(p.ctx)
	one.cancel = cancel
	p.loops.Go(func() {
		defer cancel()
		one.run(ctx)
	})
}

// set changes the watched lists.
func (p *peekers) set(w *waiter, lists []list) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[string]*peeker{}
	for _, l := range lists {
		one := p.all[l.key]
		if one == nil {
			one = newPeeker(w, l.key)
			if p.ctx != nil && p.ctx.Err() == nil {
				p.launch(one)
			}
		}
		wanted[l.key] = one
	}
	for key, one := range p.all {
		if wanted[key] == nil && one.cancel != nil {
			one.cancel()
		}
	}
	p.all = wanted
}

// arm has all peekers look again.
func (p *peekers) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		one.arm()
	}
}

// peeker waits for messages in one list without taking them. BLMOVE from the tail of a list
// to its own tail blocks while the list is empty, and changes nothing. A lost reply loses no
// message.
type peeker struct {
	waiter *waiter
	key    string
	armed  chan struct{}
	cancel context.CancelFunc // nil before it runs

	conn redigo.Conn      // nil: none; of run alone
	from *conn.Generation // of conn
	idle conn.Idle
}

func newPeeker(w *waiter, key string) *peeker {
	return &peeker{waiter: w, key: key, armed: make(chan struct{}, 1)}
}

// arm has the peeker look again. A peeker that waits already continues.
func (p *peeker) arm() {
	select {
	case p.armed <- struct{}{}:
	default:
	}
}

func (p *peeker) run(ctx context.Context) {
	defer p.hangUp()
	var pause backoff.Backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.armed:
		}
		found, err := p.peek(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause.Reset()
			if !found {
				// The worker still waits, or will wait again: a message may come any time.
				p.arm()
				continue
			}
		case conn.IsUnavailable(err):
			p.waiter.fallBack()
		case conn.IsWrongType(err):
			// The list only costs its own messages: claims skip it. It may be mended any time.
			_ = backoff.Sleep(ctx, time.Second) // the loop checks ctx
			p.arm()
			continue
		default:
			p.replaceBroken()
			// The next claim may work, and find nothing: a server that is full still
			// answers reads. Without a pause this would be a busy loop.
			if !pause.Wait(ctx) {
				return
			}
			p.waiter.fault.Store(&err)
		}
		p.waiter.signal()
	}
}

// peek blocks until the list has a message, or the block time is over.
func (p *peeker) peek(ctx context.Context) (found bool, err error) {
	if p.conn == nil {
		p.from = p.waiter.conns.Current()
		if p.conn, err = p.waiter.conns.Dial(ctx); err != nil {
			p.conn = nil
			return false, err
		}
	}
	c := p.conn
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	leave := context.AfterFunc(p.from.Over(), func() { c.Close() })
	defer leave()
	began, block := time.Now(), p.idle.Most(blockTime)
	reply, err := redigo.DoWithTimeout(c, blockTime+blockMargin, "BLMOVE", p.key, p.key, "RIGHT", "RIGHT", block.Seconds())
	if err != nil && c.Err() != nil && (p.from.Over().Err() != nil || p.idle.IsCut(err, time.Since(began), block)) {
		p.hangUp() // it was replaced, or was idle for too long: the next look uses another connection
		return true, nil
	}
	return reply != nil, err
}

// replaceBroken closes a broken connection, and all others: they lead to the same server, so
// a claim over one of them would hang as well.
func (p *peeker) replaceBroken() {
	if p.conn != nil && p.conn.Err() != nil {
		p.hangUp()
		p.waiter.conns.Replace(p.from, true)
	}
}

func (p *peeker) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}
