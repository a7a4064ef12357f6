package workertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// taken pushes a message and claims it.
func taken(t testing.TB, f Fixture, change ...func(*protocol.Message)) (id string, d broker.Delivery) {
	t.Helper()
	id, raw := message(t, change...)
	f.Push("a", 0, raw)
	ds := claim(t, f, 1)
	if len(ds) != 1 {
		t.Fatalf("claimed %d messages, want 1", len(ds))
	}
	return id, ds[0]
}

// again returns a delivery to its queue and claims it, as after a loss.
func again(t testing.TB, f Fixture, d broker.Delivery) broker.Delivery {
	t.Helper()
	if err := f.Broker.Return(context.Background(), []broker.Delivery{d}); err != nil {
		t.Fatalf("Return: %v", err)
	}
	ds := claim(t, f, 1)
	if len(ds) != 1 {
		t.Fatalf("claimed %d messages after Return, want 1", len(ds))
	}
	return ds[0]
}

// wantMark sets a mark for the run of d, and compares the one of an earlier run.
func wantMark(t testing.TB, f Fixture, task string, d broker.Delivery, value, earlier string) {
	t.Helper()
	m := broker.Marking{Mark: broker.Mark{Task: task, Value: value}, Claim: d.Claim, Run: d.Claim}
	if got, err := f.can.Marker.Mark(context.Background(), m); got != earlier || err != nil {
		t.Errorf("Mark %q: earlier mark %q, %v, want %q", value, got, err, earlier)
	}
}

func testMark(t *testing.T, f Fixture) {
	task := uuid.NewString()
	_, first := taken(t, f)
	wantMark(t, f, task, first, "", "") // a look
	wantMark(t, f, task, first, "sending 1", "")
	wantMark(t, f, task, first, "sending 1", "") // as after a lost reply
	wantMark(t, f, task, first, "", "")
	wantMark(t, f, task, first, "sent\n 1", "")
	second := again(t, f, first)
	wantMark(t, f, task, second, "", "sent\n 1")
	wantMark(t, f, task, second, "", "sent\n 1")
	wantMark(t, f, task, second, "sending 2", "sent\n 1")
	wantMark(t, f, task, second, "sending 2", "sent\n 1")
	wantMark(t, f, task, second, "sent 2", "sent\n 1")
	wantMark(t, f, task, second, "", "sent\n 1")
	wantMark(t, f, uuid.NewString(), second, "another task", "")
	for _, value := range []string{"lost", ""} {
		lost := broker.Marking{Mark: broker.Mark{Task: task, Value: value}, Claim: first.Claim, Run: first.Claim}
		if earlier, err := f.can.Marker.Mark(context.Background(), lost); !errors.Is(err, broker.ErrLost) || earlier != "" {
			t.Errorf("Mark %q of a lost claim: %q, %v, want ErrLost", value, earlier, err)
		}
	}
	third := again(t, f, second)
	wantMark(t, f, task, third, "x", "sent 2")
	early := broker.Marking{Mark: broker.Mark{Task: task, Value: "early"}, Run: "a run"}
	if earlier, err := f.can.Marker.Mark(context.Background(), early); earlier != "x" || err != nil {
		t.Errorf("Mark without a claim: %q, %v, want \"x\"", earlier, err)
	}
}

func testMarkEnds(t *testing.T, f Fixture) {
	ways := map[string]func(id string, s *broker.Settlement){
		"success": func(id string, s *broker.Settlement) { s.Result, s.Succeeded = success(id), true },
		"failure": func(id string, s *broker.Settlement) { s.Result = failed(id) },
		"retry": func(_ string, s *broker.Settlement) {
			_, raw := message(t)
			s.Changes.Publish = []broker.Publication{{Queue: "b", Raw: raw}}
		},
		"dead letter": func(id string, s *broker.Settlement) { s.Result, s.DeadLetter = success(id), "why" },
		"early": func(id string, s *broker.Settlement) {
			if err := settle(t, f, broker.Settlement{Delivery: s.Delivery}); err != nil {
				t.Fatalf("Settle: %v", err)
			}
			s.Delivery.Claim, s.Result = "", success(id)
		},
	}
	for name, change := range ways {
		for _, end := range []string{"", "ended"} {
			task := uuid.NewString()
			id, d := taken(t, f)
			wantMark(t, f, task, d, "sending", "")
			s := broker.Settlement{Delivery: d, Mark: &broker.Mark{Task: task, Value: end}}
			change(id, &s)
			if err := settle(t, f, s); err != nil {
				t.Errorf("%s: Settle: %v", name, err)
			}
			_, next := taken(t, f)
			wantMark(t, f, task, next, "later", end)
			if err := settle(t, f, broker.Settlement{Delivery: next}); err != nil {
				t.Errorf("%s: Settle: %v", name, err)
			}
		}
	}
}

