package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/control"
)

// Autoscale bounds the number of slots between Min and Max (worker_autoscaler,
// --autoscale). The number follows the load: it grows while all slots are busy and
// messages wait, in the queues or for a slot, and shrinks to what was used of late.
// Nothing that runs is cut off by it.
type Autoscale struct {
	// Min and Max are numbers of slots, 1 ≤ Min ≤ Max. With Max 0 there is no
	// scaling, and Config.Concurrency holds.
	Min, Max int
}

// mostSlots bounds the number of slots of every worker.
const mostSlots = 1 << 16

const (
	// scaleInterval is the time between two looks at the load.
	scaleInterval = time.Second
	// scalePatience is how long all slots must be busy, or the first message in the
	// row must wait, before there are more.
	scalePatience = 2 * time.Second
	// scaleKeepAlive is how long slots must have been of no use before there are
	// fewer (AUTOSCALE_KEEPALIVE).
	scaleKeepAlive = 30 * time.Second
)

// scaler decides on the number of slots. A nil one never does.
type scaler struct {
	mu        sync.Mutex
	low, high int
	most      int       // that high may be set to; 0: no bound
	busySince time.Time // all slots are busy and something waits; zero: not so
	window    time.Time // of scaleKeepAlive: when it began
	peak      int       // of the requests that ran or waited since then

	status func() load
	resize func(int)
}

// load is what the scaler goes by.
type load struct {
	slots, running int           // the most that ran at once since the last look
	waiting        int           // claimed, for a slot
	depth          int           // in the queues
	oldest         time.Duration // that the first in the row waits for a slot
}

func (a Autoscale) check() error {
	switch {
	case a == Autoscale{}:
		return nil
	case a.Min < 1 || a.Max < a.Min:
		return fmt.Errorf("from %d to %d slots: want at least 1, and a maximum that is not below the minimum", a.Min, a.Max)
	}
	return nil
}

// set changes the bounds; nil leaves one as it is, or, when it would contradict
// the other, moves it along.
func (s *scaler) set(high, low *int) (newHigh, newLow int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, l := s.high, s.low
	if high != nil {
		if h = *high; low == nil {
			l = min(l, h)
		}
	}
	if low != nil {
		if l = *low; high == nil {
			h = max(h, l)
		}
	}
	if err := (Autoscale{l, h}).check(); err != nil || h == 0 || h > mostSlots {
		return 0, 0, fmt.Errorf("autoscale from %d to %d slots: want at least 1, and a maximum that is not below the minimum", l, h)
	}
	if s.most > 0 && h > s.most {
		return 0, 0, fmt.Errorf("autoscale up to %d slots: this worker is bounded to %d", h, s.most)
	}
	s.high, s.low = h, l
	now := s.status().slots
	if target := min(max(now, l), h); target != now {
		s.resize(target)
	}
	return h, l, nil
}

func (s *scaler) info() *control.AutoscalerStats {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.status()
	return &control.AutoscalerStats{Max: s.high, Min: s.low, Current: l.slots, Qty: l.running + l.waiting}
}

// step sets the number of slots to what the load asks for, and returns it.
func (s *scaler) step(now time.Time, l load) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.target(now, l)
	if n != l.slots {
		s.resize(n)
	}
	return n
}

// target returns the number of slots that the load asks for; s.mu is held.
func (s *scaler) target(now time.Time, l load) int {
	used := l.running + l.waiting
	if s.window.IsZero() {
		s.window = now
	}
	s.peak = max(s.peak, used)
	backlog := l.waiting + l.depth
	if l.running < l.slots || backlog == 0 {
		s.busySince = time.Time{}
		if now.Sub(s.window) < scaleKeepAlive {
			return l.slots
		}
		// What the window has used; half of the rest at once, lest a pause between
		// two rushes costs them all.
		keep := max(s.peak, s.low)
		s.window, s.peak = now, used
		if keep >= l.slots {
			return l.slots
		}
		return max(keep, l.slots-(l.slots-keep+1)/2)
	}
	if s.busySince.IsZero() {
		s.busySince = now
	}
	if now.Sub(s.busySince) < scalePatience && l.oldest < scalePatience {
		return l.slots
	}
	// As many as wait, but no more than twice as many as there are.
	return min(l.slots+min(backlog, l.slots), s.high)
}

// autoscale follows the load until ctx ends.
func (w *Worker) autoscale(ctx context.Context) {
	tick := time.NewTicker(scaleInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l := w.load()
		// With short tasks there is always a slot that waits for its next one, so a
		// look at what runs just now says little.
		l.running = w.pool.PeakRunning()
		depth, err := w.can.Depther.Depth(ctx)
		if err != nil {
			w.log.Debug("cannot ask for the depth of the queues", "error", err)
		}
		l.depth = depth
		if n := w.scaler.step(w.now(), l); n != l.slots {
			w.log.Info("pool resized by the load", "slots", n, "before", l.slots, "running", l.running, "waiting", l.waiting, "queued", l.depth)
		}
	}
}

func (w *Worker) load() load {
	l := load{slots: w.pool.Size(), running: w.pool.Running()}
	l.waiting = w.pool.Waiting()
	if since := w.pool.WaitingSince(); !since.IsZero() {
		l.oldest = w.now().Sub(since)
	}
	return l
}
