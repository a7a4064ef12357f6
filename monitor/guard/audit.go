package guard

import (
	"context"
	"sync"
	"time"
)

// Event is what the guard tells the audit trail.
type Event struct {
	Action  string // such as monitor.login
	Actor   Actor
	Refused string            // why it was refused; "": it was done
	Details map[string]string // small, without secrets
}

// Actions of the guard.
const (
	Login    = "monitor.login"
	Logout   = "monitor.logout"
	Denied   = "monitor.denied"   // a request without the right to it
	Unlisted = "monitor.unlisted" // refusals that are not in the trail one by one
)

// refusals bounds what refused requests write into the trail: an attacker must not fill it.
type refusals struct {
	now func() time.Time

	mu   sync.Mutex
	full time.Time // when the whole burst is there again
	left int       // refusals since the last that was told
}

// Bounds of refusals.
const (
	refusalBurst = 60
	refusalEvery = 5 * time.Second
)

// take reports whether a refusal may be told, and how many were not.
func (r *refusals) take() (tell bool, untold int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if waitFor(r.full, now, refusalBurst, refusalEvery) > 0 {
		r.left++
		return false, 0
	}
	if r.full.Before(now) {
		r.full = now
	}
	r.full = r.full.Add(refusalEvery)
	untold, r.left = r.left, 0
	return true, untold
}

// tell writes an event to the trail.
func (g *Guard) tell(ctx context.Context, e Event) {
	if g.cfg.Audit == nil {
		return
	}
	if e.Refused != "" {
		ok, untold := g.refusals.take()
		if !ok {
			return
		}
		if untold > 0 {
			g.cfg.Audit(ctx, Event{Action: Unlisted, Actor: Actor{Name: "monitor"}, Refused: "too many to list", Details: map[string]string{"requests": itoa(untold)}})
		}
	}
	g.cfg.Audit(ctx, e)
}
