package mail

import (
	"sync"
	"time"
)

// maxLoginPause bounds the pause between two tries of a login that is refused.
const maxLoginPause = time.Minute

// loginGuard stands before the login. Every mail that waits would try a wrong
// password anew, and enough of that gets an account locked. So after a refusal
// all others are told the same without a word to the server, for a pause that
// doubles with each refusal; then one may try.
type loginGuard struct {
	mu      sync.Mutex
	refusal *SendError    // the last one; nil: the login is in order, for all we know
	pause   time.Duration // after it
	until   time.Time     // end of the pause
	probing bool          // somebody tries
}

// enter returns the refusal that stands, or nil: then there is to be a login,
// and a call of leave with what came of it. probe tells that it is the one try.
func (g *loginGuard) enter(now time.Time) (refusal *SendError, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusal == nil {
		return nil, false
	}
	if g.probing || now.Before(g.until) {
		again := *g.refusal
		again.untried = true
		return &again, false
	}
	g.probing = true
	return nil, true
}

// leave notes the end of an attempt to connect; first is the pause after a first
// refusal.
func (g *loginGuard) leave(probe bool, failed *SendError, first time.Duration, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.probing = false
	}
	switch {
	case failed == nil:
		g.refusal = nil
		return
	case failed.Command != "AUTH" || !failed.refused():
		return
	case g.refusal == nil:
		g.pause = first
	case probe: // not those that had begun before the first refusal came
		g.pause = min(2*g.pause, max(first, maxLoginPause))
	}
	refusal := *failed
	g.refusal, g.until = &refusal, now.Add(g.pause)
}
