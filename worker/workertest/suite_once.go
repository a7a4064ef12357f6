package workertest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
)

// The mark of a name belongs to the first task that sets it, until that ends it.
func testMarkOfAName(t *testing.T, f Fixture) {
	name := uuid.NewString()
	idOne, one := taken(t, f)
	_, two := taken(t, f)
	want := func(d broker.Delivery, run, value, other string) {
		t.Helper()
		m := broker.Marking{Mark: broker.Mark{Task: name, Value: value}, Claim: d.Claim, Run: run, Alone: true}
		if got, err := f.can.Marker.Mark(context.Background(), m); got != other || err != nil {
			t.Errorf("Mark %q by %s: mark of another run %q, %v, want %q", value, run, got, err, other)
		}
	}
	end := func(d broker.Delivery, run, value string, change func(*broker.Settlement)) error {
		s := broker.Settlement{Delivery: d, Names: []broker.NameEnd{{Mark: broker.Mark{Task: name, Value: value}, Run: run}}}
		change(&s)
		return settle(t, f, s)
	}
	want(two, "two", "", "")
	want(one, "one", "sending", "")
	want(one, "one", "sending", "") // as after a lost reply
	want(two, "two", "", "sending")
	want(two, "two", "sending by two", "sending")
	want(one, "one", "", "")
	if err := end(two, "two", "", func(*broker.Settlement) {}); err != nil { // removes no mark of another
		t.Errorf("Settle: %v", err)
	}
	_, three := taken(t, f)
	want(three, "three", "", "sending")
	later := again(t, f, one)
	// A lost run removes nothing, and leaves a value only if it has succeeded.
	for _, value := range []string{"", "failed"} {
		if err := end(one, "one", value, func(s *broker.Settlement) { s.Result = failed(idOne) }); !errors.Is(err, broker.ErrLost) {
			t.Errorf("Settle: %v, want ErrLost", err)
		}
		want(three, "three", "", "sending")
	}
	want(later, "one", "sending again", "")
	if err := end(later, "one", "", func(*broker.Settlement) {}); err != nil {
		t.Errorf("Settle: %v", err)
	}
	want(three, "three", "sending by three", "")
	if err := end(three, "three", "sent", func(s *broker.Settlement) { s.Result, s.Succeeded = success(uuid.NewString()), true }); err != nil {
		t.Errorf("Settle: %v", err)
	}
	_, four := taken(t, f)
	want(four, "three", "sending", "sent")
	want(four, "four", "", "sent")
	over := broker.Marking{Mark: broker.Mark{Task: name, Value: "over"}, Claim: four.Claim, Run: "four"}
	if got, err := f.can.Marker.Mark(context.Background(), over); got != "sent" || err != nil {
		t.Errorf("Mark over another: %q, %v", got, err)
	}
	want(four, "five", "", "over")
}

// Changes with a name happen once, whichever publisher asks for them.
func testOnce(t *testing.T, f Fixture) {
	for _, name := range []string{uuid.NewString(), uuid.NewString()} {
		for i := range 3 {
			_, raw := message(t)
			c := broker.Changes{Once: name, Publish: []broker.Publication{{Queue: "b", Raw: raw}}}
			if err := f.can.Backend.Publish(context.Background(), c); (err == nil) != (i == 0) || i > 0 && !errors.Is(err, broker.ErrRepeated) {
				t.Errorf("Publish %d times: %v", i+1, err)
			}
		}
	}
	if n := len(f.Queued("b")); n != 2 {
		t.Errorf("%d messages, want one for each name", n)
	}
}
