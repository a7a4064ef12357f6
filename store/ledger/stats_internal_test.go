package ledger

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Intervals cover a period without gaps and overlaps, with ends on whole spans.
func TestIntervals(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 34, 56, 0, time.UTC)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		since := now.Add(-time.Duration(random.Int64N(int64(100 * day))))
		until := since.Add(time.Duration(random.Int64N(int64(now.Sub(since)) + 1)))
		parts := intervals(since, until, now)
		if len(parts) == 0 {
			if since.Equal(until) {
				continue
			}
			t.Fatalf("no intervals from %v to %v", since, until)
		}
		if len(parts) > 5 {
			t.Errorf("%d intervals from %v to %v: %v", len(parts), since, until, parts)
		}
		at := parts[0].from
		if at.After(since) || since.Sub(at) >= time.Hour {
			t.Errorf("begins at %v, want %v", at, since)
		}
		for _, p := range parts {
			if !p.from.Equal(at) || !p.from.Before(p.to) && len(parts) > 1 || !p.from.Truncate(p.span).Equal(p.from) || !p.to.Truncate(p.span).Equal(p.to) {
				t.Fatalf("from %v to %v: %v", since, until, parts)
			}
			if p.span == time.Minute && now.Sub(p.from) > 7*day {
				t.Errorf("minutes of %v are not kept", p.from)
			}
			at = p.to
		}
		if at.Before(until) || at.Sub(until) >= time.Hour {
			t.Errorf("ends at %v, want %v", at, until)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	histogram := make([]int64, len(bounds)+1)
	if p := percentile(histogram, 0, 0.5); p != 0 {
		t.Errorf("of nothing: %g", p)
	}
	histogram[bucketOf(time.Second)] = 50 // up to a second
	histogram[bucketOf(time.Minute)] = 50 // 20 s to a minute
	for share, want := range map[float64]float64{0.25: 0.75, 0.5: 1, 0.75: 40, 1: 60} {
		if p := percentile(histogram, 100, share); p != want {
			t.Errorf("%g: %g s, want %g", share, p, want)
		}
	}
	histogram[bucketOf(48*time.Hour)] = 900
	if p := percentile(histogram, 1000, 0.99); p != (24 * time.Hour).Seconds() {
		t.Errorf("beyond all bounds: %g", p)
	}
}

func TestPlaceOf(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1764417600123)
	if ms, seq := placeOf("1764417600000-7", at); ms != 1764417600000 || seq != 7 {
		t.Errorf("%d, %d", ms, seq)
	}
	ms, seq := placeOf("another broker", at)
	again, seqAgain := placeOf("another broker", at)
	if ms != at.UnixMilli() || seq < 0 || ms != again || seq != seqAgain {
		t.Errorf("%d, %d", ms, seq)
	}
	if _, other := placeOf("another one", at); other == seq {
		t.Error("two ids have one place")
	}
}
