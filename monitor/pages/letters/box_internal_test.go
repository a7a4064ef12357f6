package letters

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// slow are letters that take time to be read.
type slow struct {
	monitor.Letters
	gate  chan struct{} // a read takes one
	begun chan struct{}
	reads atomic.Int64
}

func (*slow) Counts(context.Context) (broker.LetterCounts, error) { return broker.LetterCounts{}, nil }

func (s *slow) Each(ctx context.Context, fn func(broker.DeadLetter) error, _ ...broker.LetterState) error {
	n := s.reads.Add(1)
	s.begun <- struct{}{}
	select {
	case <-s.gate:
		return fn(broker.DeadLetter{ID: fmt.Sprint("read-", n), At: time.Unix(n, 0)})
	case <-ctx.Done():
		return ctx.Err()
	}
}

// While the letters are read again all readers get the last look at once, and one read serves
// all of them. After a change readers wait for the letters as they are.
func TestGlance(t *testing.T) {
	t.Parallel()
	s := &slow{gate: make(chan struct{}, 1), begun: make(chan struct{}, 10)}
	var shift atomic.Int64
	began := time.Now() // the clock stands still between the shifts: a busy machine makes no look old
	b := newBox(s, nil, func() time.Time { return began.Add(time.Duration(shift.Load())) })
	see := func(want string) {
		t.Helper()
		l, err := b.glance(t.Context())
		if err != nil || len(l.items) != 1 || l.items[0].ID != want {
			t.Fatalf("%+v, %v; want %s", l, err, want)
		}
	}
	s.gate <- struct{}{}
	see("read-1")
	shift.Add(int64(time.Minute)) // the look is old
	for range 4 {
		see("read-1")
	}
	if n := s.reads.Load(); n != 2 {
		t.Errorf("%d reads for 5 readers, want 2", n)
	}
	s.gate <- struct{}{}
	if l, err := b.look(t.Context()); err != nil || l.items[0].ID != "read-2" {
		t.Errorf("a reader who needs them as they are: %+v, %v", l, err)
	}
	b.forget()
	s.gate <- struct{}{}
	see("read-3")
	shift.Add(int64(2 * oldest))
	s.gate <- struct{}{}
	see("read-4")

	shift.Add(int64(time.Minute))
	see("read-4") // and the fifth read goes on
	b.close()
	if _, err := b.look(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("a read after the end: %v", err)
	}
}
