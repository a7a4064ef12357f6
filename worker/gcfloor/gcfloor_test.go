package gcfloor

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		floor, live uint64
		want        int
	}{
		{8 << 20, 0, 200}, {8 << 20, 1 << 20, 200}, {8 << 20, 3 << 20, 166}, {8 << 20, 4 << 20, 100}, {8 << 20, 1 << 30, 100},
		{16 << 20, 1 << 20, 400}, {16 << 20, 4 << 20, 300},
	} {
		if got := percent(tc.floor, tc.live); got != tc.want {
			t.Errorf("floor %d, %d alive: %d, want %d", tc.floor, tc.live, got, tc.want)
		}
	}
}

func gogc() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

// The floor follows what is alive, up and down, and is gone when it is stopped.
func TestKeep(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(usual) // the run of the tests may have set another
	t.Cleanup(func() { debug.SetGCPercent(before) })
	stop := Keep(64 << 20)
	defer stop()
	comes := func(what string, ok func(percent int) bool) {
		t.Helper()
		for began := time.Now(); !ok(gogc()); {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: GOGC is %d", what, gogc())
			}
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
	comes("nothing is alive", func(p int) bool { return p > 500 })
	kept := make([]byte, 100<<20)
	comes("much is alive", func(p int) bool { return p == usual })
	runtime.KeepAlive(kept)
	kept = nil
	comes("nothing is alive again", func(p int) bool { return p > 500 })
	stop()
	if got := gogc(); got != usual {
		t.Errorf("GOGC is %d in the end", got)
	}
}

// Who has set GOGC has decided.
func TestKeepLeavesWhatIsSet(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := gogc()
	Keep(64 << 20)()
	if got := gogc(); got != before {
		t.Errorf("GOGC is %d, was %d", got, before)
	}
}
