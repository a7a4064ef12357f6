package events

import (
	"sync"
	"time"
)

// Gap is a period in which no worker has listened.
type Gap struct{ From, To time.Time }

// Status tells how a Listener is.
type Status struct {
	Listening bool
	Since     time.Time // of Listening
	Reason    error     // why it does not listen; nil: not known
	Waiting   int       // events that were heard and are no tasks yet

	Queued, Known, Learned, Refused, Dropped int64

	LastGap Gap   // zero: there was none
	Gaps    int64 // of all workers
	Found   bool  // this worker has found the last gap
}

// Status returns the status.
func (l *Listener) Status() Status {
	s := l.status.get()
	s.Waiting = len(l.waiting)
	return s
}

// statusKeeper keeps the status. Its zero value listens to nothing.
type statusKeeper struct {
	mu         sync.Mutex
	s          Status
	left       time.Time
	joinedOnce bool
	complained time.Time
}

func (k *statusKeeper) get() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.s
	if !s.Listening {
		s.Since = k.left
	}
	return s
}

// join notes that events are heard from now on. It returns for how long they were not.
func (k *statusKeeper) join() (away time.Duration, first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	away, first = now.Sub(k.left), !k.joinedOnce
	k.joinedOnce = true
	k.s.Listening, k.s.Since, k.s.Reason = true, now, nil
	return away, first
}

// leave notes that events are heard no more. It reports whether that is new, or was not told for a
// while.
func (k *statusKeeper) leave(err error) (tell bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.s.Listening {
		k.left, tell = now, true
	}
	k.s.Listening, k.s.Reason = false, err
	return k.complain(now) || tell
}

// complains reports whether trouble was not told for a while.
func (k *statusKeeper) complains() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.complain(time.Now())
}

func (k *statusKeeper) complain(now time.Time) bool {
	if now.Sub(k.complained) < complainEvery {
		return false
	}
	k.complained = now
	return true
}

func (k *statusKeeper) took(outcome string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch outcome {
	case outcomeQueued:
		k.s.Queued++
	case outcomeKnown:
		k.s.Known++
	case outcomeLearned:
		k.s.Learned++
	case outcomeRefused:
		k.s.Refused++
	}
}

func (k *statusKeeper) dropped() (tell bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Dropped++
	return k.complain(time.Now())
}

func (k *statusKeeper) know(g Gap, gaps int64, found bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Found = found || k.s.Found && g == k.s.LastGap
	k.s.LastGap, k.s.Gaps = g, gaps
}

// refusal is a kind of refused events. Channels, reasons and fields are few.
type refusal struct {
	channel string
	err     ParseError
}

// refusals bounds the log lines about refused events. Its zero value has told of none.
type refusals struct {
	mu   sync.Mutex
	told map[refusal]time.Time
	left map[refusal]int // not told since
}

// tell reports whether to tell of a refusal, and how many of its kind were not told before.
func (r *refusals) tell(kind refusal) (before int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told, r.left = map[refusal]time.Time{}, map[refusal]int{}
	}
	now := time.Now()
	if at, told := r.told[kind]; told && now.Sub(at) < complainEvery {
		r.left[kind]++
		return 0, false
	}
	before = r.left[kind]
	r.told[kind], r.left[kind] = now, 0
	return before, true
}
