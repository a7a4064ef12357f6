package breaker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/internal/breaker/breakertest"
)

// Outcomes of an unavailable server, and of one that answers and does not work.
var (
	away      = breaker.Outcome{Result: breaker.Fault, Reason: "connection refused", Unreached: true}
	refused   = breaker.Outcome{Result: breaker.Refused, Reason: "535 at AUTH"}
	throttled = breaker.Outcome{Result: breaker.Throttled, Reason: "421 at GREETING"}
)

// host is a server that may be away.
type host struct {
	away           atomic.Bool
	probes         server // counts the probes of one that is not away
	probed         atomic.Pointer[breaker.Outcome]
	greeting       atomic.Pointer[breaker.Outcome]
	asked, tried   atomic.Int64
	longestSilence atomic.Int64 // nanoseconds between two questions
	last           atomic.Int64
}

func (h *host) probe(ctx context.Context) breaker.Outcome {
	h.tried.Add(1)
	if h.away.Load() {
		return away
	}
	h.probes.probe(ctx)
	if o := h.probed.Load(); o != nil {
		return *o
	}
	return breaker.Worked
}

func (h *host) reach(context.Context) breaker.Outcome {
	h.asked.Add(1)
	now := time.Now().UnixNano()
	if last := h.last.Swap(now); last != 0 {
		h.longestSilence.Store(max(h.longestSilence.Load(), now-last))
	}
	switch greeting := h.greeting.Load(); {
	case h.away.Load():
		return away
	case greeting != nil:
		return *greeting
	}
	return breaker.Worked
}

// startHost runs a breaker of a host.
func startHost(t *testing.T, h *host, share breaker.Share) bench {
	t.Helper()
	return start(t, new(server), share, func(c *breaker.Config) { c.Probe, c.Reach = h.probe, h.reach })
}

// fail makes calls with an outcome until the breaker is open.
func (b bench) fail(t *testing.T, o breaker.Outcome) {
	t.Helper()
	for {
		done, err := b.Enter()
		if err != nil {
			return
		}
		done(o)
	}
}

// The end of an outage of ten minutes is noticed within 1.1 s, and costs no more probes.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(host)
		h.away.Store(true)
		b := startHost(t, h, nil)
		b.fail(t, away)
		time.Sleep(10 * time.Minute)
		b.wantPhase(t, breaker.Open)
		if asked, tried := h.asked.Load(), h.tried.Load(); asked < 550 || asked > 760 || tried < 20 || tried > 40 {
			t.Errorf("in ten minutes asked %d times, probed %d times", asked, tried)
		}
		h.away.Store(false)
		time.Sleep(1100 * time.Millisecond)
		b.wantPhase(t, breaker.HalfOpen)
		if n := h.probes.probes.Load(); n != 1 {
			t.Errorf("%d probes of the server that is back", n)
		}
		asked := h.asked.Load()
		time.Sleep(time.Minute)
		if n := h.asked.Load() - asked; n != 0 {
			t.Errorf("asked %d times after the outage", n)
		}
		if lines := b.logs.lines(); len(lines) != 2 {
			t.Errorf("log:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// A server that answers and does not work is left alone between its probes.
func TestReachOfAServerThatRefuses(t *testing.T) {
	for name, o := range map[string]breaker.Outcome{
		"login": refused, "throttled": throttled, "silent": {Result: breaker.Fault, Reason: "no answer at MAIL"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := new(host)
				h.probed.Store(&o)
				b := startHost(t, h, nil)
				b.fail(t, o)
				time.Sleep(10 * time.Minute)
				if n := h.asked.Load(); n != 0 {
					t.Errorf("asked %d times", n)
				}

				// It was away, too: it is probed once when it is back, and then as before.
				h.away.Store(true)
				time.Sleep(time.Minute)
				if n := h.asked.Load(); n < 30 {
					t.Errorf("asked %d times in a minute, while it was away", n)
				}
				h.away.Store(false)
				before := h.probes.probes.Load()
				h.probes.last.Store(0)
				h.probes.least.Store(0)
				time.Sleep(10 * time.Minute)
				asked := h.asked.Load()
				time.Sleep(time.Minute)
				n, least := h.probes.probes.Load()-before, time.Duration(h.probes.least.Load())
				if n < 20 || n > 65 || o.Result != breaker.Fault && least < 10*time.Second || h.asked.Load() != asked {
					t.Errorf("%d probes in 11 minutes, at least %v apart; asked %d times in a minute", n, least, h.asked.Load()-asked)
				}
			})
		})
	}
}

