// Package scale lets the number of slots follow the load.
package scale

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// MostSlots bounds the number of slots of every worker.
const MostSlots = 1 << 16

const (
	// interval is the time between two looks at the load.
	interval = time.Second
	// patience is how long all slots must be busy, or the first message must wait for a
	// slot, before there are more slots.
	patience = 2 * time.Second
	// keepAlive is how long slots must have been unused before there are fewer
	// (AUTOSCALE_KEEPALIVE).
	keepAlive = 30 * time.Second
)

// Pool is the pool whose slots are scaled.
type Pool interface {
	Size() int
	Running() int
	PeakRunning() int
	Waiting() int
	WaitingSince() time.Time
	Resize(slots int)
}

// Config describes a Scaler.
type Config struct {
	Min, Max int
	Bound    int // that Max may be set to; 0: no bound
	Pool     Pool
	Depth    func(context.Context) (int, error) // messages in the queues
	Log      *slog.Logger
	Now      func() time.Time
}

// Scaler decides on the number of slots. Make one with New.
type Scaler struct {
	cfg Config

	mu        sync.Mutex
	low, high int
	busySince time.Time // all slots are busy and something waits; zero: not so
	window    time.Time // start of the current keepAlive
	peak      int       // of the items that ran or waited since then
}

// New returns a Scaler.
func New(cfg Config) *Scaler { return &Scaler{cfg: cfg, low: cfg.Min, high: cfg.Max} }

// load is the load of a pool.
type load struct {
	slots, running int           // running: the most that ran at once since the last look
	waiting        int           // claimed messages that wait for a slot
	depth          int           // messages in the queues
	oldest         time.Duration // time that the first message waits for a slot
}

// Info describes a Scaler.
type Info struct {
	Max, Min, Slots int
	Items           int // that run or wait
}

// Info returns the bounds and the load.
func (s *Scaler) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{Max: s.high, Min: s.low, Slots: s.cfg.Pool.Size(), Items: s.cfg.Pool.Running() + s.cfg.Pool.Waiting()}
}

// Check reports bounds that are no bounds.
func Check(low, high int) error {
	if low < 1 || high < low {
		return fmt.Errorf("from %d to %d slots: want at least 1, and a maximum that is not below the minimum", low, high)
	}
	return nil
}

// Set changes the bounds. A nil bound stays as it is, or moves along when it would
// contradict the other.
func (s *Scaler) Set(high, low *int) (newHigh, newLow int, err error) {
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
	if err := Check(l, h); err != nil || h > MostSlots {
		return 0, 0, fmt.Errorf("autoscale from %d to %d slots: want at least 1, and a maximum that is not below the minimum", l, h)
	}
	if s.cfg.Bound > 0 && h > s.cfg.Bound {
		return 0, 0, fmt.Errorf("autoscale up to %d slots: this worker is bounded to %d", h, s.cfg.Bound)
	}
	s.high, s.low = h, l
	now := s.cfg.Pool.Size()
	if target := min(max(now, l), h); target != now {
		s.cfg.Pool.Resize(target)
	}
	return h, l, nil
}

// Run follows the load until ctx ends. Run of a nil Scaler returns at once.
func (s *Scaler) Run(ctx context.Context) {
	if s == nil {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.step(ctx)
		}
	}
}

// step sets the number of slots to the one that the load asks for.
func (s *Scaler) step(ctx context.Context) {
	p := s.cfg.Pool
	// A slot is always about to get its next short task. Only the peak shows the load.
	l := load{slots: p.Size(), running: p.PeakRunning(), waiting: p.Waiting()}
	now := s.cfg.Now()
	if since := p.WaitingSince(); !since.IsZero() {
		l.oldest = now.Sub(since)
	}
	var err error
	if l.depth, err = s.cfg.Depth(ctx); err != nil {
		s.cfg.Log.Debug("depth of the queues unavailable", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.target(now, l); n != l.slots {
		p.Resize(n)
		s.cfg.Log.Info("pool resized by the load", "slots", n, "before", l.slots, "running", l.running, "waiting", l.waiting, "queued", l.depth)
	}
}

// target returns the number of slots that the load asks for. s.mu must be held.
func (s *Scaler) target(now time.Time, l load) int {
	used := l.running + l.waiting
	if s.window.IsZero() {
		s.window = now
	}
	s.peak = max(s.peak, used)
	backlog := l.waiting + l.depth
	if l.running < l.slots || backlog == 0 {
		s.busySince = time.Time{}
		if now.Sub(s.window) < keepAlive {
			return l.slots
		}
		return s.shrunk(now, used, l.slots)
	}
	if s.busySince.IsZero() {
		s.busySince = now
	}
	if now.Sub(s.busySince) < patience && l.oldest < patience {
		return l.slots
	}
	// As many more as wait, at most twice as many as there are.
	return min(l.slots+min(backlog, l.slots), s.high)
}

// shrunk returns the number of slots after a window: what the window has used, and half of
// the rest, so that a pause between two rushes does not cost all of them. s.mu must be
// held.
func (s *Scaler) shrunk(now time.Time, used, slots int) int {
	keep := max(s.peak, s.low)
	s.window, s.peak = now, used
	if keep >= slots {
		return slots
	}
	return max(keep, slots-(slots-keep+1)/2)
}
