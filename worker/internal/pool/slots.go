package pool

import "time"

// slots holds the items that run. The lock of the pool guards it.
type slots[R Item] struct {
	size     int
	active   []R
	settling int  // items that gave up their slots before they were settled
	begun    int  // items so far
	most     int  // items that may begin in all; 0: no bound
	stopped  bool // no further item begins
	peak     int  // of active items since takePeak
	pace     pace // of slots
	runs     pace // of handlers, without the time that their settlements take
}

const (
	// ShortRun is the longest run that may give up its slot before it is settled. A round
	// trip to the broker takes as long.
	ShortRun = time.Millisecond
	// maxSettling bounds the items that gave up their slots: if the process dies then,
	// they run again.
	maxSettling = 64
)

// free reports whether another item may begin.
func (s *slots[R]) free() bool {
	return len(s.active) < s.size && !s.stopped && (s.most == 0 || s.begun < s.most)
}

// left returns how many items may still begin, and whether there is such a bound.
func (s *slots[R]) left() (n int, bounded bool) {
	if s.stopped {
		return 0, true
	}
	return s.most - s.begun, s.most > 0
}

// stop begins no further item.
func (s *slots[R]) stop() { s.stopped = true }

// take gives r a slot.
func (s *slots[R]) take(r R, slot *Slot) {
	s.active = append(s.active, r)
	slot.place = int32(len(s.active))
	slot.began = time.Now()
	s.peak = max(s.peak, len(s.active))
	s.begun++
}

// drop takes the slot of an item away.
func (s *slots[R]) drop(slot *Slot) {
	last := len(s.active) - 1
	moved := s.active[last]
	s.active[slot.place-1] = moved
	moved.PoolSlot().place = slot.place
	slot.place = 0
	var none R
	s.active[last] = none
	s.active = s.active[:last]
}

// giveUp takes the slot of a short run away before its end. It reports whether it did.
func (s *slots[R]) giveUp(slot *Slot, took time.Duration) bool {
	if slot.place == 0 || took > ShortRun || s.settling >= maxSettling {
		return false
	}
	s.drop(slot)
	s.settling++
	s.pace.note(took)
	return true
}

// unsettled returns the number of items that run or are being settled.
func (s *slots[R]) unsettled() int { return len(s.active) + s.settling }

// countYounger returns the number of items that got their slots less than age ago.
func (s *slots[R]) countYounger(age time.Duration) (n int) {
	now := time.Now()
	for _, r := range s.active {
		if now.Sub(r.PoolSlot().began) < age {
			n++
		}
	}
	return n
}

// takePeak returns the greatest number of active items since the last call.
func (s *slots[R]) takePeak() int {
	peak := s.peak
	s.peak = len(s.active)
	return peak
}