// A greeting that asks for time counts as the outcome of a probe.
func TestReachIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(host)
		h.away.Store(true)
		b := startHost(t, h, nil)
		b.fail(t, away)
		time.Sleep(20 * time.Second)
		h.greeting.Store(&throttled)
		h.probed.Store(&throttled)
		h.away.Store(false)
		before := h.asked.Load()
		time.Sleep(1100 * time.Millisecond)
		if s := b.State(); s.Reason != throttled.Reason || time.Until(s.Next) < 9*time.Second {
			t.Errorf("%+v", s)
		}
		time.Sleep(10 * time.Minute)
		if asked, least := h.asked.Load()-before, time.Duration(h.probes.least.Load()); asked > 2 || least < 10*time.Second {
			t.Errorf("asked %d times, probes at least %v apart", asked, least)
		}
	})
}

// One process of the fleet asks each second; all let calls through about two
// seconds after the end of the outage.
func TestReachOfAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, fleet := new(host), breakertest.NewFleet()
		h.away.Store(true)
		var all []bench
		for _, name := range []string{"a", "b", "c", "d"} {
			all = append(all, startHost(t, h, fleet.Member(name)))
		}
		time.Sleep(time.Second)
		all[0].fail(t, away)
		time.Sleep(5 * time.Minute)
		if asked, silence := h.asked.Load(), time.Duration(h.longestSilence.Load()); asked < 270 || asked > 450 || silence > 2*time.Second {
			t.Errorf("asked %d times in five minutes, once not for %v", asked, silence)
		}
		h.away.Store(false)
		time.Sleep(2100 * time.Millisecond)
		for _, b := range all {
			b.wantPhase(t, breaker.HalfOpen)
		}
		if n := h.probes.probes.Load(); n != 1 {
			t.Errorf("%d probes of the fleet", n)
		}

		// Without the share each process asks.
		fleet.SetDown(true)
		h.away.Store(true)
		before := h.asked.Load()
		for _, b := range all {
			b.fail(t, away)
		}
		time.Sleep(time.Minute)
		if n := h.asked.Load() - before; n < 4*50 || n > 4*80 {
			t.Errorf("asked %d times in a minute by four processes", n)
		}
	})
}

// A process that alone is cut off from the server does not keep the others from it.
func TestReachOfAProcessThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, cut, fleet := new(host), new(host), breakertest.NewFleet()
		cut.away.Store(true)
		a := startHost(t, cut, fleet.Member("a"))
		b := startHost(t, near, fleet.Member("b"))
		time.Sleep(10 * time.Second)
		a.fail(t, away)
		open := 0
		for range 600 { // a makes calls that fail, b none
			if done, err := a.Enter(); err == nil {
				done(away)
			}
			if p := b.State().Phase; p == breaker.Open || p == breaker.Probing {
				open++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if open == 0 || open > 400 {
			t.Errorf("b was closed to calls for %d tenths of a second of a minute", open)
		}
	})
}

// An unavailable server is known at the start of a process, before the first call, and one that is
// not costs one question.
func TestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := func(h *host, answer func() breaker.Outcome) bench {
			return start(t, new(server), nil, func(c *breaker.Config) {
				c.Probe, c.Reach = h.probe, h.reach
				c.First = func(context.Context) breaker.Outcome {
					time.Sleep(time.Second)
					return answer()
				}
			})
		}
		h := new(host)
		h.away.Store(true)
		b := begin(h, func() breaker.Outcome { return away })
		if s := b.State(); !s.Unasked || s.Phase != breaker.Closed {
			t.Errorf("at the begin: %+v", s)
		}
		time.Sleep(1100 * time.Millisecond)
		if s := b.State(); s.Unasked || s.Phase != breaker.Open || s.Reason != away.Reason {
			t.Errorf("away: %+v", s)
		}
		h.away.Store(false)
		time.Sleep(1100 * time.Millisecond)
		b.wantPhase(t, breaker.HalfOpen)

		for _, o := range []breaker.Outcome{breaker.Worked, refused, throttled, {}} {
			b := begin(new(host), func() breaker.Outcome { return o })
			time.Sleep(1100 * time.Millisecond)
			if s := b.State(); s.Unasked || s.Phase != breaker.Closed {
				t.Errorf("%+v: %+v", o, s)
			}
		}

		// A call that succeeds before the answer knows better.
		b = begin(new(host), func() breaker.Outcome { return away })
		b.call(new(server))
		if s := b.State(); s.Unasked {
			t.Errorf("after a call: %+v", s)
		}
		time.Sleep(2 * time.Second)
		b.wantPhase(t, breaker.Closed)
	})
}
