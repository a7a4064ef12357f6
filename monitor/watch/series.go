package watch

import (
	"sync"
	"time"
)

// Span is how far back the series go.
const Span = 15 * time.Minute

// Sample is one point of a series.
type Sample struct {
	At       time.Time
	Messages int
	In, Out  int64 // since the sample before
	Oldest   Age
}

// point is a Sample as it is kept: 32 bytes.
type point struct {
	at       int64 // Unix milliseconds
	messages int32
	in, out  int32
	oldest   float32 // seconds
	known    bool
	atLeast  bool
}

// ring holds the latest points of a queue.
type ring struct {
	points []point
	next   int // place of the next point when points is full
}

func (r *ring) add(p point, most int) {
	if len(r.points) < most {
		r.points = append(r.points, p)
		return
	}
	r.points[r.next] = p
	r.next = (r.next + 1) % len(r.points)
}

// each calls fn with the points, the oldest first.
func (r *ring) each(fn func(point)) {
	for i := range r.points {
		fn(r.points[(r.next+i)%len(r.points)])
	}
}

// series holds the rings of all queues.
type series struct {
	most int // points of a ring

	mu    sync.Mutex
	rings map[string]*ring
}

func newSeries(most int) *series { return &series{most: most, rings: map[string]*ring{}} }

func (s *series) add(queue string, p point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[queue]
	if r == nil {
		r = &ring{}
		s.rings[queue] = r
	}
	r.add(p, s.most)
}

// keep drops the rings of all queues but these.
func (s *series) keep(queues map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range s.rings {
		if !queues[q] {
			delete(s.rings, q)
		}
	}
}

// samples returns the points of a queue after a time, the oldest first.
func (s *series) samples(queue string, after time.Time) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[queue]
	if r == nil {
		return nil
	}
	found := make([]Sample, 0, len(r.points))
	r.each(func(p point) {
		if p.at <= after.UnixMilli() {
			return
		}
		a := Age{Known: p.known, Seconds: float64(p.oldest), AtLeast: p.atLeast}
		found = append(found, Sample{At: time.UnixMilli(p.at), Messages: int(p.messages), In: int64(p.in), Out: int64(p.out), Oldest: a})
	})
	return found
}

// rates returns the messages a second that came and went in the points after a time.
func (s *series) rates(queue string, after, now time.Time) (in, out float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[queue]
	if r == nil {
		return 0, 0
	}
	first := now.UnixMilli()
	var before int64
	r.each(func(p point) {
		if p.at <= after.UnixMilli() {
			before = p.at // the next point counts from here on
			return
		}
		first = min(first, p.at)
		in, out = in+float64(p.in), out+float64(p.out)
	})
	if before > 0 {
		first = before
	}
	seconds := float64(now.UnixMilli()-first) / 1000
	if seconds <= 0 {
		return 0, 0
	}
	return in / seconds, out / seconds
}
