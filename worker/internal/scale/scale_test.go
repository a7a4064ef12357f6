package scale

import (
	"testing"
	"time"
)

// follow plays loads, one each second, and returns the numbers of slots.
func follow(s *Scaler, slots int, loads []load) (got []int) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, l := range loads {
		l.slots, l.running = slots, min(l.running, slots)
		slots = s.target(now, l)
		got = append(got, slots)
		now = now.Add(time.Second)
	}
	return got
}

func repeat(n int, l load) []load {
	ls := make([]load, n)
	for i := range ls {
		ls[i] = l
	}
	return ls
}

func TestScaler(t *testing.T) {
	busy := load{running: 1000, waiting: 3, depth: 1000}
	for name, tc := range map[string]struct {
		low, high, slots int
		loads            []load
		last             int
		most             int // of all; 0: do not look
	}{
		"nothing to do":               {1, 8, 1, repeat(100, load{}), 1, 1},
		"a rush":                      {1, 8, 1, repeat(10, busy), 8, 8},
		"a rush of two messages":      {1, 8, 1, repeat(10, load{running: 1, waiting: 2}), 2, 2},
		"shorter than the patience":   {1, 8, 1, append(repeat(2, busy), repeat(5, load{running: 0})...), 1, 1},
		"busy, and nothing waits":     {1, 8, 4, repeat(20, load{running: 4}), 4, 4},
		"a message has waited long":   {1, 8, 2, []load{{running: 2, waiting: 1, oldest: 3 * time.Second}}, 3, 3},
		"idle for less than a while":  {1, 8, 8, repeat(25, load{}), 8, 8},
		"idle for long":               {1, 8, 8, repeat(200, load{}), 1, 8},
		"never below the minimum":     {3, 8, 8, repeat(400, load{}), 3, 8},
		"what is used of late stays":  {1, 8, 8, repeat(300, load{running: 5}), 5, 8},
		"half of the rest at a time":  {1, 8, 8, repeat(32, load{}), 4, 8},
		"a peak within the keepalive": {1, 8, 8, append(repeat(20, load{}), append(repeat(1, load{running: 8}), repeat(25, load{})...)...), 8, 8},
	} {
		s := New(Config{Min: tc.low, Max: tc.high})
		got := follow(s, tc.slots, tc.loads)
		if last := got[len(got)-1]; last != tc.last {
			t.Errorf("%s: %v, want %d at the end", name, got, tc.last)
		}
		for _, n := range got {
			if n < tc.low || n > tc.high || tc.most > 0 && n > max(tc.most, tc.slots) {
				t.Errorf("%s: %d slots in %v", name, n, got)
			}
		}
	}
}

// A load that comes and goes every few seconds must not make the pool swing.
func TestScalerIsDamped(t *testing.T) {
	s := New(Config{Min: 1, Max: 64})
	var loads []load
	for i := range 600 {
		if i/5%2 == 0 {
			loads = append(loads, load{running: 16, waiting: 4, depth: 10})
		} else {
			loads = append(loads, load{running: 3})
		}
	}
	got := follow(s, 4, loads)
	changes := 0
	for i := 200; i < len(got); i++ { // when it has found its level
		if got[i] != got[i-1] {
			changes++
		}
	}
	if changes > 2 {
		t.Errorf("%d changes: %v", changes, got)
	}
}

func TestScalerBounds(t *testing.T) {
	n := func(n int) *int { return &n }
	for name, tc := range map[string]struct {
		high, low  *int
		h, l, size int
		bad        bool
	}{
		"both":              {n(5), n(2), 5, 2, 4, false},
		"only max":          {n(3), nil, 3, 2, 3, false},
		"max below the min": {n(1), nil, 1, 1, 1, false},
		"only min":          {nil, n(6), 8, 6, 6, false},
		"min above the max": {nil, n(9), 9, 9, 9, false},
		"neither":           {nil, nil, 8, 2, 4, false},
		"crossed":           {n(2), n(5), 0, 0, 4, true},
		"nothing":           {n(0), n(0), 0, 0, 4, true},
		"negative":          {n(5), n(-1), 0, 0, 4, true},
		"absurd":            {n(1 << 30), nil, 0, 0, 4, true},
	} {
		p := &fakePool{slots: 4}
		s := New(Config{Min: 2, Max: 8, Pool: p})
		h, l, err := s.Set(tc.high, tc.low)
		if (err != nil) != tc.bad || h != tc.h || l != tc.l || p.slots != tc.size {
			t.Errorf("%s: max %d, min %d, %d slots, %v", name, h, l, p.slots, err)
		}
		if tc.bad && (s.high != 8 || s.low != 2) {
			t.Errorf("%s: a refused change has changed something", name)
		}
	}
}

// fakePool is a Pool without items.
type fakePool struct {
	Pool
	slots int
}

func (p *fakePool) Size() int { return p.slots }

func (p *fakePool) Resize(slots int) { p.slots = slots }
