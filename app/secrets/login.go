package secrets

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/sorting"
)

// Times of a replacement.
const (
	// previousFor is how long the previous value may be used after a server has accepted the
	// new one: other servers of the same secret may be behind.
	previousFor = 10 * time.Minute

	// retryFirst and retryMost bound the pause after which a new value that is refused is
	// tried before the previous one again. It doubles with each refusal: many refusals lock an
	// account.
	retryFirst = 5 * time.Second
	retryMost  = time.Minute

	// mostPrevious is the number of earlier values that are kept.
	mostPrevious = 2
)

// login holds the present value of one login, and the previous ones while they are of use. It
// implements [config.Logins].
type login struct {
	name   string // of the variable with the secret
	keeper *Keeper

	mu       sync.Mutex
	current  value
	previous []value // the latest first
	retry    time.Time
	pause    time.Duration
	refused  bool // the current value was refused, and not accepted since
	renew    []func()
}

// value is a login, and when a server has last accepted it; zero: never.
type value struct {
	config.Login
	accepted time.Time
	first    time.Time // when it was first accepted
}

// Next implements [config.Logins].
func (l *login) Next(ctx context.Context, refused []config.Login) (config.Login, error) {
	if len(refused) == 0 {
		return l.first(), nil
	}
	current := l.noteRefused(refused)
	if !slices.Contains(refused, current) {
		return current, nil
	}
	l.keeper.Ask(ctx)
	if err := ctx.Err(); err != nil {
		return config.Login{}, err
	}
	return l.untried(refused), nil
}

// first returns the login to try first: the current one, unless it was refused a moment ago and
// an earlier one works.
func (l *login) first() config.Login {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.keeper.now()
	l.forget(now)
	if len(l.previous) > 0 && now.Before(l.retry) {
		return l.inOrder()[0].Login
	}
	return l.current.Login
}

// noteRefused records that logins were refused. It returns the current one.
func (l *login) noteRefused(refused []config.Login) config.Login {
	l.mu.Lock()
	defer l.mu.Unlock()
	if refused[len(refused)-1] == l.current.Login {
		l.refused = true
		l.pause = min(max(2*l.pause, retryFirst), retryMost)
		l.retry = l.keeper.now().Add(l.pause)
	}
	return l.current.Login
}

// untried returns the best login that is not among the refused ones, or the current one.
func (l *login) untried(refused []config.Login) config.Login {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.keeper.now())
	for _, v := range append([]value{l.current}, l.inOrder()...) {
		if !slices.Contains(refused, v.Login) {
			return v.Login
		}
	}
	return l.current.Login
}

// inOrder returns the previous values, the one that was accepted last first. l.mu must be held.
func (l *login) inOrder() []value {
	all := slices.Clone(l.previous)
	sorting.Stable(all, func(a, b value) int { return b.accepted.Compare(a.accepted) })
	return all
}

// forget drops the previous values when they are of no use any more. l.mu must be held.
func (l *login) forget(now time.Time) {
	if first := l.current.first; !first.IsZero() && !l.refused && now.Sub(first) >= previousFor {
		l.previous = nil
	}
}

// Accepted implements [config.Logins].
func (l *login) Accepted(accepted config.Login) {
	now := l.keeper.now()
	l.mu.Lock()
	isCurrent, fresh, behind := l.current.Login == accepted, false, false
	switch {
	case isCurrent:
		fresh = l.current.first.IsZero() && len(l.previous) > 0
		if l.current.first.IsZero() {
			l.current.first = now
		}
		l.current.accepted = now
		l.refused, l.pause, l.retry = false, 0, time.Time{}
	default:
		for i := range l.previous {
			if l.previous[i].Login == accepted {
				l.previous[i].accepted = now
				behind = l.refused
			}
		}
	}
	l.mu.Unlock()
	switch {
	case fresh:
		l.keeper.accepted(l.name)
	case isCurrent:
		l.keeper.working(l.name)
	case behind:
		l.keeper.behind(l.name)
	}
}

// OnChange implements [config.Logins].
func (l *login) OnChange(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renew = append(l.renew, f)
}

// set makes a login the current one. It reports whether it was another one.
func (l *login) set(next config.Login) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next == l.current.Login {
		return false
	}
	previous := append([]value{l.current}, l.previous...)
	previous = slices.DeleteFunc(previous, func(v value) bool { return v.Login == next })
	if len(previous) > mostPrevious {
		// One that has never been accepted goes first.
		sorting.Stable(previous, func(a, b value) int { return b.accepted.Compare(a.accepted) })
		previous = previous[:mostPrevious]
	}
	l.current, l.previous = value{Login: next}, previous
	l.refused, l.pause, l.retry = false, 0, time.Time{}
	return true
}

// renewed has the connections log in anew.
func (l *login) renewed() {
	l.mu.Lock()
	all := slices.Clone(l.renew)
	l.mu.Unlock()
	for _, f := range all {
		f()
	}
}
