package breaker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/internal/breaker/breakertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a server that is up or down.
type server struct {
	down   atomic.Bool
	reason atomic.Pointer[string]
	probes atomic.Int64
	last   atomic.Int64 // unix nanoseconds of the last probe
	least  atomic.Int64 // shortest time between two probes
}

func (s *server) probe(context.Context) breaker.Outcome {
	s.probes.Add(1)
	now := time.Now().UnixNano()
	if last := s.last.Swap(now); last != 0 {
		if gap := now - last; s.least.Load() == 0 || gap < s.least.Load() {
			s.least.Store(gap)
		}
	}
	return s.outcome()
}

func (s *server) outcome() breaker.Outcome {
	if !s.down.Load() {
		return breaker.Worked
	}
	reason := "no answer"
	if r := s.reason.Load(); r != nil {
		reason = *r
	}
	return breaker.Outcome{Result: breaker.Fault, Reason: reason}
}

// logs is a log for several goroutines.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

type bench struct {
	*breaker.Breaker
	logs *logs
}

// start runs a breaker until the end of the test.
func start(t *testing.T, s *server, share breaker.Share, change func(*breaker.Config)) bench {
	t.Helper()
	b := bench{logs: new(logs)}
	cfg := breaker.Config{Name: "relay", Probe: s.probe, Share: share, Logger: slog.New(slog.NewTextHandler(b.logs, nil))}
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.Breaker, err = breaker.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

// call makes one call of the server, and reports whether the breaker let it through.
func (b bench) call(s *server) bool {
	done, err := b.Enter()
	if err != nil {
		return false
	}
	done(s.outcome())
	return true
}

// awaitProbe waits until a probe has succeeded.
func (b bench) awaitProbe(t *testing.T) {
	t.Helper()
	for begin := time.Now(); b.State().Phase == breaker.Open || b.State().Phase == breaker.Probing; time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > 31*time.Second {
			t.Fatalf("no probe in 31 seconds: %+v", b.State())
		}
	}
}

func (b bench) wantPhase(t *testing.T, want breaker.Phase) {
	t.Helper()
	if got := b.State(); got.Phase != want {
		t.Fatalf("%v (%+v), want %v", got.Phase, got, want)
	}
}

func TestOpensAfterFiveFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		s.down.Store(true)
		for range 4 {
			b.call(s)
		}
		s.down.Store(false)
		b.call(s) // the row is over
		s.down.Store(true)
		for range 4 {
			b.call(s)
			b.wantPhase(t, breaker.Closed)
		}
		b.call(s)
		b.wantPhase(t, breaker.Open)
		_, err := b.Enter()
		open, ok := errors.AsType[*breaker.OpenError](err)
		if !ok || open.Name != "relay" || open.Reason != "no answer" || open.Since.IsZero() || !open.Next.After(time.Now()) || open.HalfOpen {
			t.Errorf("Enter: %+v", err)
		}
		if state := b.State(); state.Opened != 1 || state.Probes != 0 {
			t.Errorf("%+v", state)
		}
	})
}

func TestOpensAtHalfOfTwenty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		// Old calls do not count.
		for range 100 {
			b.call(s)
		}
		time.Sleep(31 * time.Second)
		for i := range 20 {
			b.wantPhase(t, breaker.Closed)
			s.down.Store(i%2 == 1)
			b.call(s)
			time.Sleep(time.Second)
		}
		b.wantPhase(t, breaker.Open)
	})
}

func TestOpensAtOnceWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, func(c *breaker.Config) {
			c.Probe = func(ctx context.Context) breaker.Outcome {
				s.probe(ctx)
				return breaker.Outcome{Result: breaker.Refused, Reason: "535 at AUTH"}
			}
		})
		done, err := b.Enter()
		if err != nil {
			t.Fatal(err)
		}
		done(breaker.Outcome{Result: breaker.Refused, Reason: "535 at AUTH"})
		done(breaker.Worked) // the second outcome of a call does not count
		b.wantPhase(t, breaker.Open)
		time.Sleep(10 * time.Minute)
		if n, least := s.probes.Load(), time.Duration(s.least.Load()); n < 600/30-1 || least < 10*time.Second {
			t.Errorf("%d probes in 10 minutes, at least %v apart; want one in 11 to 24 seconds", n, least)
		}
	})
}

