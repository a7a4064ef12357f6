package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ParseRate reads a rate limit as Celery writes it: a number, which may have a
// fraction, and /s, /m or /h; seconds when there is no unit. It returns the time
// between two tasks, 0 for no limit ("", "0" and less).
func ParseRate(s string) (every time.Duration, err error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	per, ok := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, numErr := strconv.ParseFloat(number, 64)
	if !ok || numErr != nil {
		return 0, fmt.Errorf("rate limit %q: want a number of tasks, and /s, /m or /h, such as 10/m", s)
	}
	if !(n > 0) {
		return 0, nil
	}
	every = time.Duration(float64(per) / n)
	if every <= 0 || float64(per)/n > float64(1<<62) {
		return 0, fmt.Errorf("rate limit %q is out of range", s)
	}
	return every, nil
}

// limiter holds back the requests of tasks that have a rate limit: each task has
// a bucket of one token, as in Celery.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	waiting int
	wake    chan struct{} // capacity 1: a request came, or a limit changed
}

type bucket struct {
	text    string        // of the limit, as it was given
	every   time.Duration // between two tokens; 0: no limit any more
	next    time.Time     // of the next token
	waiting []*request
}

func newLimiter() *limiter {
	return &limiter{buckets: map[string]*bucket{}, wake: make(chan struct{}, 1)}
}

func (l *limiter) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// set gives a task another limit.
func (l *limiter) set(task, text string, every time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[task]
	if b == nil {
		b = &bucket{}
		l.buckets[task] = b
	}
	b.text, b.every, b.next = text, every, time.Time{}
	l.nudge()
}

// limit returns the limit of a task as it was given, "" for none.
func (l *limiter) limit(task string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[task]; b != nil && b.every > 0 {
		return b.text
	}
	return ""
}

// requests are those that wait, in no order.
func (l *limiter) requests() (rs []*request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buckets {
		rs = append(rs, b.waiting...)
	}
	return rs
}

// hold takes a request in if its task has a limit.
func (l *limiter) hold(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[r.msg.Task]
	if b == nil || b.every == 0 {
		return false
	}
	b.waiting = append(b.waiting, r)
	l.waiting++
	l.nudge()
	return true
}

func (l *limiter) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// drain removes and returns everything.
func (l *limiter) drain() (rs []*request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buckets {
		rs = append(rs, b.waiting...)
		b.waiting = nil
	}
	l.waiting = 0
	return rs
}

// turn is a task whose next request may have a token now.
type turn struct {
	task  string
	every time.Duration // 0: without a limit
}

// turns returns the tasks whose turn it is, and the time until that of the next
// one; 0 when nothing else waits.
func (l *limiter) turns(now time.Time) (ts []turn, next time.Duration) {
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

// pop removes and returns the first request of a task; the next one has to wait.
func (l *limiter) pop(task string, next time.Time) *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[task]
	b.next = next
	if len(b.waiting) == 0 {
		return nil
	}
	r := b.waiting[0]
	b.waiting[0], b.waiting = nil, b.waiting[1:]
	l.waiting--
	return r
}

// postpone lets a task wait.
func (l *limiter) postpone(task string, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[task].next = next
}

// releaseLimited moves requests into the pool as their rate limits allow, until
// ctx ends.
func (w *Worker) releaseLimited(ctx, store context.Context) {
	for {
		ts, next := w.limits.turns(w.now())
		var rs []*request
		for _, t := range ts {
			if wait := w.token(store, t); wait > 0 {
				w.limits.postpone(t.task, w.now().Add(wait))
			} else if r := w.limits.pop(t.task, w.nextToken(t)); r != nil {
				rs = append(rs, r)
			}
		}
		w.run(store, rs)
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
		case <-w.limits.wake:
		case <-timer:
		}
	}
}

// nextToken is when the bucket of this worker has its next token; that of all
// workers is asked each time.
func (w *Worker) nextToken(t turn) time.Time {
	if w.cfg.SharedRateLimits {
		return time.Time{}
	}
	return w.now().Add(t.every)
}

// token takes a token of the bucket that all workers share, and returns how long
// to wait when there is none.
func (w *Worker) token(ctx context.Context, t turn) (wait time.Duration) {
	if !w.cfg.SharedRateLimits || t.every == 0 {
		return 0
	}
	wait, err := w.can.Limiter.Take(ctx, t.task, t.every)
	if err != nil {
		w.log.Debug("cannot ask for the rate limit", "error", err)
		return time.Second
	}
	return wait
}
