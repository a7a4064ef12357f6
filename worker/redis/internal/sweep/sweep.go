// Package sweep decides which parts of a long list to look at next.
package sweep

// Numbers of messages in one look.
const (
	oldest = 50  // at the end that is consumed next
	newest = 100 // at the other end
	most   = 200
	// mostBytes bounds the messages of one look. The next ones are taken to be as large as
	// the last ones.
	mostBytes = 512 << 10
)

// Span is a part of a list. Places are counted from 0 at the end that is consumed next.
type Span struct{ First, Count int }

// End returns the place behind the span.
func (s Span) End() int { return s.First + s.Count }

// Sweep is the progress of the looks at one list, from both ends to the middle. The zero
// Sweep has seen nothing.
type Sweep struct {
	Whole bool // the whole list was seen once

	front, back int // messages seen at the end that is consumed next, and at the other one
	atBack      bool
	size        int // bytes of a message; 0: unknown
}

// Ends returns the parts at both ends of a list with n messages. They do not overlap.
func (s *Sweep) Ends(n int) []Span {
	first := Span{0, min(s.bound(oldest), n)}
	last := min(s.bound(newest), n-first.Count)
	if last == 0 {
		return []Span{first}
	}
	return []Span{first, {n - last, last}}
}

// Next returns the next part between the ends, at either side in turn.
func (s *Sweep) Next(n int) (Span, bool) {
	ends := s.Ends(n)
	if len(ends) < 2 || ends[0].End() >= ends[1].First {
		s.begin()
		return Span{}, false
	}
	first, end := max(s.front, ends[0].End()), n-max(s.back, ends[1].Count)
	if first >= end { // the list has become shorter, or all was seen
		s.begin()
		first, end = ends[0].End(), ends[1].First
	}
	count := min(s.bound(most), end-first)
	if s.atBack {
		return Span{end - count, count}, true
	}
	return Span{first, count}, true
}

// Saw notes that a span of a list with n messages, as Next returned it, was looked at, and
// that so many of its messages were taken away.
func (s *Sweep) Saw(span Span, n, taken int) {
	if s.atBack {
		s.back = n - span.First - taken
	} else {
		s.front = span.End() - taken
	}
	s.atBack = !s.atBack
	if s.front+s.back >= n-taken {
		s.begin()
	}
}

// begin begins another sweep, after the whole list was seen.
func (s *Sweep) begin() { s.Whole, s.front, s.back = true, 0, 0 }

// Sized notes the size of messages.
func (s *Sweep) Sized(messages, bytes int) {
	if messages > 0 {
		s.size = bytes / messages
	}
}

// bound returns how many messages to look at, at most so many.
func (s *Sweep) bound(n int) int {
	if s.size == 0 {
		return min(n, oldest)
	}
	return max(1, min(n, mostBytes/s.size))
}