// After an outage of ten minutes the full rate is back within a minute, and the number of
// calls at a time doubles until then.
func TestReopensGradually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		s.down.Store(true)
		for b.call(s) {
		}
		time.Sleep(10 * time.Minute)
		b.wantPhase(t, breaker.Open)
		if n := s.probes.Load(); n < 20 || n > 40 {
			t.Errorf("%d probes in 10 minutes", n)
		}
		s.down.Store(false)
		over := time.Now()
		var most []int
		for b.State().Phase != breaker.Closed {
			var dones []func(breaker.Outcome)
			for {
				done, err := b.Enter()
				if err != nil {
					break
				}
				dones = append(dones, done)
			}
			if n := len(dones); n > 0 {
				most = append(most, n)
			}
			time.Sleep(500 * time.Millisecond)
			for _, done := range dones {
				done(breaker.Worked)
			}
		}
		if took := time.Since(over); took > time.Minute {
			t.Errorf("full rate after %v", took)
		}
		if len(most) != 4 || most[0] != 1 || most[1] != 2 || most[2] != 4 || most[3] != 8 {
			t.Errorf("calls at a time: %v", most)
		}
		if lines := b.logs.lines(); len(lines) != 2 || !strings.Contains(lines[0], "circuit breaker open") || !strings.Contains(lines[1], "circuit breaker closed") {
			t.Errorf("log:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// An outage that lasts seconds is noticed over within seconds.
func TestShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		s.down.Store(true)
		for b.call(s) {
		}
		time.Sleep(3 * time.Second)
		s.down.Store(false)
		time.Sleep(5 * time.Second)
		b.wantPhase(t, breaker.HalfOpen)
		time.Sleep(31 * time.Second)
		b.wantPhase(t, breaker.Closed) // without a call
	})
}

// A server that throttles is probed every 11 to 24 seconds, by one process of the fleet.
func TestThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		throttled := breaker.Outcome{Result: breaker.Throttled, Reason: "454 too many mails"}
		var trials []time.Time
		a := start(t, s, fleet.Member("a"), nil)
		b := start(t, s, fleet.Member("b"), nil)
		for range 5 {
			done, err := a.Enter()
			if err != nil {
				t.Fatal(err)
			}
			done(throttled)
		}
		for begin := time.Now(); time.Since(begin) < 15*time.Minute; time.Sleep(100 * time.Millisecond) {
			for _, one := range []bench{a, b} {
				if done, err := one.Enter(); err == nil && time.Since(begin) > 2*time.Second {
					trials = append(trials, time.Now()) // the login succeeds, the mail does not
					done(throttled)
				} else if err == nil {
					done(breaker.Outcome{})
				}
			}
		}
		if n := len(trials); n < 30 || n > 46 {
			t.Errorf("%d trials of two processes in 15 minutes", n)
		}
	})
}

// Once the first call after a throttling has succeeded, all processes let calls through.
func TestOthersFollowTheFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		a := start(t, s, fleet.Member("a"), nil)
		b := start(t, s, fleet.Member("b"), nil)
		for range 5 {
			done, err := a.Enter()
			if err != nil {
				t.Fatal(err)
			}
			done(breaker.Outcome{Result: breaker.Throttled, Reason: "454 too many mails"})
		}
		time.Sleep(2 * time.Second)
		b.wantPhase(t, breaker.Open)
		prober, other := a, b
		for begin := time.Now(); prober.State().Phase != breaker.HalfOpen; time.Sleep(100 * time.Millisecond) {
			if prober, other = other, prober; time.Since(begin) > 30*time.Second {
				t.Fatalf("no probe: %+v, %+v", a.State(), b.State())
			}
		}
		time.Sleep(3 * time.Second)
		other.wantPhase(t, breaker.Open)
		prober.call(s)
		time.Sleep(1100 * time.Millisecond)
		other.wantPhase(t, breaker.HalfOpen)
	})
}

// A probe that hangs delays the next one by a second only: the server may be back since.
func TestProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, func(c *breaker.Config) {
			c.Probe = func(ctx context.Context) breaker.Outcome {
				o := s.probe(ctx)
				if o.Result != breaker.Success {
					<-ctx.Done()
				}
				return o
			}
			c.ProbeTimeout = 30 * time.Second
		})
		s.down.Store(true)
		for b.call(s) {
		}
		time.Sleep(10 * time.Minute)
		if n := s.probes.Load(); n < 18 || n > 20 {
			t.Errorf("%d probes in 10 minutes, want one every 31 seconds", n)
		}
	})
}

func TestFaultReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, func(c *breaker.Config) { c.Probe = nil })
		s.down.Store(true)
		for b.call(s) {
		}
		since := b.State().Since
		trials, begin := 0, time.Now()
		for time.Since(begin) < 5*time.Minute {
			if b.call(s) {
				trials++
				b.wantPhase(t, breaker.Open)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if trials < 10 || trials > 20 {
			t.Errorf("%d trials in 5 minutes", trials)
		}
		if state := b.State(); !state.Since.Equal(since) || state.Opened != 1 {
			t.Errorf("%+v, want one outage since %v", state, since)
		}
		reason := "421 too many connections 17"
		s.reason.Store(&reason)
		for range 30 {
			b.call(s)
			time.Sleep(time.Second)
		}
		reason2 := "421 too many connections 18"
		s.reason.Store(&reason2)
		for range 30 {
			b.call(s)
			time.Sleep(time.Second)
		}
		if lines := b.logs.lines(); len(lines) != 2 || !strings.Contains(lines[1], "another reason") {
			t.Errorf("log:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// Calls that began before the breaker opened, and outcomes that say nothing, change
// nothing.
func TestOutcomesThatSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		late, err := b.Enter()
		if err != nil {
			t.Fatal(err)
		}
		s.down.Store(true)
		for b.call(s) {
		}
		s.down.Store(false)
		time.Sleep(2 * time.Second)
		b.wantPhase(t, breaker.HalfOpen)
		late(breaker.Outcome{Result: breaker.Fault})
		b.wantPhase(t, breaker.HalfOpen)
		for range 10 {
			done, err := b.Enter()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Enter(); err == nil {
				t.Fatal("two calls at a time")
			}
			done(breaker.Outcome{})
		}
		b.wantPhase(t, breaker.HalfOpen)
	})
}

// Callers that wait go through as soon as they may, and learn at once that it opens again.
func TestEnterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		b := start(t, s, nil, nil)
		s.down.Store(true)
		for b.call(s) {
		}
		if _, err := b.EnterWait(t.Context()); err == nil {
			t.Fatal("an open breaker lets a call through")
		}
		s.down.Store(false)
		time.Sleep(2 * time.Second)
		b.wantPhase(t, breaker.HalfOpen)
		const callers = 40
		var running, most, refused atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				done, err := b.EnterWait(t.Context())
				if err != nil {
					refused.Add(1)
					return
				}
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(10 * time.Millisecond)
				running.Add(-1)
				done(breaker.Worked)
			})
		}
		wg.Wait()
		if refused.Load() > 0 || b.State().Phase != breaker.Closed {
			t.Errorf("%d refused, %+v", refused.Load(), b.State())
		}

		s.down.Store(true)
		for b.call(s) {
		}
		s.down.Store(false)
		time.Sleep(2 * time.Second)
		trial, err := b.Enter()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.EnterWait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("EnterWait: %v", err)
		}
		waiting := make(chan error)
		go func() {
			_, err := b.EnterWait(t.Context())
			waiting <- err
		}()
		synctest.Wait()
		trial(breaker.Outcome{Result: breaker.Fault, Reason: "again"})
		if open, ok := errors.AsType[*breaker.OpenError](<-waiting); !ok || open.Reason != "again" {
			t.Errorf("EnterWait: %v", open)
		}
	})
}

