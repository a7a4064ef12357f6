package workertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// DeadLetters are the dead letters of a Broker under test.
type DeadLetters interface {
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)
	Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error
	Get(ctx context.Context, id string) (broker.DeadLetter, error)
	Counts(ctx context.Context) (broker.LetterCounts, error)
	RetryMany(ctx context.Context, ids []string, by, note string) []error
	Replace(ctx context.Context, id string, raw []byte, by, note string) (taskID string, err error)
	Resolve(ctx context.Context, id, by, note string) error
	Reopen(ctx context.Context, id, by, note string) error
	Delete(ctx context.Context, id string) error
}

// TestLetters runs the suite that the dead letters of every Broker must pass. f is the Fixture of
// an empty Broker that consumes nothing yet, and letters are its dead letters.
func TestLetters(t *testing.T, f Fixture, letters DeadLetters) {
	if err := f.Broker.Consume(broker.Session{Node: "w@test", Queues: []string{"a"}}); err != nil {
		t.Fatalf("Consume: %v", err)
	}
	tasks := setAside(t, f, 5)
	d := lettersTest{t, f, letters, map[string]string{}}
	var order []string
	d.each(func(l broker.DeadLetter) {
		if l.State != broker.LetterOpen || l.Reason != "why" || l.Queue != "a" || l.TaskName != "t" || l.Size != len(l.Raw) || l.Size == 0 || time.Since(l.At) > time.Minute {
			t.Errorf("a letter is %+v", l)
		}
		d.ids[l.TaskID], order = l.ID, append(order, l.TaskID)
	})
	slices.Reverse(order)
	if !slices.Equal(order, tasks) {
		t.Errorf("the oldest first are %v, want %v", order, tasks)
	}
	d.retry(tasks[0])
	d.replace(tasks[1])
	d.resolve(tasks[2])
	d.expire(tasks[4])

	if err := letters.Delete(t.Context(), d.ids[tasks[3]]); err != nil {
		t.Errorf("Delete: %v", err)
	}
	for _, err := range []error{letters.Delete(t.Context(), d.ids[tasks[3]]), letters.Resolve(t.Context(), "none", "", ""), letters.RetryMany(t.Context(), []string{"none"}, "", "")[0]} {
		if !errors.Is(err, broker.ErrNoDeadLetter) {
			t.Errorf("a letter that is not there: %v", err)
		}
	}
	list, total, err := letters.List(t.Context(), 0, 10)
	if err != nil || total != 2 || len(list) != 2 {
		t.Errorf("List: %d of %d, %v, want the 2 open ones", len(list), total, err)
	}
	if c, err := letters.Counts(t.Context()); err != nil || c != (broker.LetterCounts{Open: 2, Closed: 2}) {
		t.Errorf("Counts: %+v, %v", c, err)
	}
}

// setAside makes dead letters, and returns the ids of their tasks. The last one expires.
func setAside(t *testing.T, f Fixture, n int) (tasks []string) {
	t.Helper()
	for i := range n {
		id, raw := message(t, func(m *protocol.Message) {
			if i == n-1 {
				m.Expires = time.Now().Add(100 * time.Millisecond)
			}
		})
		f.Push("a", 0, raw)
		d := claim(t, f, 1)[0]
		if err := settle(t, f, broker.Settlement{Delivery: d, Result: success(id), DeadLetter: "why"}); err != nil {
			t.Fatalf("Settle: %v", err)
		}
		tasks = append(tasks, id)
	}
	return tasks
}

// lettersTest holds what the tests of dead letters have in common.
type lettersTest struct {
	t       *testing.T
	f       Fixture
	letters DeadLetters
	ids     map[string]string // of letters by their tasks
}

func (d lettersTest) each(fn func(broker.DeadLetter)) {
	d.t.Helper()
	if err := d.letters.Each(d.t.Context(), func(l broker.DeadLetter) error { fn(l); return nil }); err != nil {
		d.t.Fatalf("Each: %v", err)
	}
}

// is checks the state of a letter.
func (d lettersTest) is(task string, state broker.LetterState, note string) broker.DeadLetter {
	d.t.Helper()
	l, err := d.letters.Get(d.t.Context(), d.ids[task])
	if err != nil || l.State != state || l.By != "ann" || l.Note != note || time.Since(l.StateAt) > time.Minute || l.TaskID != task {
		d.t.Errorf("the letter is %+v, %v; want it %s", l, err, state)
	}
	return l
}

