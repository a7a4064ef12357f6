package watch

import (
	"time"

	"github.com/evently/workers/worker/broker"
)

// mostMarks bounds the marks of a list. Beyond it every second mark is dropped, and new ones are
// twice as far apart: ages become less exact, by a hundredth at most, instead of memory growing.
const mostMarks = 512

// mark says that the messages up to a number had arrived at a time.
type mark struct {
	number int64
	at     time.Time
	// atLeast is set for messages that were there before the first look.
	atLeast bool
}

// tracker knows how old the messages of one list are, although they carry no time.
//
// Messages are numbered in the order of their arrival. Each look learns how many messages are
// newer than the newest one of the look before, so that a number is known with its time: a
// mark. Producers push at one end and workers take from the other, so the number of the
// message that is taken next follows from the length.
type tracker struct {
	list    broker.QueueList
	looked  bool
	since   []byte // newest message of the last look
	arrived int64  // number of the newest message
	length  int
	marks   []mark        // of messages that wait, the oldest first
	apart   time.Duration // least time between two marks
	taken   mark          // the last mark whose messages were all taken
	oldest  string        // identifies the message that is taken next
	head    mark          // and its age
}

// waits says how long some messages have waited.
type waits struct {
	messages int64
	wait     time.Duration
	atLeast  bool
}

// movement is the change of a list between two looks.
type movement struct {
	in, out int64
	waits   []waits
}

// look takes in the state of the list at a time.
func (t *tracker) look(at time.Time, s broker.ListState) (m movement) {
	if s.Messages < 0 {
		*t = tracker{list: t.list}
		return m
	}
	first := t.arrived - int64(t.length) + 1 // number of the message that was next
	switch {
	case !t.looked:
		t.arrived = int64(s.Messages)
	case s.Messages == 0:
		m.out = int64(t.length)
	default:
		m.in, m.out = t.moved(s)
		t.arrived += m.in
	}
	if s.Messages > 0 && (m.in > 0 || !t.looked) {
		t.addMark(mark{number: t.arrived, at: at, atLeast: !t.looked})
	}
	next := t.arrived - int64(s.Messages) + 1
	same := s.Messages > 0 && s.Oldest == t.oldest && t.length > 0
	m.waits = t.take(at, first, next, same)
	t.setHead(s, same)
	if len(s.Newest) > 0 || s.Messages == 0 || m.in != 0 {
		t.since = s.Newest
	}
	t.looked, t.length, t.oldest = true, s.Messages, s.Oldest
	return m
}

// moved returns how many messages came and went, as far as the list shows it. Messages that
// came and went between two looks are not seen.
func (t *tracker) moved(s broker.ListState) (in, out int64) {
	before, now := int64(t.length), int64(s.Messages)
	switch s.Arrived {
	case broker.ArrivedAll:
		return now, before
	case broker.ArrivedUnknown:
		return max(0, now-before), max(0, before-now)
	}
	in = int64(s.Arrived)
	return in, max(0, before+in-now) // less than none went: some came back at the front
}

// addMark adds a mark. It replaces the last one if that is too close to the one before.
func (t *tracker) addMark(m mark) {
	last := len(t.marks) - 1
	if last >= 1 && t.marks[last].at.Sub(t.marks[last-1].at) < t.apart && !t.marks[last].atLeast {
		t.marks[last] = m
		return
	}
	if len(t.marks) >= mostMarks {
		span := t.marks[last].at.Sub(t.marks[0].at)
		kept := t.marks[:0]
		for i, old := range t.marks {
			if i%2 == 1 || old.atLeast {
				kept = append(kept, old)
			}
		}
		t.marks, t.apart = kept, 2*span/mostMarks
	}
	t.marks = append(t.marks, m)
}

// take removes the marks of messages before next, and returns how long the messages from first
// on have waited. With same the message that is taken next is still there: others were taken
// around it, and how long these have waited is unknown.
func (t *tracker) take(at time.Time, first, next int64, same bool) (all []waits) {
	if same {
		t.arrived -= max(0, next-first)
		for i := range t.marks {
			t.marks[i].number = min(t.marks[i].number, t.arrived)
		}
		return nil
	}
	i := 0
	for ; i < len(t.marks) && first < next; i++ {
		m := t.marks[i]
		if n := min(m.number, next-1) - first + 1; n > 0 {
			all = append(all, waits{messages: n, wait: max(0, at.Sub(m.at)), atLeast: m.atLeast})
			first += n
		}
		if m.number >= next {
			break
		}
		t.taken = m
	}
	t.marks = append(t.marks[:0], t.marks[i:]...)
	return all
}

// setHead sets the age of the message that is taken next.
func (t *tracker) setHead(s broker.ListState, same bool) {
	switch {
	case s.Messages == 0:
		t.head, t.marks, t.apart = mark{}, nil, 0
	case same:
	case len(t.marks) > 0:
		t.head = t.marks[0]
		// More messages wait than numbers do: some that were taken earlier are back in front.
		if t.arrived-int64(s.Messages) < t.taken.number && !t.taken.at.IsZero() {
			t.head = mark{at: t.taken.at, atLeast: true}
		}
	}
}

// age returns the age of the oldest message at a time.
func (t *tracker) age(at time.Time) Age {
	if t.length <= 0 || t.head.at.IsZero() {
		return Age{}
	}
	return Age{Known: true, Seconds: max(0, at.Sub(t.head.at)).Seconds(), AtLeast: t.head.atLeast}
}