// One process finds out, all know within about a second; one of them probes; all let calls
// through when it succeeds.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		a := start(t, s, fleet.Member("a"), nil)
		b := start(t, s, fleet.Member("b"), nil)
		c := start(t, s, fleet.Member("c"), nil)
		time.Sleep(time.Second)
		s.down.Store(true)
		for a.call(s) {
		}
		time.Sleep(1100 * time.Millisecond)
		b.wantPhase(t, breaker.Open)
		c.wantPhase(t, breaker.Open)
		before := s.probes.Load()
		time.Sleep(5 * time.Minute)
		if n := s.probes.Load() - before; n < 10 || n > 20 {
			t.Errorf("%d probes of the fleet in 5 minutes", n)
		}
		if state := b.State(); state.Reason != "no answer" || time.Since(state.Since) < 5*time.Minute {
			t.Errorf("%+v", state)
		}
		s.down.Store(false)
		a.awaitProbe(t)
		time.Sleep(1100 * time.Millisecond)
		for name, m := range map[string]bench{"a": a, "b": b, "c": c} {
			if p := m.State().Phase; p != breaker.HalfOpen {
				t.Errorf("%s is %v", name, p)
			}
		}
		for a.State().Phase != breaker.Closed {
			a.call(s)
		}
		time.Sleep(1100 * time.Millisecond)
		b.wantPhase(t, breaker.Closed)
		c.wantPhase(t, breaker.Closed)
		for name, m := range map[string]bench{"a": a, "b": b, "c": c} {
			if lines := m.logs.lines(); len(lines) != 2 {
				t.Errorf("log of %s:\n%s", name, strings.Join(lines, "\n"))
			}
		}
	})
}

// A process whose login is refused does not stop the others. A process that begins during
// an outage knows of it.
func TestFleetAdoptsWhatConcernsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		a := start(t, s, fleet.Member("a"), func(c *breaker.Config) {
			c.Probe = func(context.Context) breaker.Outcome { return breaker.Outcome{Result: breaker.Refused, Reason: "535"} }
		})
		b := start(t, s, fleet.Member("b"), nil)
		done, err := a.Enter()
		if err != nil {
			t.Fatal(err)
		}
		done(breaker.Outcome{Result: breaker.Refused, Reason: "535"})
		time.Sleep(5 * time.Second)
		a.wantPhase(t, breaker.Open)
		b.wantPhase(t, breaker.Closed)

		s.down.Store(true)
		for b.call(s) {
		}
		time.Sleep(5 * time.Second)
		c := start(t, s, fleet.Member("c"), nil)
		time.Sleep(10 * time.Millisecond)
		c.wantPhase(t, breaker.Open)
		if lines := c.logs.lines(); len(lines) != 1 {
			t.Errorf("log:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// A process whose calls succeed does not believe another one that is cut off.
func TestOwnSuccessOutweighsFaultsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cut, fleet := new(server), new(server), breakertest.NewFleet()
		a := start(t, cut, fleet.Member("a"), nil)
		b := start(t, s, fleet.Member("b"), nil)
		b.call(s)
		cut.down.Store(true)
		for a.call(cut) {
		}
		for range 100 {
			if !b.call(s) {
				t.Fatal("b believes a")
			}
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if b.State().Opened == 0 {
			t.Error("b, which makes no calls, does not believe a")
		}
	})
}

// The prober dies: another process takes over when the lease ends.
func TestProberDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		b := start(t, s, fleet.Member("b"), nil)
		dead := fleet.Member("dead")
		if held, err := dead.Lease(t.Context(), "relay", 15*time.Second); !held || err != nil {
			t.Fatal(held, err)
		}
		s.down.Store(true)
		for b.call(s) {
		}
		time.Sleep(14 * time.Second)
		if n := s.probes.Load(); n != 0 {
			t.Errorf("%d probes beside another prober", n)
		}
		time.Sleep(3 * time.Second)
		if s.probes.Load() == 0 {
			t.Error("no process probes")
		}
	})
}

// Without the share each process is on its own; what it found out meanwhile is shared
// later.
func TestShareUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fleet := new(server), breakertest.NewFleet()
		a := start(t, s, fleet.Member("a"), nil)
		b := start(t, s, fleet.Member("b"), nil)
		fleet.SetDown(true)
		s.down.Store(true)
		for a.call(s) {
		}
		time.Sleep(10 * time.Second)
		a.wantPhase(t, breaker.Open)
		b.wantPhase(t, breaker.Closed)
		if s.probes.Load() < 3 {
			t.Errorf("%d probes", s.probes.Load())
		}
		fleet.SetDown(false)
		time.Sleep(2100 * time.Millisecond)
		b.wantPhase(t, breaker.Open)
		fleet.SetDown(true)
		s.down.Store(false)
		a.awaitProbe(t)
		b.awaitProbe(t)
	})
}

func TestConfig(t *testing.T) {
	for _, cfg := range []breaker.Config{{}, {Name: "x", Faults: -1}, {Name: "x", MaxPause: -1}} {
		if _, err := breaker.New(cfg); err == nil {
			t.Errorf("%+v is valid", cfg)
		}
	}
}
