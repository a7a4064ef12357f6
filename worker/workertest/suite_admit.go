package workertest

import (
	"context"
	"testing"
	"time"

	"github.com/evently/workers/worker/broker"
)

// admit asks for limits and holds the answer to a wait, give or take the time that the
// test has taken.
func admit(t *testing.T, f Fixture, admitted bool, wait time.Duration, decides string, limits ...broker.Limit) {
	t.Helper()
	a, err := f.can.Admitter.Admit(context.Background(), limits)
	if err != nil {
		t.Fatalf("Admit: %v", err)
	}
	if a.Admitted != admitted || a.Limit != decides || a.Wait > wait || a.Wait < wait-wait/4 {
		t.Errorf("Admit = %+v, want %v after about %v by %q", a, admitted, wait, decides)
	}
}

func testAdmit(t *testing.T, f Fixture) {
	fast := broker.Limit{Name: "fast", Every: time.Hour, Burst: 3}
	slow := broker.Limit{Name: "slow", Every: 10 * time.Hour}
	admit(t, f, true, 0, "", fast, slow)
	// The refusal of one limit takes no token of the other.
	for range 5 {
		admit(t, f, false, 10*time.Hour, "slow", fast, slow)
	}
	admit(t, f, true, 0, "", fast)
	admit(t, f, true, 0, "", fast)
	admit(t, f, false, time.Hour, "fast", fast)
	admit(t, f, false, 10*time.Hour, "slow", fast, slow)
	admit(t, f, true, 0, "")
	brief := broker.Limit{Name: "brief", Every: 100 * time.Millisecond}
	admit(t, f, true, 0, "", brief)
	eventually(t, "the next token is free", func() bool {
		a, err := f.can.Admitter.Admit(context.Background(), []broker.Limit{brief})
		return err == nil && a.Admitted
	})
	for name, limits := range map[string][]broker.Limit{
		"no time":      {{Name: "x", Every: 1}},
		"twice":        {fast, fast},
		"burst":        {{Name: "x", Every: time.Hour, Burst: -1}},
		"too long":     {{Name: "x", Every: 24 * time.Hour, Burst: 1000}},
		"reservations": {{Name: "x", Every: time.Hour, Reserve: -1}},
		"too many":     make([]broker.Limit, broker.MaxLimits+1),
	} {
		if a, err := f.can.Admitter.Admit(context.Background(), limits); err == nil {
			t.Errorf("%s: %+v is accepted: %+v", name, limits, a)
		}
	}
}

func testReserve(t *testing.T, f Fixture) {
	l := broker.Limit{Name: "x", Every: time.Hour, Burst: 2, Reserve: 3*time.Hour + time.Minute}
	admit(t, f, true, 0, "", l)
	admit(t, f, true, 0, "", l)
	for n := range time.Duration(3) {
		admit(t, f, true, (n+1)*time.Hour, "x", l)
	}
	// Beyond the longest reservation nothing is taken.
	for range 3 {
		admit(t, f, false, 4*time.Hour, "x", l)
	}
	// A caller that does not reserve waits behind the reservations.
	l.Reserve = 0
	admit(t, f, false, 4*time.Hour, "x", l)
	// One limit allows a reservation, the other one does not.
	l.Reserve = 5 * time.Hour
	empty := broker.Limit{Name: "empty", Every: time.Hour}
	admit(t, f, true, 0, "", empty)
	admit(t, f, false, 4*time.Hour, "x", l, empty)
	admit(t, f, true, 4*time.Hour, "x", l)
}

// Bulk work may use at most three quarters of a rate, urgent work all of it.
func testLane(t *testing.T, f Fixture) {
	all := broker.Limit{Name: "all", Every: 3 * time.Hour, Burst: 4}
	share := broker.Limit{Name: "all/bulk", Every: 4 * time.Hour, Burst: 3, Reserve: 12 * time.Hour}
	now := all
	now.Reserve = 9 * time.Hour
	bulk := func(admitted bool, wait time.Duration, decides string) {
		t.Helper()
		admit(t, f, admitted, wait, decides, all, share)
	}
	urgent := func(admitted bool, wait time.Duration) {
		t.Helper()
		decides := ""
		if wait > 0 {
			decides = "all"
		}
		admit(t, f, admitted, wait, decides, now)
	}
	for range 3 {
		bulk(true, 0, "")
	}
	bulk(true, 4*time.Hour, "all/bulk") // the last free token of all, for later
	// Bulk work reserves no token of all, so urgent work gets the next ones.
	bulk(false, 8*time.Hour, "all/bulk")
	urgent(true, 3*time.Hour)
	urgent(true, 6*time.Hour)
	bulk(false, 9*time.Hour, "all")
	urgent(true, 9*time.Hour)
}

func testSlow(t *testing.T, f Fixture) {
	slow := func(want float64, effective bool) {
		t.Helper()
		share, slowed, err := f.can.Admitter.Slow(context.Background(), broker.Slowing{Limit: "x"})
		if err != nil {
			t.Fatalf("Slow: %v", err)
		}
		if slowed != effective || share < want || share > want+0.05 {
			t.Errorf("Slow = %v, %v, want %v, %v", share, slowed, want, effective)
		}
	}
	l := broker.Limit{Name: "x", Every: 10 * time.Hour}
	admit(t, f, true, 0, "", l)
	slow(0.5, true)
	slow(0.5, false) // the same trouble, heard of by another worker
	other := l
	other.Name = "y"
	admit(t, f, true, 0, "", other)
	admit(t, f, false, 10*time.Hour, "y", other)
	// The token that was taken at the full rate stays taken; the next one takes twice as long.
	l.Reserve = 100 * time.Hour
	admit(t, f, true, 10*time.Hour, "x", l)
	admit(t, f, true, 30*time.Hour, "x", l)
}

// A limit without a rate gets half of the sum of what its callers have had, once each.
func testSlowWithoutARate(t *testing.T, f Fixture) {
	ctx := context.Background()
	l := broker.Limit{Name: "x", Reserve: 100 * time.Hour}
	for range 3 {
		admit(t, f, true, 0, "", l)
	}
	slow := func(caller string, every time.Duration, effective bool) {
		t.Helper()
		share, slowed, err := f.can.Admitter.Slow(ctx, broker.Slowing{Limit: "x", Every: every, Caller: caller})
		if err != nil || slowed != effective || share < 0.5 || share > 0.55 {
			t.Errorf("Slow of %s = %v, %v, %v, want 0.5, %v", caller, share, slowed, err, effective)
		}
	}
	slow("a", 2*time.Hour, true)
	slow("a", 2*time.Hour, false)
	slow("a", 2*time.Hour, false)
	admit(t, f, true, 0, "", l)
	admit(t, f, true, 4*time.Hour, "x", l)
	// Another caller has had as much: together they get half of that.
	slow("b", 2*time.Hour, false)
	slow("b", 2*time.Hour, false)
	admit(t, f, true, 8*time.Hour, "x", l)
	admit(t, f, true, 10*time.Hour, "x", l)
	// A caller that names a rate has that one, slowed down.
	l.Every = 5 * time.Hour
	admit(t, f, true, 12*time.Hour, "x", l)
	other := broker.Limit{Name: "y"}
	admit(t, f, true, 0, "", other)
	admit(t, f, true, 0, "", other)
}
