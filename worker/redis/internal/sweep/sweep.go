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

// Sweep is the progress of the looks at one list. The zero Sweep has seen nothing.
type Sweep struct {
	Whole bool // the whole list was seen once

	next int // place
	size int // bytes of a message; 0: unknown
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

// Next returns the next part between the ends.
func (s *Sweep) Next(n int) (Span, bool) {
	ends := s.Ends(n)
	if len(ends) < 2 || ends[0].End() >= ends[1].First {
		s.Whole, s.next = true, 0
		return Span{}, false
	}
	first := max(s.next, ends[0].End())
	if first >= ends[1].First { // the list has become shorter
		s.Whole, first = true, ends[0].End()
	}
	return Span{first, min(s.bound(most), ends[1].First-first)}, true
}

// Saw notes that a span of a list with n messages was looked at, and that so many of its
// messages were taken away.
func (s *Sweep) Saw(span Span, n, taken int) {
	s.next = span.End() - taken
	if ends := s.Ends(n); len(ends) < 2 || span.End() >= ends[1].First {
		s.Whole, s.next = true, 0
	}
}

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
