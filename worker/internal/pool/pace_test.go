package pool

import (
	"math"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	if got := p.each(); got != 1 {
		t.Errorf("before anything is known a slot holds %d", got)
	}
	for range 100 {
		p.note(10 * time.Microsecond)
	}
	if got := p.each(); got != mostEach {
		t.Errorf("of tasks that take no time a slot holds %d, want %d", got, mostEach)
	}
	p.note(10 * time.Second)
	if got := p.each(); got != 1 {
		t.Errorf("after a long run a slot holds %d", got)
	}
	n := 0
	for ; p.each() < 10; n++ {
		p.note(5 * time.Millisecond)
		if n > 1000 {
			t.Fatalf("after %d runs of 5ms a slot holds %d, want 10 one day", n, p.each())
		}
	}
	if n < 10 {
		t.Errorf("a long run is forgotten after %d short ones", n)
	}
}

func TestPrefetch(t *testing.T) {
	for name, tc := range map[string]struct {
		prefetch          Prefetch
		slots, long, each int
		most, refill      int
	}{
		"unknown pace":  {0, 8, 0, 1, 8, 4},
		"one slot":      {0, 1, 0, 1, 1, 1},
		"short tasks":   {0, 8, 0, 100, 800, 400},
		"some are long": {0, 8, 6, 100, 206, 103},
		"all are long":  {0, 8, 8, 100, 8, 4},
		"fewer slots":   {0, 2, 5, 100, 2, 1},
		"many slots":    {0, 200, 0, 100, 1000, 500},
		"even more":     {0, 2000, 0, 100, 2000, 1000},
		"multiplier":    {4, 8, 8, 100, 32, 1},
		"one each":      {1, 8, 0, 100, 8, 1},
		"no bound":      {-1, 8, 0, 1, math.MaxInt32, 1},
	} {
		if most, refill := tc.prefetch.limits(tc.slots, tc.long, tc.each); most != tc.most || refill != tc.refill {
			t.Errorf("%s: %d held at most, %d claimed at least; want %d, %d", name, most, refill, tc.most, tc.refill)
		}
	}
}
