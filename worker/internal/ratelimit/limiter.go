package ratelimit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Tokens hands out the tokens of rate limits that all workers share.
type Tokens interface {
	// Take takes one token of a limit and returns 0, or takes none and returns the time
	// until the next one. every is the time between two tokens.
	Take(ctx context.Context, limit string, every time.Duration) (wait time.Duration, err error)
}

// Config describes a Limiter.
type Config struct {
	Shared Tokens // nil: the limits hold for this worker alone
	Log    *slog.Logger
	Now    func() time.Time
}

// Limiter holds back the items of tasks that have a rate limit. Each task has a bucket of
// one token, as in Celery. Make one with New.
type Limiter[R any] struct {
	shared Tokens
	log    *slog.Logger
	now    func() time.Time
	wake   chan struct{} // capacity 1: an item came, or a limit changed

	mu      sync.Mutex
	buckets map[string]*bucket[R]
	held    int
}

type bucket[R any] struct {
	text    string        // of the limit, as it was given
	every   time.Duration // between two tokens; 0: no limit any more
	next    time.Time     // of the next token
	waiting []R
}

// New returns a Limiter without limits.
func New[R any](cfg Config) *Limiter[R] {
	return &Limiter[R]{shared: cfg.Shared, log: cfg.Log, now: cfg.Now, buckets: map[string]*bucket[R]{}, wake: make(chan struct{}, 1)}
}

func (l *Limiter[R]) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Set gives a task another limit: text as it was given, every as [Parse] reads it.
func (l *Limiter[R]) Set(task, text string, every time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[task]
	if b == nil {
		b = &bucket[R]{}
		l.buckets[task] = b
	}
	b.text, b.every, b.next = text, every, time.Time{}
	l.nudge()
}

// Limit returns the limit of a task as it was given, "" for none.
func (l *Limiter[R]) Limit(task string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[task]; b != nil && b.every > 0 {
		return b.text
	}
	return ""
}

// Hold keeps an item if its task has a limit. It reports whether it did.
func (l *Limiter[R]) Hold(task string, r R) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[task]
	if b == nil || b.every == 0 {
		return false
	}
	b.waiting = append(b.waiting, r)
	l.held++
	l.nudge()
	return true
}

// Len returns the number of items.
func (l *Limiter[R]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// Items returns the items, in no order.
func (l *Limiter[R]) Items() (rs []R) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buckets {
		rs = append(rs, b.waiting...)
	}
	return rs
}

// Drain removes and returns all items.
func (l *Limiter[R]) Drain() (rs []R) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buckets {
		rs = append(rs, b.waiting...)
		b.waiting = nil
	}
	l.held = 0
	return rs
}

// Withdraw removes and returns the items that match.
func (l *Limiter[R]) Withdraw(match func(R) bool) (rs []R) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buckets {
		var keep []R
		for _, r := range b.waiting {
			if match(r) {
				rs = append(rs, r)
			} else {
				keep = append(keep, r)
			}
		}
		b.waiting = keep
	}
	l.held -= len(rs)
	return rs
}

// Run passes items to release as their limits allow, until ctx ends. It asks for shared
// tokens within ask.
func (l *Limiter[R]) Run(ctx, ask context.Context, release func([]R)) {
	for {
		ts, next := l.turns(l.now())
		release(l.takeTurns(ask, ts))
		if len(ts) > 0 {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer:
		}
	}
}

// turn is a task whose next item may have a token now.
type turn struct {
	task  string
	every time.Duration // 0: without a limit
}

// turns returns the tasks whose turn it is, and the time until the turn of the next one; 0
// when no other item waits.
func (l *Limiter[R]) turns(now time.Time) (ts []turn, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for task, b := range l.buckets {
		if len(b.waiting) == 0 {
			continue
		}
		if wait := b.next.Sub(now); wait > 0 && b.every > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		ts = append(ts, turn{task, b.every})
	}
	return ts, next
}

// takeTurns returns one item of each task that gets a token.
func (l *Limiter[R]) takeTurns(ask context.Context, ts []turn) (rs []R) {
	for _, t := range ts {
		if wait := l.token(ask, t); wait > 0 {
			l.postpone(t.task, l.now().Add(wait))
		} else if r, ok := l.pop(t.task, l.nextToken(t)); ok {
			rs = append(rs, r)
		}
	}
	return rs
}

// token takes a shared token. It returns how long to wait when there is none.
func (l *Limiter[R]) token(ctx context.Context, t turn) (wait time.Duration) {
	if l.shared == nil || t.every == 0 {
		return 0
	}
	wait, err := l.shared.Take(ctx, t.task, t.every)
	if err != nil {
		l.log.Debug("shared rate limit unavailable", "task", t.task, "error", err)
		return time.Second
	}
	return wait
}

// nextToken returns when the bucket of this worker has its next token. A shared bucket is
// asked each time.
func (l *Limiter[R]) nextToken(t turn) time.Time {
	if l.shared != nil {
		return time.Time{}
	}
	return l.now().Add(t.every)
}

// pop removes and returns the first item of a task. The next one has to wait.
func (l *Limiter[R]) pop(task string, next time.Time) (r R, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[task]
	b.next = next
	if len(b.waiting) == 0 {
		return r, false
	}
	var none R
	r = b.waiting[0]
	b.waiting[0], b.waiting = none, b.waiting[1:]
	l.held--
	return r, true
}

// postpone lets a task wait.
func (l *Limiter[R]) postpone(task string, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[task].next = next
}
