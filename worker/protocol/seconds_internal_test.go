package protocol

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestAppendSeconds(t *testing.T) {
	check := func(at time.Time) {
		t.Helper()
		want := string(appendFloat(nil, unixSeconds(at), 64))
		if got := string(appendSeconds(nil, at)); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
	for _, micros := range []int64{0, -1, 1e15 - 1, 1e15, 1e15 + 1, 1764132938000000, 1764132938100000, 1764132938000001, 1764132938999999, 4e15 - 1, 4e15, 1 << 60} {
		check(time.UnixMicro(micros))
	}
	for range 100_000 {
		check(time.UnixMicro(rand.Int64N(5e15)))
	}
}
