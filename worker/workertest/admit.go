package workertest

import (
	"context"
	"time"

	"github.com/evently/workers/worker/broker"
)

var _ broker.Admitter = (*Broker)(nil)

// slowedLimit is a limit whose rate was slowed down to a share of it.
type slowedLimit struct {
	at    time.Time
	share float64
}

// now returns the share at a time.
func (s slowedLimit) now(at time.Time) float64 {
	if s.at.IsZero() {
		return 1
	}
	return min(1, s.share+at.Sub(s.at).Minutes()/10)
}

// Admit implements [broker.Admitter].
func (f *fleet) Admit(_ context.Context, limits []broker.Limit) (broker.Admission, error) {
	if err := broker.CheckLimits(limits); err != nil {
		return broker.Admission{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, a := time.Now(), broker.Admission{Admitted: true}
	taken := make([]time.Time, len(limits))
	for i, l := range limits {
		every := time.Duration(float64(l.Every) / f.slowed[l.Name].now(at))
		taken[i] = at.Add(max(0, f.taken[l.Name].Sub(at)) + every)
		free := taken[i].Add(-time.Duration(max(l.Burst, 1)) * every).Sub(at)
		if free > a.Wait {
			a.Wait, a.Limit = free, l.Name
		}
		a.Admitted = a.Admitted && free <= l.Reserve
	}
	if !a.Admitted {
		return a, nil
	}
	if f.taken == nil {
		f.taken = map[string]time.Time{}
	}
	for i, l := range limits {
		f.taken[l.Name] = taken[i]
	}
	return a, nil
}

// Slow implements [broker.Admitter].
func (f *fleet) Slow(_ context.Context, limit string) (share float64, slowed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, before := time.Now(), f.slowed[limit]
	if !before.at.IsZero() && at.Sub(before.at) < 30*time.Second {
		return before.now(at), false, nil
	}
	share = max(before.now(at)/2, 1.0/64)
	if f.slowed == nil {
		f.slowed = map[string]slowedLimit{}
	}
	f.slowed[limit] = slowedLimit{at, share}
	return share, true, nil
}
