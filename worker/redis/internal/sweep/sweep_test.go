package sweep

import (
	"math/rand/v2"
	"testing"
)

// look marks the messages of a span as seen.
func look(seen map[int]bool, list []int, span Span) {
	for _, m := range list[span.First:span.End()] {
		seen[m] = true
	}
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// A sweep sees the whole list, with as few looks as fit, and the messages near both ends
// first.
func TestSweepSeesAll(t *testing.T) {
	for _, n := range []int{0, 1, 49, 50, 51, 150, 151, 152, 350, 351, 5000} {
		for _, bytes := range []int{100, 1200, 16 << 20} {
			var s Sweep
			s.Sized(1, bytes)
			list, seen, looks := numbers(n), map[int]bool{}, 0
			for !s.Whole {
				for _, span := range s.Ends(n) {
					look(seen, list, span)
				}
				span, ok := s.Next(n)
				if !ok {
					break
				}
				look(seen, list, span)
				s.Saw(span, n, 0)
				if looks++; looks == 6 && bytes == 1200 && n == 5000 && (!seen[500] || !seen[n-500]) {
					t.Errorf("after 6 looks the messages near the ends are unseen")
				}
			}
			if len(seen) != n {
				t.Errorf("%d of %d messages seen", len(seen), n)
			}
			if each := max(1, min(most, mostBytes/bytes)); looks > n/each+2 {
				t.Errorf("%d looks at %d messages of %d bytes", looks, n, bytes)
			}
		}
	}
}

// While others consume and produce, and messages are taken away, each message that stays is
// seen after some sweeps.
func TestSweepOfAMovingList(t *testing.T) {
	var s Sweep
	s.Sized(1, 100)
	list, seen, next := numbers(3000), map[int]bool{}, 3000
	for range 2000 {
		for _, span := range s.Ends(len(list)) {
			look(seen, list, span)
		}
		if span, ok := s.Next(len(list)); ok {
			if span.First < 0 || span.End() > len(list) || span.Count < 1 {
				t.Fatalf("span %+v of %d messages", span, len(list))
			}
			look(seen, list, span)
			taken := 0
			if rand.N(3) == 0 {
				list = append(list[:span.First:span.First], list[span.First+1:]...)
				taken = 1
			}
			s.Saw(span, len(list)+taken, taken)
		}
		for range rand.N(3) { // consumed
			if len(list) > 0 {
				list = list[1:]
			}
		}
		for range rand.N(4) { // produced
			list = append(list, next)
			next++
		}
	}
	unseen := 0
	for _, m := range list[:max(0, len(list)-newest)] {
		if !seen[m] {
			unseen++
		}
	}
	if unseen > 0 {
		t.Errorf("%d of %d messages unseen", unseen, len(list))
	}
}
