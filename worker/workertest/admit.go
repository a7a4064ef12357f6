package workertest

import (
	"context"
	"slices"
	"time"

	"github.com/evently/workers/worker/broker"
)

var _ broker.Admitter = (*Broker)(nil)

// slowedLimit is a limit whose rate was slowed down to a share of it.
type slowedLimit struct {
	at      time.Time
	share   float64
	every   time.Duration // of a limit without a rate; 0: it has one
	callers []string      // who gave it that; nil: no more may
}

// now returns the share at a time. A limit without a rate recovers to twice the rate that it
// got, and has none then.
func (s slowedLimit) now(at time.Time) (share float64, every time.Duration) {
	share = s.share + at.Sub(s.at).Minutes()/10
	switch {
	case s.at.IsZero() || s.every > 0 && share >= 2:
		return 1, 0
	case s.every == 0:
		share = min(1, share)
	}
	return share, s.every
}

// of returns the time between two tokens of a limit at a time, 0 if it has no rate.
func (s slowedLimit) of(l broker.Limit, at time.Time) time.Duration {
	share, every := s.now(at)
	if l.Every > 0 {
		every, share = l.Every, min(1, share)
	}
	return time.Duration(float64(every) / share)
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
		every := f.slowed[l.Name].of(l, at)
		if every == 0 {
			continue
		}
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
		if !taken[i].IsZero() {
			f.taken[l.Name] = taken[i]
		}
	}
	return a, nil
}

// Slow implements [broker.Admitter].
func (f *fleet) Slow(_ context.Context, s broker.Slowing) (share float64, slowed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, next := time.Now(), f.slowed[s.Limit]
	share, every := next.now(at)
	recent := !next.at.IsZero() && at.Sub(next.at) < 30*time.Second
	switch {
	case s.Every > 0 && every == 0:
		next, share = slowedLimit{every: s.Every, callers: []string{s.Caller}}, 1
	case s.Every > 0 && recent:
		if next.callers != nil && !slices.Contains(next.callers, s.Caller) {
			next.every = time.Duration(1 / (1/float64(every) + 1/float64(s.Every)))
			next.callers = append(next.callers, s.Caller)
			f.slowed[s.Limit] = next
		}
		return share, false, nil
	case recent:
		return min(1, share), false, nil
	case s.Every == 0:
		next, share = slowedLimit{}, min(1, share)
	default:
		next.callers = nil
	}
	next.at, next.share = at, max(share/2, 1.0/64)
	if f.slowed == nil {
		f.slowed = map[string]slowedLimit{}
	}
	f.slowed[s.Limit] = next
	return next.share, true, nil
}