// refuses checks that all changes of a closed letter are refused with its state.
func (d lettersTest) refuses(task string, state broker.LetterState) {
	d.t.Helper()
	_, raw := message(d.t)
	_, replaced := d.letters.Replace(d.t.Context(), d.ids[task], raw, "bob", "")
	for _, err := range []error{d.letters.RetryMany(d.t.Context(), []string{d.ids[task]}, "bob", "")[0], replaced, d.letters.Resolve(d.t.Context(), d.ids[task], "bob", "")} {
		var wrong *broker.LetterStateError
		if !errors.As(err, &wrong) || wrong.State != state || wrong.By != "ann" || wrong.At.IsZero() || !errors.Is(err, broker.ErrNoDeadLetter) {
			d.t.Errorf("a letter that is %s: %v", state, err)
		}
	}
}

// published returns the last message of the queue.
func (d lettersTest) published() *protocol.Message {
	d.t.Helper()
	queued := d.f.Queued("a")
	if len(queued) == 0 {
		d.t.Fatal("nothing was published")
	}
	m, err := protocol.Decode(queued[len(queued)-1], protocol.Limits{})
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

func (d lettersTest) retry(task string) {
	d.t.Helper()
	if err := d.letters.RetryMany(d.t.Context(), []string{d.ids[task]}, "ann", "mended")[0]; err != nil {
		d.t.Fatalf("RetryMany: %v", err)
	}
	l := d.is(task, broker.LetterRetried, "mended")
	if m := d.published(); m.ID != task || m.Retries != 0 || m.Header(broker.SetAsideHeader) == nil || string(m.Args) != "[1.0, 100000000000000000000]" {
		d.t.Errorf("published %+v", m)
	}
	if !l.Wiped || d.f.Stored(task) != "" {
		d.t.Errorf("the arguments are still there, or the result %q", d.f.Stored(task))
	}
	d.refuses(task, broker.LetterRetried)
}

func (d lettersTest) replace(task string) {
	d.t.Helper()
	_, raw := message(d.t, func(m *protocol.Message) { m.ID, m.Args = task, protocol.Raw(`["edited"]`) })
	if _, err := d.letters.Replace(d.t.Context(), d.ids[task], []byte("no message"), "ann", ""); err == nil {
		d.t.Error("Replace by bytes that are no message: want an error")
	}
	id, err := d.letters.Replace(d.t.Context(), d.ids[task], raw, "ann", "typo")
	if err != nil {
		d.t.Fatalf("Replace: %v", err)
	}
	if l := d.is(task, broker.LetterReplaced, "typo"); l.ReplacedBy != id || id == task {
		d.t.Errorf("replaced by %q, want the new id %s", l.ReplacedBy, id)
	}
	if m := d.published(); m.ID != id || string(m.Args) != `["edited"]` || string(m.Header(broker.ReplacesHeader)) != `"`+d.ids[task]+`"` {
		d.t.Errorf("published %+v", m)
	}
	if len(d.f.Queued("a")) != 2 || d.f.Stored(task) != protocol.StateSuccess {
		d.t.Errorf("%d messages, and the result of the original is %q", len(d.f.Queued("a")), d.f.Stored(task))
	}
	d.refuses(task, broker.LetterReplaced)
}

func (d lettersTest) resolve(task string) {
	d.t.Helper()
	var wrong *broker.LetterStateError
	if err := d.letters.Reopen(d.t.Context(), d.ids[task], "ann", ""); !errors.As(err, &wrong) || wrong.State != broker.LetterOpen {
		d.t.Errorf("Reopen an open letter: %v", err)
	}
	if err := d.letters.Resolve(d.t.Context(), d.ids[task], "ann", "told her"); err != nil {
		d.t.Fatalf("Resolve: %v", err)
	}
	if l := d.is(task, broker.LetterDealtWith, "told her"); l.Wiped || len(l.Raw) == 0 {
		d.t.Error("the arguments are gone")
	}
	d.refuses(task, broker.LetterDealtWith)
	if err := d.letters.Reopen(d.t.Context(), d.ids[task], "ann", "again"); err != nil {
		d.t.Fatalf("Reopen: %v", err)
	}
	d.is(task, broker.LetterOpen, "again")
}

func (d lettersTest) expire(task string) {
	d.t.Helper()
	deadline := time.Now().Add(suitePatience)
	for {
		l, err := d.letters.Get(d.t.Context(), d.ids[task])
		if err == nil && l.Wiped {
			if m, err := protocol.Decode(l.Raw, protocol.Limits{}); err != nil || string(m.Args) != "[0, 0]" || l.ExpiresAt.IsZero() {
				d.t.Errorf("the shape is %+v, %v", m, err)
			}
			break
		}
		if err != nil || time.Now().After(deadline) {
			d.t.Fatalf("the letter does not expire: %+v, %v", l, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	var expired *broker.ExpiredError
	if err := d.letters.RetryMany(d.t.Context(), []string{d.ids[task]}, "", "")[0]; !errors.As(err, &expired) || expired.At.IsZero() {
		d.t.Errorf("RetryMany of an expired letter: %v", err)
	}
}
