package mail

import (
	"slices"
	"sync"
	"time"
)

// maxLoginPause limits the pause between two attempts of a refused login. It is shorter than
// the longest pause between two probes of a circuit breaker.
const maxLoginPause = 20 * time.Second

// loginGuard limits the attempts of a refused login. Each mail would try a wrong password
// again, and enough attempts lock an account. So after a refusal all logins fail with the same
// refusal, without asking the server, for a pause that doubles with each refusal. After the
// pause one login may try. Another secret, a new access token, is not refused yet.
type loginGuard struct {
	mu      sync.Mutex
	refusal *SendError    // the last one; nil: no refusal is known
	secret  string        // that was refused
	pause   time.Duration // after the last refusal
	until   time.Time     // end of the pause
	probing bool          // a login is being tried after the pause
}

// enter returns the last refusal if no login may be tried now. If it returns nil, the caller
// must log in and call leave. probe is true for the one attempt after a pause. With early it is
// made before the end of the pause: the server has just refused another login, so it may have
// changed to this one.
func (g *loginGuard) enter(secret string, now time.Time, early bool) (refusal *SendError, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusal == nil || g.secret != secret {
		return nil, false
	}
	if g.probing || now.Before(g.until) && !early {
		again := *g.refusal
		again.untried = true
		return &again, false
	}
	g.probing = true
	return nil, true
}

// leave records the outcome of an attempt to connect. first is the pause after a first
// refusal.
func (g *loginGuard) leave(secret string, probe bool, failed *SendError, first time.Duration, now time.Time) {
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
	case g.refusal == nil || g.secret != secret:
		g.pause = first
	case probe: // attempts that began before the first refusal do not lengthen the pause
		g.pause = min(2*g.pause, max(first, maxLoginPause))
	}
	refusal := *failed
	g.refusal, g.secret, g.until = &refusal, secret, now.Add(g.pause)
}

// loginGuards are the guards of the logins that were tried last: while a password is replaced,
// the new one and the previous one may be tried in turn, and each refusal has its own pause.
type loginGuards struct {
	mu     sync.Mutex
	logins []credential // the one that was used last first
	guards []*loginGuard
}

// keptGuards is the number of logins whose refusals are remembered.
const keptGuards = 4

// of returns the guard of a login.
func (g *loginGuards) of(login credential) *loginGuard {
	g.mu.Lock()
	defer g.mu.Unlock()
	guard := new(loginGuard)
	if i := slices.Index(g.logins, login); i >= 0 {
		guard = g.guards[i]
		g.logins, g.guards = slices.Delete(g.logins, i, i+1), slices.Delete(g.guards, i, i+1)
	}
	g.logins, g.guards = slices.Insert(g.logins, 0, login), slices.Insert(g.guards, 0, guard)
	if n := keptGuards; len(g.logins) > n {
		g.logins, g.guards = g.logins[:n], g.guards[:n]
	}
	return guard
}
