package ledger

import (
	"errors"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
)

// Status describes the history, for health and metrics.
type Status struct {
	// On is true while events are stored, by this worker or by another one. Otherwise
	// Reason says why not; it names no user, host or database. Since is the time of the
	// last change.
	On     bool
	Reason string
	Since  time.Time

	Writing bool // this worker is the one that writes

	Looked  bool          // at the stream, and it answered: the next three are known
	Waiting int           // events in the stream
	Lag     time.Duration // age of the oldest one
	Dropped int64         // events that the broker lost because the stream was full or could not be written

	// Counters of this worker since its start.
	Written   int64 // events stored
	Skipped   int64 // events that cannot be stored
	Discarded int64 // events removed while history is off

	// Stray is the number of rows outside of the partitions of the months, up to two
	// thousand. They are there when a clock is wrong, or when the user of the database may
	// make no partitions.
	Stray int64
}

// statusKeeper keeps the status for its readers.
type statusKeeper struct {
	mu     sync.Mutex
	s      Status
	logged time.Time // when a skipped event was last logged
}

func (k *statusKeeper) begin(reason string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Reason, k.s.Since = reason, now
}

func (k *statusKeeper) get() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.s
}

// set changes the state and reports whether On, Writing or Reason is another one than
// before.
func (k *statusKeeper) set(on, writing bool, reason string, now time.Time) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.s.On == on && k.s.Writing == writing && k.s.Reason == reason {
		return false
	}
	if k.s.On != on || k.s.Since.IsZero() {
		k.s.Since = now
	}
	k.s.On, k.s.Writing, k.s.Reason = on, writing, reason
	return true
}

func (k *statusKeeper) backlog(b broker.Backlog, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Looked = true
	k.s.Waiting, k.s.Dropped, k.s.Lag = b.Length, b.Dropped, 0
	if b.Length > 0 && !b.Oldest.IsZero() {
		k.s.Lag = max(now.Sub(b.Oldest), 0)
	}
}

// unlooked forgets the backlog: the broker does not tell it any more.
func (k *statusKeeper) unlooked() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Looked = false
	k.s.Waiting, k.s.Dropped, k.s.Lag = 0, 0, 0
}

func (k *statusKeeper) wrote(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Written += int64(n)
}

// skipped counts a skipped event and reports whether it is to be logged.
func (k *statusKeeper) skipped() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Skipped++
	now := time.Now()
	if now.Sub(k.logged) < time.Minute {
		return false
	}
	k.logged = now
	return true
}

func (k *statusKeeper) discarded(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Discarded += int64(n)
}

func (k *statusKeeper) stray(n int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.Stray = n
}

// brokerError is a fault of the broker; other errors are faults of the database.
type brokerError struct{ err error }

func (e *brokerError) Error() string { return e.err.Error() }
func (e *brokerError) Unwrap() error { return e.err }

// reasonOf returns an error in words that name no user, host or database.
func reasonOf(err error) string {
	_, ofBroker := errors.AsType[*brokerError](err)
	access, lasting := errors.AsType[*AccessError](err)
	switch {
	case lasting:
		return access.Words
	case ofBroker:
		return "history waits: the broker is unavailable, or refuses writes"
	}
	if why := Unavailability(err); why != "" {
		return "history waits for its database: " + why
	}
	return "history waits: the database is unavailable"
}

// backoff returns the pause after a number of failures: a second, doubled each time, and
// spread by a fifth.
func backoff(failures int, longest time.Duration) time.Duration {
	d := min(time.Second<<min(failures-1, 10), longest)
	return d - time.Duration(mathrand.Int64N(int64(d/5)))
}
