package intake

import (
	"sync"
	"time"
)

// Status describes an [Intake], for health.
type Status struct {
	Stored  int64     // bounces since the start, without copies
	Last    time.Time // when the last one was stored
	Failing time.Time // since when no bounce can be stored; zero: the last one was stored
}

// Status returns the state of the intake. It does no I/O.
func (i *Intake) Status() Status { return i.status.get() }

type statusKeeper struct {
	mu sync.Mutex
	s  Status
}

func (k *statusKeeper) get() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.s
}

func (k *statusKeeper) note(err error, fresh bool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.s.Failing = time.Time{}
	case k.s.Failing.IsZero():
		k.s.Failing = now
	}
	if err == nil && fresh {
		k.s.Stored++
		k.s.Last = now
	}
}
