package mail

import (
	"errors"
	"testing"
	"time"
)

// One probe at a time, after a pause that doubles; what is refused meanwhile is
// told what the last probe was told.
func TestLoginGuard(t *testing.T) {
	t.Parallel()
	const first = 10 * time.Second
	refused := &SendError{Command: "AUTH", Code: 535}
	throttled := &SendError{Command: "AUTH", Code: 454}
	away := &SendError{Command: "DIAL", Err: errors.New("refused")}
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var g loginGuard
	enter := func(after time.Duration) (code int, probe bool) {
		t.Helper()
		refusal, probe := g.enter("s", start.Add(after), false)
		if refusal == nil {
			return 0, probe
		}
		if !refusal.untried {
			t.Error("a refusal that nobody has tried does not say so")
		}
		return refusal.Code, probe
	}
	expect := func(after time.Duration, code int, probe bool) {
		t.Helper()
		if gotCode, gotProbe := enter(after); gotCode != code || gotProbe != probe {
			t.Errorf("after %v: refused with %d, probe %v; want %d, %v", after, gotCode, gotProbe, code, probe)
		}
	}
	leave := func(after time.Duration, probe bool, failed *SendError) {
		g.leave("s", probe, failed, first, start.Add(after))
	}
	expect(0, 0, false)
	expect(0, 0, false) // while all is well, as many as like
	leave(0, false, refused)
	leave(time.Second, false, refused) // began before, and doubles nothing
	expect(2*time.Second, 535, false)
	expect(11*time.Second, 0, true)
	expect(12*time.Second, 535, false) // another login is being tried
	leave(12*time.Second, true, throttled)
	expect(31*time.Second, 454, false) // the pause has doubled
	expect(32*time.Second, 0, true)
	leave(33*time.Second, true, away) // the login was not reached
	expect(33*time.Second, 0, true)   // so that the next may try
	leave(33*time.Second, true, refused)
	expect(52*time.Second, 535, false)
	for after := 10 * time.Minute; after < time.Hour; after += 10 * time.Minute {
		expect(after, 0, true)
		leave(after, true, refused)
		expect(after+maxLoginPause-time.Second, 535, false) // it does not grow for ever
		expect(after+maxLoginPause, 0, true)
		leave(after+maxLoginPause, true, refused)
	}
	expect(2*time.Hour, 0, true)
	leave(2*time.Hour, true, nil)
	expect(2*time.Hour, 0, false)
	leave(2*time.Hour, false, refused)
	expect(2*time.Hour+first-time.Second, 535, false)
	expect(2*time.Hour+first, 0, true) // from the beginning
	leave(3*time.Hour, true, refused)
	if refusal, probe := g.enter("new", start.Add(3*time.Hour), false); refusal != nil || probe {
		t.Errorf("a new secret: %v, probe %v", refusal, probe)
	}
	if refused.untried || throttled.untried {
		t.Error("the guard has changed an error that was reported already")
	}
}
