package worker

import "sync/atomic"

// clock is the logical clock of a worker, by Lamport: it grows with everything
// that is sent, and stays ahead of everything that was received. Receivers order
// events by it.
type clock struct{ value atomic.Int64 }

// forward is the time of something that is sent.
func (c *clock) forward() int64 { return c.value.Add(1) }

// adjust learns of the time of somebody else; 0 stands for none.
func (c *clock) adjust(other int64) {
	const absurd = 1 << 53 // beyond what JSON keeps exact; nobody has sent so much
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

func (c *clock) now() int64 { return c.value.Load() }
