package breaker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"
)

const (
	// lookEvery is how often the share is asked.
	lookEvery = time.Second
	// shareTimeout bounds one question to the share.
	shareTimeout = 2 * time.Second
	// leaseTime is how long a process that has begun a probe keeps others from it. It is
	// short, because the process may die. A probe that takes longer may get company.
	leaseTime = 15 * time.Second
	// closedFor is how long the verdict that the server works is posted: long enough for
	// each process to see it.
	closedFor = time.Minute
)

// verdict is the notice of the share. It holds durations and no times, because clocks of
// machines differ.
type verdict struct {
	ID     string `json:"id"` // unique
	Phase  string `json:"phase"`
	Reason string `json:"reason,omitempty"`
	Slow   bool   `json:"slow,omitempty"`    // throttled
	ForMS  int64  `json:"for_ms,omitempty"`  // since it opened
	NextMS int64  `json:"next_ms,omitempty"` // until the next probe
	Fails  int    `json:"fails,omitempty"`

	Unreached bool `json:"unreached,omitempty"` // the server gave no sign of life
}

func (v verdict) since(now time.Time) time.Time {
	return now.Add(-time.Duration(v.ForMS) * time.Millisecond)
}
func (v verdict) next(now time.Time) time.Time {
	return now.Add(time.Duration(v.NextMS) * time.Millisecond)
}

func (v verdict) result() Result {
	if v.Slow {
		return Throttled
	}
	return Fault
}

// Run probes the server while the breaker is open, and exchanges verdicts with the fleet.
// It returns nil when ctx ends.
func (b *Breaker) Run(ctx context.Context) error {
	board := noticeBoard{share: b.cfg.Share, name: b.cfg.Name}
	b.exchange(ctx, &board)
	b.askFirst(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-timer.C:
		}
		b.exchange(ctx, &board)
		b.change(func(m *machine, now time.Time) { m.rest(now) })
		switch isDue, isReachDue := b.isDue(); {
		case isDue:
			b.probe(ctx, &board)
			b.exchange(ctx, &board)
		case isReachDue:
			b.reach(ctx, &board)
			b.exchange(ctx, &board)
		}
		timer.Reset(b.pause(&board))
	}
}

// pause returns the time until Run must look again.
func (b *Breaker) pause(board *noticeBoard) time.Duration {
	const idle = time.Hour // the wake-up comes before
	b.mu.Lock()
	due, now := b.machine.due(), time.Now()
	b.mu.Unlock()
	pause := idle
	if !due.IsZero() {
		pause = due.Sub(now)
	}
	if board.share != nil {
		pause = min(pause, board.looked.Add(lookEvery).Sub(now))
	}
	return max(pause, 10*time.Millisecond)
}

// isDue reports whether it is time for a probe, or for the question whether the server can be
// reached.
func (b *Breaker) isDue() (probe, reach bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, now := &b.machine, time.Now()
	if m.phase != Open {
		return false, false
	}
	return !now.Before(m.next), m.reach.active && !now.Before(m.reach.next)
}

// probe probes the server, unless another process does.
func (b *Breaker) probe(ctx context.Context, board *noticeBoard) {
	if !board.lease(ctx, b.cfg.Name, leaseTime) {
		b.change(func(m *machine, now time.Time) { m.yield(now) })
		return
	}
	b.ask(ctx)
}

// ask probes the server.
func (b *Breaker) ask(ctx context.Context) {
	b.change(func(m *machine, now time.Time) { m.probe(now) })
	outcome := Worked
	if b.cfg.Probe != nil {
		limited, cancel := context.WithTimeout(ctx, b.cfg.ProbeTimeout)
		outcome = b.cfg.Probe(limited)
		cancel()
	}
	if ctx.Err() != nil && outcome.Result != Success {
		outcome = Outcome{}
	}
	b.change(func(m *machine, now time.Time) { m.probed(outcome, now) })
}

// exchange posts the verdict of this process if it is new, and adopts that of another one.
func (b *Breaker) exchange(ctx context.Context, board *noticeBoard) {
	if board.share == nil {
		return
	}
	b.mu.Lock()
	unposted, mine := b.machine.unposted, b.machine.verdict(time.Now())
	b.machine.unposted = false
	b.mu.Unlock()
	if unposted && !board.post(ctx, mine, b.cfg) {
		b.mu.Lock()
		b.machine.unposted = true
		b.mu.Unlock()
		return // the notice of another process is older
	}
	other, ok := board.look(ctx)
	if !ok {
		return
	}
	seen := true
	b.change(func(m *machine, now time.Time) {
		if m.unposted {
			seen = false // this process has changed its mind meanwhile
			return
		}
		seen = m.adopt(other, now)
	})
	if seen {
		board.seen = other.ID
	}
}

// verdict returns the notice of the current state.
func (m *machine) verdict(now time.Time) verdict {
	v := verdict{Phase: m.phase.String()}
	if m.phase == Open {
		v.Reason, v.Fails, v.Slow, v.Unreached = m.reason, m.fails, m.last == Throttled, m.reach.active
		v.ForMS, v.NextMS = now.Sub(m.since).Milliseconds(), max(0, m.next.Sub(now).Milliseconds())
	}
	return v
}

// noticeBoard is the share as Run sees it.
type noticeBoard struct {
	share  Share
	name   string
	looked time.Time // last question
	seen   string    // id of the last notice that was posted or adopted
}

// post posts a notice. It reports whether that succeeded.
func (n *noticeBoard) post(ctx context.Context, v verdict, cfg Config) bool {
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	v.ID = rand.Text()
	raw, err := json.Marshal(v)
	if err != nil {
		return false
	}
	ttl := closedFor
	if v.Phase == Open.String() {
		ttl = 2*cfg.MaxPause + cfg.ProbeTimeout + leaseTime
	}
	if n.share.Post(ctx, n.name, string(raw), ttl) != nil {
		return false
	}
	n.seen = v.ID
	return true
}

// look returns the notice of another process that was not adopted yet. It asks at most
// once a second.
func (n *noticeBoard) look(ctx context.Context) (v verdict, ok bool) {
	if time.Since(n.looked) < lookEvery {
		return verdict{}, false
	}
	n.looked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	notice, err := n.share.Posted(ctx, n.name)
	if err != nil || notice == "" || json.Unmarshal([]byte(notice), &v) != nil {
		return verdict{}, false
	}
	return v, v.ID != n.seen
}

// lease reports whether this process has the lease of a name for the time ttl. While the share is
// unavailable it has.
func (n *noticeBoard) lease(ctx context.Context, name string, ttl time.Duration) bool {
	if n.share == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	mine, err := n.share.Lease(ctx, name, ttl)
	return mine || err != nil
}
