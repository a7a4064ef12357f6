package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evently/workers/worker/broker"
)

// queue is a list as Redis has it, whose messages know when they came.
type queue struct {
	messages []int // the newest first
	came     map[int]time.Time
	next     int
}

func (q *queue) push(at time.Time, n int) {
	for range n {
		q.next++
		q.came[q.next] = at
		q.messages = append([]int{q.next}, q.messages...)
	}
}

func (q *queue) pop(n int) (taken []int) {
	for range min(n, len(q.messages)) {
		last := len(q.messages) - 1
		taken = append(taken, q.messages[last])
		q.messages = q.messages[:last]
	}
	return taken
}

// state answers a look, as look.lua does.
func (q *queue) state(since []byte) broker.ListState {
	if len(q.messages) == 0 {
		return broker.ListState{Arrived: broker.ArrivedAll}
	}
	s := broker.ListState{Messages: len(q.messages), Newest: fmt.Append(nil, q.messages[0]), Oldest: fmt.Sprint(q.messages[len(q.messages)-1])}
	s.Arrived = slices.IndexFunc(q.messages, func(m int) bool { return fmt.Sprint(m) == string(since) })
	switch {
	case since == nil:
		s.Arrived = broker.ArrivedUnknown
	case s.Arrived == 0:
		s.Newest = nil
	}
	return s
}

var start = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)

// Ages and waits are right to a second while messages come and go.
func TestTrackerAges(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		q := &queue{came: map[int]time.Time{}}
		var tr tracker
		var waited int64
		visible := map[int]bool{}
		tr.look(start.Add(-time.Second), q.state(nil))
		for second := range 400 {
			now := start.Add(time.Duration(second) * time.Second)
			q.push(now.Add(-time.Second/2), random.IntN(5)*random.IntN(3))
			taken := q.pop(random.IntN(8))
			m := tr.look(now, q.state(tr.since))
			for _, w := range m.waits {
				waited += w.messages
			}
			for _, id := range taken {
				if !visible[id] {
					continue
				}
				wait := now.Sub(q.came[id])
				if !slices.ContainsFunc(m.waits, func(w waits) bool { return (wait - w.wait).Abs() <= time.Second }) {
					t.Fatalf("seed %d, second %d: message %d has waited %v, told %v", seed, second, id, wait, m.waits)
				}
				waited--
			}
			for _, id := range q.messages {
				visible[id] = true
			}
			if len(q.messages) == 0 {
				if a := tr.age(now); a.Known {
					t.Fatalf("seed %d: age %v of an empty list", seed, a)
				}
				continue
			}
			want := now.Sub(q.came[q.messages[len(q.messages)-1]]).Seconds()
			if a := tr.age(now); !a.Known || a.AtLeast || a.Seconds > want || a.Seconds < want-1 {
				t.Fatalf("seed %d, second %d: age %+v, want %v", seed, second, a, want)
			}
		}
		if waited != 0 {
			t.Fatalf("seed %d: %d waits more than messages", seed, waited)
		}
	}
}

// A queue that was full at the start has ages that say "at least", until its old messages are
// gone.
func TestTrackerOfFullQueue(t *testing.T) {
	q := &queue{came: map[int]time.Time{}}
	q.push(start.Add(-time.Hour), 10)
	var tr tracker
	for second := range 10 {
		now := start.Add(time.Duration(second) * time.Second)
		m := tr.look(now, q.state(tr.since))
		if a := tr.age(now); !a.AtLeast || a.Seconds != float64(second) {
			t.Fatalf("second %d: age %+v", second, a)
		}
		if second > 0 && (len(m.waits) != 1 || !m.waits[0].atLeast || m.out != 1 || m.in != 1) {
			t.Fatalf("second %d: %+v", second, m)
		}
		q.push(now.Add(time.Second/2), 1)
		q.pop(1)
	}
	now := start.Add(10 * time.Second)
	tr.look(now, q.state(tr.since))
	if a := tr.age(now); a.AtLeast || a.Seconds != 9 {
		t.Errorf("age %+v, want 9 seconds", a)
	}
}

// The age of a message that stays at the head, as held ones do, grows while others are taken
// around it. A message that comes back to the front is older than the others.
func TestTrackerAroundHead(t *testing.T) {
	q := &queue{came: map[int]time.Time{}}
	var tr tracker
	look := func(second int) (movement, Age) {
		now := start.Add(time.Duration(second) * time.Second)
		m := tr.look(now, q.state(tr.since))
		return m, tr.age(now)
	}
	look(0)
	q.push(start.Add(time.Second/2), 1)
	look(1)
	q.push(start.Add(2*time.Second), 4)
	look(2)
	q.messages = slices.Delete(q.messages, 1, 4) // around the head
	m, age := look(5)
	if m.out != 3 || len(m.waits) != 0 || age.Seconds != 4 || age.AtLeast {
		t.Errorf("around the head: %+v, %+v", m, age)
	}
	head := q.pop(1)
	if m, age = look(6); len(m.waits) != 1 || m.waits[0].wait != 5*time.Second || age.Seconds > 5 {
		t.Errorf("head taken: %+v, %+v", m, age)
	}
	q.messages = append(q.messages, -head[0]) // marked as redelivered, so with other bytes
	if m, age = look(7); m.in != 0 || m.out != 0 || !age.AtLeast || age.Seconds < 5 {
		t.Errorf("given back: %+v, %+v", m, age)
	}
}

// A list that waits for days takes no more memory than one that waits for minutes.
func TestTrackerIsBounded(t *testing.T) {
	q := &queue{came: map[int]time.Time{}}
	var tr tracker
	tr.look(start, q.state(nil))
	for second := range 50_000 {
		s := broker.ListState{Messages: second + 1, Arrived: 1, Newest: []byte("x"), Oldest: "first"}
		tr.look(start.Add(time.Duration(second+1)*time.Second), s)
	}
	now := start.Add(50_001 * time.Second)
	if len(tr.marks) > mostMarks {
		t.Errorf("%d marks", len(tr.marks))
	}
	if a := tr.age(now); a.Seconds != 50_000 {
		t.Errorf("age %+v, want 50,000 seconds", a)
	}
	// Half of it is taken: the age is wrong by at most the distance of two marks.
	tr.look(now, broker.ListState{Messages: 25_000, Arrived: 0, Oldest: "other"})
	if a := tr.age(now); a.Seconds < 24_500 || a.Seconds > 25_010 {
		t.Errorf("age %+v, want about 25,000 seconds", a)
	}
}
