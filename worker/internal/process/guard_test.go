package process

import (
	"testing"
	"time"
)

func TestGuardCountsNoGarbage(t *testing.T) {
	var size, frees int64
	now := time.Now()
	g := &Guard{most: 100, size: func() int64 { return size }, free: func() { frees++; size -= 50 }, now: func() time.Time { return now }}
	for _, step := range []struct {
		size  int64
		after time.Duration
		over  bool
		frees int64
	}{
		{100, 0, false, 0},
		{120, time.Minute, false, 1},          // 70 is left
		{120, time.Second / 2, false, 1},      // too soon to collect again
		{150, time.Second, false, 2},          // 100 is left
		{151, time.Second, true, 3},           // 101 is left
		{1 << 40, time.Millisecond, false, 3}, // too soon: the next task will tell
		{1 << 40, 2 * time.Second, true, 4},
	} {
		size, now = step.size, now.Add(step.after)
		if _, over := g.Over(); over != step.over || frees != step.frees {
			t.Errorf("with %d after %v: %v after %d collections, want %v after %d", step.size, step.after, over, frees, step.over, step.frees)
		}
	}
	if got := Resident(); got < 1<<20 || got > 1<<40 {
		t.Errorf("this process has %d bytes", got)
	}
}

func BenchmarkResident(b *testing.B) {
	for b.Loop() {
		Resident()
	}
}
