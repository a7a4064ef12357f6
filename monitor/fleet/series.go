package fleet

import "time"

const (
	seconds = int64(Window / time.Second)
	step    = int64(LatencyStep / time.Second)
	slots   = seconds / step
)

// series holds the counts of each second and the durations of each step. A slot of the rings
// is reused after Window.
type series struct {
	began   int64 // second; 0: nothing was counted
	counts  [seconds]secondCounts
	runtime [slots]stepHistogram
	wait    [slots]stepHistogram
}

type secondCounts struct {
	second int64
	n      [8]uint32 // in the order of Counts
}

type stepHistogram struct {
	step int64
	histogram
}

func (s *series) begin(now time.Time) {
	if s.began == 0 {
		s.began = now.Unix()
	}
}

func (s *series) count(now time.Time, column int) {
	second := now.Unix()
	slot := &s.counts[second%seconds]
	if slot.second != second {
		*slot = secondCounts{second: second}
	}
	slot.n[column]++
}

func observe(ring *[slots]stepHistogram, now time.Time, duration float64) {
	n := now.Unix() / step
	slot := &ring[n%slots]
	if slot.step != n {
		*slot = stepHistogram{step: n}
	}
	slot.add(duration)
}

// first returns the first second that a reader of the last d may see.
func (s *series) first(now time.Time, d time.Duration) int64 {
	last := now.Unix() - 1
	return max(s.began, last+1-min(max(int64(d/time.Second), 1), seconds))
}

func (s *series) view(now time.Time, d time.Duration) Series {
	if s.began == 0 {
		return Series{}
	}
	first, last := s.first(now, d), now.Unix()-1
	view := Series{Begin: time.Unix(first, 0), Counts: make([]Counts, 0, max(last-first+1, 0))}
	for second := first; second <= last; second++ {
		var c Counts
		if slot := &s.counts[second%seconds]; slot.second == second {
			n := &slot.n
			c = Counts{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}
		}
		view.Counts = append(view.Counts, c)
	}
	view.LatencyBegin = time.Unix(first/step*step, 0)
	for n := first / step; n <= last/step; n++ {
		var l Latency
		if slot := &s.runtime[n%slots]; slot.step == n {
			l.Runtime = slot.quantiles()
		}
		if slot := &s.wait[n%slots]; slot.step == n {
			l.Wait = slot.quantiles()
		}
		view.Latencies = append(view.Latencies, l)
	}
	return view
}

// latency merges the durations of the last d.
func (s *series) latency(now time.Time, d time.Duration) Latency {
	if s.began == 0 {
		return Latency{}
	}
	first, last := s.first(now, d)/step, now.Unix()/step
	merged := func(ring *[slots]stepHistogram) Quantiles {
		var h histogram
		for i := range ring {
			if n := ring[i].step; first <= n && n <= last {
				h.merge(&ring[i].histogram)
			}
		}
		return h.quantiles()
	}
	return Latency{Runtime: merged(&s.runtime), Wait: merged(&s.wait)}
}
