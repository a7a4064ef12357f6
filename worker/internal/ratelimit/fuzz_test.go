package ratelimit

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A rate limit may come from any client that publishes control messages.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "0", "10/m", "0.5/h", " 1/h ", "1/d", "NaN", "1e400", "1e-300/h", "-1/s", "0x1p-2/m", "1_0/s", "inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		every, err := Parse(s)
		if every < 0 || err != nil && every != 0 {
			t.Fatalf("Parse(%q) = %v, %v", s, every, err)
		}
		if every == 0 {
			return
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
		n, err := strconv.ParseFloat(number, 64)
		per := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
		if err != nil || math.Abs(float64(every)*n-float64(per)) > n*(1+1e-9*float64(every)) {
			t.Fatalf("Parse(%q) = %v: so many tasks do not take %v", s, every, per)
		}
	})
}