// A lost run that has succeeded replaces its mark. Instead of removing it, it settles it.
func testMarkOfALostRun(t *testing.T, f Fixture) {
	for _, c := range []struct {
		end       string
		succeeded bool
		want      string
	}{{"", true, broker.MarkSettled}, {"sent", true, "sent"}, {"", false, "sending"}, {"sent", false, "sending"}} {
		task := uuid.NewString()
		id, first := taken(t, f)
		wantMark(t, f, task, first, "sending", "")
		second := again(t, f, first)
		s := broker.Settlement{Delivery: first, Result: failed(id), Mark: &broker.Mark{Task: task, Value: c.end}, Succeeded: c.succeeded}
		if c.succeeded {
			s.Result = success(id)
		}
		if err := settle(t, f, s); !errors.Is(err, broker.ErrLost) {
			t.Errorf("Settle: %v, want ErrLost", err)
		}
		wantMark(t, f, task, second, "again", c.want)
		if err := settle(t, f, broker.Settlement{Delivery: second}); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
}

// A lost run may succeed between the mark of the run that has the message and its end. A mark
// that the latter brings back does not hide that from the next run.
func testSettledMarkStays(t *testing.T, f Fixture) {
	for end, want := range map[string]string{"sending": broker.MarkSettled, "": ""} {
		task := uuid.NewString()
		id, first := taken(t, f)
		wantMark(t, f, task, first, "sending", "")
		second := again(t, f, first)
		wantMark(t, f, task, second, "again", "sending")
		s := broker.Settlement{Delivery: first, Result: success(id), Mark: &broker.Mark{Task: task}, Succeeded: true}
		if err := settle(t, f, s); !errors.Is(err, broker.ErrLost) {
			t.Errorf("Settle: %v, want ErrLost", err)
		}
		if err := settle(t, f, broker.Settlement{Delivery: second, Mark: &broker.Mark{Task: task, Value: end}}); err != nil {
			t.Errorf("Settle: %v", err)
		}
		_, third := taken(t, f)
		wantMark(t, f, task, third, "later", want)
		if err := settle(t, f, broker.Settlement{Delivery: third}); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
}

// recorded returns the first values of the entries of a stream.
func recorded(t testing.TB, f Fixture, stream string) (values []string) {
	t.Helper()
	es, err := f.can.Outbox.Oldest(context.Background(), stream, 1000)
	if err != nil {
		t.Fatalf("Oldest: %v", err)
	}
	for _, e := range es {
		values = append(values, e.Fields[1])
	}
	return values
}

func single(stream, value string) []broker.Entry {
	return []broker.Entry{{Stream: stream, Fields: []string{"what", value}}}
}

// testOutbox writes entries in each way in which a delivery is settled, together where that
// is possible, and reads them.
func testOutbox(t *testing.T, f Fixture) {
	var want []string
	one := func(name string, s broker.Settlement) broker.Settlement {
		want = append(want, name)
		s.Entries = single("s", name)
		return s
	}
	var together []broker.Settlement
	for i := range 3 {
		id, d := taken(t, f)
		together = append(together, one(fmt.Sprint("together ", i), broker.Settlement{Delivery: d, Result: success(id), Succeeded: true}))
	}
	if f.can.Batcher == nil {
		for _, s := range together {
			if err := settle(t, f, s); err != nil {
				t.Errorf("Settle: %v", err)
			}
		}
	} else if err := errors.Join(f.can.Batcher.SettleAll(context.Background(), together)...); err != nil {
		t.Errorf("SettleAll: %v", err)
	}
	_, raw := message(t)
	published := broker.Changes{Publish: []broker.Publication{{Queue: "b", Raw: raw}}}
	for name, s := range map[string]broker.Settlement{
		"plain": {}, "retry": {Changes: published}, "requeue": {Requeue: broker.RequeueRedelivered}, "dead letter": {DeadLetter: "why"},
	} {
		_, d := taken(t, f)
		s.Delivery = d
		s = one(name, s)
		if err := settle(t, f, s); err != nil {
			t.Errorf("%s: Settle: %v", name, err)
		}
		if s.Requeue != broker.NoRequeue {
			d = claim(t, f, 1)[0]
			if err := settle(t, f, broker.Settlement{Delivery: d}); err != nil {
				t.Errorf("%s: Settle: %v", name, err)
			}
		}
	}
	_, d := taken(t, f)
	m := broker.Marking{Mark: broker.Mark{Task: uuid.NewString(), Value: "m"}, Claim: d.Claim, Run: d.Claim, Entries: single("s", "mark")}
	if f.can.Marker != nil {
		want = append(want, "mark")
		for range 2 { // the second time as after a lost reply
			if _, err := f.can.Marker.Mark(context.Background(), m); err != nil {
				t.Errorf("Mark: %v", err)
			}
		}
		m.Value, m.Entries = "", single("s", "look")
		if _, err := f.can.Marker.Mark(context.Background(), m); err != nil {
			t.Errorf("Mark: %v", err)
		}
	}
	if got := recorded(t, f, "s"); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if got := recorded(t, f, "another"); len(got) > 0 {
		t.Errorf("another stream has %q", got)
	}
}

func testOutboxReading(t *testing.T, f Fixture) {
	ctx := context.Background()
	if b, err := f.can.Outbox.Backlog(ctx, "s"); b != (broker.Backlog{}) || err != nil {
		t.Errorf("Backlog of no stream: %+v, %v", b, err)
	}
	began := time.Now()
	for i := range 10 {
		_, d := taken(t, f)
		if err := settle(t, f, broker.Settlement{Delivery: d, Entries: single("s", fmt.Sprint(i))}); err != nil {
			t.Fatalf("Settle: %v", err)
		}
	}
	first, err := f.can.Outbox.Oldest(ctx, "s", 4)
	if err != nil || len(first) != 4 {
		t.Fatalf("Oldest: %d entries, %v, want 4", len(first), err)
	}
	repeated, err := f.can.Outbox.Oldest(ctx, "s", 4)
	if err != nil || !slices.EqualFunc(first, repeated, func(x, y broker.Recorded) bool { return x.ID == y.ID }) {
		t.Errorf("Oldest again: %v, %v, want %v", repeated, err, first)
	}
	var ids []string
	for _, e := range first {
		ids = append(ids, e.ID)
		if e.At.Before(began.Add(-time.Minute)) || e.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("entry of %v, want about now", e.At)
		}
	}
	if b, err := f.can.Outbox.Backlog(ctx, "s"); b.Length != 10 || !b.Oldest.Equal(first[0].At) || b.Dropped != 0 || err != nil {
		t.Errorf("Backlog: %+v, %v, want 10 since %v", b, err, first[0].At)
	}
	for range 2 { // the second time as after a crash
		if err := f.can.Outbox.Remove(ctx, "s", ids); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	if got := recorded(t, f, "s"); !slices.Equal(got, []string{"4", "5", "6", "7", "8", "9"}) {
		t.Errorf("left are %q", got)
	}
	if err := f.can.Outbox.Remove(ctx, "s", nil); err != nil {
		t.Errorf("Remove nothing: %v", err)
	}
}

// A run that is lost records only with a SUCCESS, and once.
func testOutboxOfALostRun(t *testing.T, f Fixture) {
	id, first := taken(t, f)
	second := again(t, f, first)
	_, raw := message(t)
	for _, s := range []broker.Settlement{
		{Delivery: first, Result: failed(id), Entries: single("s", "failure")},
		{Delivery: first, Changes: broker.Changes{Publish: []broker.Publication{{Queue: "b", Raw: raw}}}, Entries: single("s", "retry")},
		{Delivery: first, Result: success(id), Succeeded: true, Entries: single("s", "success")},
	} {
		for range 2 {
			if err := settle(t, f, s); !errors.Is(err, broker.ErrLost) {
				t.Errorf("Settle: %v, want ErrLost", err)
			}
		}
	}
	other := broker.Settlement{Delivery: second, Result: success(id), Succeeded: true, Entries: single("s", "other")}
	if err := settle(t, f, other); err != nil {
		t.Errorf("Settle: %v", err)
	}
	if err := settle(t, f, other); !errors.Is(err, broker.ErrLost) { // as after a lost reply
		t.Errorf("Settle again: %v, want ErrLost", err)
	}
	want := []string{"success", "other"}
	if got := recorded(t, f, "s"); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

// Messages that go back append their entries, if the claim is held, and once.
func testOutboxOfAReturn(t *testing.T, f Fixture) {
	ctx := context.Background()
	var ds []broker.Delivery
	for i := range 4 {
		_, d := taken(t, f)
		if d.Entries = single("s", fmt.Sprint(i)); i == 2 {
			d.Entries = append(d.Entries, single("s", "2b")...)
		} else if i == 3 {
			d.Entries = nil
		}
		ds = append(ds, d)
	}
	if err := settle(t, f, broker.Settlement{Delivery: ds[1]}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	for range 2 { // the second time as after a lost reply
		if err := f.Broker.Return(ctx, ds); err != nil {
			t.Errorf("Return: %v", err)
		}
	}
	got := recorded(t, f, "s")
	slices.Sort(got)
	if want := []string{"0", "2", "2b"}; !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if n := len(claim(t, f, 10)); n != 3 {
		t.Errorf("%d messages went back, want 3", n)
	}
}
