package testkit

import (
	"fmt"
	"slices"
	"time"
)

// Throughput holds the times of events, in their order.
type Throughput []time.Time

// Between returns the number of events from a time on and before another one.
func (t Throughput) Between(from, to time.Time) int { return t.before(to) - t.before(from) }

// before returns the number of events before a time.
func (t Throughput) before(at time.Time) int {
	n, _ := slices.BinarySearchFunc(t, at, time.Time.Compare)
	return n
}

// Median returns the events per second from a time on and before another one: the median of all
// whole windows of half a second in between.
func (t Throughput) Median(from, to time.Time) float64 {
	const window = time.Second / 2
	var counts []int
	for at := from; !at.Add(window).After(to); at = at.Add(window) {
		counts = append(counts, t.Between(at, at.Add(window)))
	}
	if len(counts) == 0 {
		return 0
	}
	slices.Sort(counts)
	return float64(counts[len(counts)/2]) / window.Seconds()
}

// Reaches returns how long after a time the first second ends that has at least so many events;
// false: there is none.
func (t Throughput) Reaches(from time.Time, rate float64) (time.Duration, bool) {
	for i := t.before(from); i < len(t); i++ {
		if end := t[i].Add(time.Second); float64(t.Between(t[i], end)) >= rate {
			return end.Sub(from), true
		}
	}
	return 0, false
}

// Last returns the time of the last event.
func (t Throughput) Last() time.Time {
	if len(t) == 0 {
		return time.Time{}
	}
	return t[len(t)-1]
}

// fullRate is the share of the rate from before that counts as full, as no two seconds of a busy
// machine are equal.
const fullRate = 0.8

// Recovery tells how events went on after the end of a trouble.
type Recovery struct {
	First         time.Duration // until the first one; 0: there was none
	Full          time.Duration // until the end of the first second at the full rate; 0: there was none
	Before, After float64       // events a second before the trouble, and from that second on
}

// Recovery returns how events went on after a trouble that ended at a time. before is their rate
// from before it.
func (t Throughput) Recovery(over time.Time, before float64) Recovery {
	r := Recovery{Before: before}
	begin := over
	if i := t.before(over); i < len(t) {
		r.First, begin = t[i].Sub(over), t[i]
	}
	if full, ok := t.Reaches(over, fullRate*before); ok {
		r.Full, begin = full, over.Add(full-time.Second)
	}
	if rest := t[t.before(begin):]; len(rest) > 0 {
		most := rest[:max(1, len(rest)*9/10)] // the last ones may have waited for another try
		lasts := max(time.Second, most.Last().Sub(begin))
		r.After = float64(most.Between(begin, begin.Add(lasts))) / lasts.Seconds()
	}
	return r
}

// String implements [fmt.Stringer].
func (r Recovery) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	if r.Full == 0 {
		return fmt.Sprintf("first mail after %v, full rate not reached: %.0f/s, before %.0f/s", round(r.First), r.After, r.Before)
	}
	return fmt.Sprintf("first mail after %v, full rate after %v: %.0f/s, before %.0f/s", round(r.First), round(r.Full), r.After, r.Before)
}
