package intake

import (
	"sync"
	"time"
)

// Status describes an [Intake], for health.
type Status struct {
	Stored  int64     // bounces since the start, without copies
	Last    time.Time // when the last one was stored
	Failing time.Time // since when no bounce can be stored; zero: the last one was stored, or failed long ago
}

// Status returns the state of the intake. It does no I/O.
func (i *Intake) Status() Status {
	s, failed := i.status.get()
	// Without another bounce it is not known whether one could be stored now.
	if i.cfg.Now().Sub(failed) > staleFailure {
		s.Failing = time.Time{}
	}
	return s
}

// staleFailure is the time after which a failure says nothing about the present.
const staleFailure = 15 * time.Minute

type statusKeeper struct {
	mu     sync.Mutex
	s      Status
	failed time.Time // the last time
}

func (k *statusKeeper) get() (s Status, failed time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.s, k.failed
}

func (k *statusKeeper) note(err error, fresh bool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.s.Failing = time.Time{}
	case k.s.Failing.IsZero() || now.Sub(k.failed) > staleFailure:
		k.s.Failing, k.failed = now, now
	default:
		k.failed = now
	}
	if err == nil && fresh {
		k.s.Stored++
		k.s.Last = now
	}
}
