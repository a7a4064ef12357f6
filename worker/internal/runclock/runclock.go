// Package runclock measures the time limits of a run.
package runclock

import (
	"sync"
	"time"
)

// Clock ends a run at its time limits. It can be paused while the run waits for something
// that it shares with others. The zero Clock has no limits.
type Clock struct {
	mu     sync.Mutex
	limits [2]limit  // soft and hard
	since  time.Time // start, or the last Resume
	waits  int       // Pause calls without their Resume
	over   bool      // Stop was called
}

type limit struct {
	timer *time.Timer   // nil: there is no limit, or it has passed
	left  time.Duration // at since
}

// Start starts the clock of a run. A limit of 0 is none.
func (c *Clock) Start(soft, hard time.Duration, onSoft, onHard func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	if soft > 0 {
		c.limits[0] = limit{time.AfterFunc(soft, onSoft), soft}
	}
	if hard > 0 {
		c.limits[1] = limit{time.AfterFunc(hard, onHard), hard}
	}
}

// Stop stops the clock for good.
func (c *Clock) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, l := range c.limits {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
}

// Pause stops the clock until Resume is called as often as Pause.
func (c *Clock) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits++; c.waits > 1 || c.over {
		return
	}
	elapsed := time.Since(c.since)
	for i := range c.limits {
		l := &c.limits[i]
		if l.timer != nil && !l.timer.Stop() {
			l.timer = nil
		}
		l.left -= elapsed
	}
}

// Resume lets the clock go on.
func (c *Clock) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits--; c.waits > 0 || c.over {
		return
	}
	c.since = time.Now()
	for _, l := range c.limits {
		if l.timer != nil {
			l.timer.Reset(max(l.left, 0))
		}
	}
}
