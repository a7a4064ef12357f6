package words_test

import (
	"testing"
	"time"

	"github.com/evently/workers/internal/words"
)

// A machine in UTC says so, and others write their offset.
func TestClock(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	at := time.Date(2026, 12, 1, 2, 10, 37, 0, time.UTC)
	for offset, want := range map[int]string{0: "2026-12-01 02:10:37 UTC", 3600: "2026-12-01 03:10:37 +01:00"} {
		time.Local = time.FixedZone("", offset)
		if got := words.Clock(at); got != want {
			t.Errorf("offset %d: %q, want %q", offset, got, want)
		}
	}
}
