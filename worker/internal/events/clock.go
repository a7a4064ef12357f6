package events

import "sync/atomic"

// Clock is the logical clock of a process (Lamport). It grows with everything that is
// sent and stays ahead of everything that was received. Receivers order events by it.
// The zero Clock is ready for use.
type Clock struct{ value atomic.Int64 }

// Forward advances the clock and returns the time of something that is sent.
func (c *Clock) Forward() int64 { return c.value.Add(1) }

// Adjust moves the clock beyond the time of another process; 0 stands for none.
func (c *Clock) Adjust(other int64) {
	const absurd = 1 << 53 // beyond what JSON keeps exact
	if other > absurd {
		other = 0
	}
	for {
		now := c.value.Load()
		if c.value.CompareAndSwap(now, max(now, other)+1) {
			return
		}
	}
}

// Now returns the time without advancing it.
func (c *Clock) Now() int64 { return c.value.Load() }
