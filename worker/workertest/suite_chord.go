package workertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// header is a chord whose members are simulated by a test.
type header struct {
	t       testing.TB
	f       Fixture
	group   string
	members []*protocol.Message
}

// newHeader publishes n members of a chord and stores its size.
func newHeader(t testing.TB, f Fixture, n int) *header {
	t.Helper()
	h := &header{t: t, f: f, group: uuid.NewString()}
	for i := range n {
		_, raw := message(t, func(m *protocol.Message) {
			m.Group, m.GroupIndex = h.group, &i
			m.Chord = protocol.Raw(`{"task": "body", "args": [], "kwargs": {}, "options": {"task_id": "b"}, "subtask_type": null, "immutable": false}`)
		})
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		h.members = append(h.members, m)
		f.Push("a", 0, raw)
	}
	h.publish(broker.Changes{Sizes: []canvas.GroupSize{{GroupID: h.group, Size: n}}})
	return h
}

func (h *header) publish(c broker.Changes) {
	h.t.Helper()
	if err := h.f.can.Backend.Publish(context.Background(), c); err != nil {
		h.t.Fatalf("Publish: %v", err)
	}
}

// part returns the entry of member i with a result.
func (h *header) part(i int, state, result string) canvas.ChordPart {
	h.t.Helper()
	e, ok := canvas.Member(h.members[i], state, protocol.Raw(result))
	if !ok {
		h.t.Fatal("message is no member of a chord")
	}
	return canvas.ChordPart{Message: h.members[i], Entry: e}
}

// end settles the delivery of member i as a success.
func (h *header) end(d broker.Delivery, i int, result string) broker.Settled {
	h.t.Helper()
	s, err := h.f.Broker.Settle(context.Background(), broker.Settlement{
		Delivery: d, Result: success(h.members[i].ID), Changes: broker.Changes{Members: []canvas.ChordPart{h.part(i, "SUCCESS", result)}},
	})
	if err != nil {
		h.t.Fatalf("Settle: %v", err)
	}
	return s
}

// body settles a delivery with the body of the chord.
func (h *header) body(d broker.Delivery, failed bool) (broker.Settled, error) {
	h.t.Helper()
	_, raw := message(h.t)
	return h.f.Broker.Settle(context.Background(), broker.Settlement{
		Delivery: d, Step: 1,
		Bodies: []broker.ChordBody{{GroupID: h.group, Failed: failed, Changes: broker.Changes{
			Publish: []broker.Publication{{Queue: "bodies", Raw: raw}},
		}}},
	})
}

func (h *header) bodies(want int) {
	h.t.Helper()
	if n := len(h.f.Queued("bodies")); n != want {
		h.t.Errorf("%d bodies published, want %d", n, want)
	}
}

func valuesOf(c broker.CompleteChord) (values []string) {
	for _, m := range c.Joined.Members {
		parts, err := m.Elements()
		if err != nil || len(parts) != 4 {
			return []string{"unreadable: " + string(m)}
		}
		values = append(values, string(parts[3]))
	}
	return values
}

func testChord(t *testing.T, f Fixture) {
	h := newHeader(t, f, 3)
	ds := claim(t, f, 3)
	for _, i := range []int{2, 0} {
		if s := h.end(ds[i], i, fmt.Sprint(i)); !s.Done() {
			t.Errorf("chord is complete after member %d: %+v", i, s)
		}
	}
	s := h.end(ds[1], 1, "1.0")
	if len(s.Complete) != 1 || s.Complete[0].Part.Message != h.members[1] {
		t.Fatalf("last member: %+v, want a complete chord", s)
	}
	if got := valuesOf(s.Complete[0]); !slices.Equal(got, []string{"0", "1.0", "2"}) {
		t.Errorf("joined %v, want the results in the order of the header", got)
	}
	if held, err := f.Broker.Held(context.Background(), ds[1].Claim); !held || err != nil {
		t.Errorf("the last member is not held until the body is published: %v, %v", held, err)
	}
	if s, err := h.body(ds[1], false); err != nil || !s.Done() {
		t.Errorf("body: %+v, %v", s, err)
	}
	h.bodies(1)
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d unacknowledged, want 0", n)
	}
}

// redeliver returns a message to its queue as after a crash.
func (h *header) redeliver(d broker.Delivery) broker.Delivery {
	h.t.Helper()
	if err := h.f.Broker.Return(context.Background(), []broker.Delivery{d}); err != nil {
		h.t.Fatalf("Return: %v", err)
	}
	ds := claim(h.t, h.f, 1)
	if len(ds) != 1 {
		h.t.Fatalf("claimed %d messages, want the one that came back", len(ds))
	}
	return ds[0]
}

func testChordMemberTwice(t *testing.T, f Fixture) {
	h := newHeader(t, f, 2)
	ds := claim(t, f, 2)
	h.end(ds[0], 0, "1")
	// The same member again, with another result, as a second run of it.
	f.Push("a", 0, ds[0].Raw)
	if s := h.end(claim(t, f, 1)[0], 0, "2"); !s.Done() {
		t.Errorf("one member counted twice completes the chord: %+v", s)
	}
	s := h.end(ds[1], 1, "3")
	if len(s.Complete) != 1 {
		t.Fatalf("last member: %+v, want a complete chord", s)
	}
	if got := valuesOf(s.Complete[0]); !slices.Equal(got, []string{"1", "3"}) {
		t.Errorf("joined %v, want the first result of each member", got)
	}
}

func testChordCrash(t *testing.T, f Fixture) {
	h := newHeader(t, f, 1)
	d := claim(t, f, 1)[0]
	if s := h.end(d, 0, "1"); len(s.Complete) != 1 {
		t.Fatalf("Settle: %+v, want a complete chord", s)
	}
	again := h.redeliver(d) // before the body was published
	entry := h.part(0, "", "null").Entry
	s, err := f.Broker.Start(context.Background(), again, broker.Start{Member: &entry})
	if err != nil || !s.Counted {
		t.Errorf("Start = %+v, %v: a member that was counted must not run again", s, err)
	}
	if s, err := h.body(d, false); !errors.Is(err, broker.ErrLost) {
		t.Errorf("body of the lost claim: %+v, %v, want ErrLost", s, err)
	}
	h.bodies(0)
	if s := h.end(again, 0, "2"); len(s.Complete) != 1 {
		t.Fatalf("Settle after the crash: %+v, want a complete chord", s)
	}
	if s, err := h.body(again, false); err != nil || !s.Done() {
		t.Errorf("body: %+v, %v", s, err)
	}
	h.bodies(1)
	// One more copy, much too late.
	f.Push("a", 0, d.Raw)
	if s := h.end(claim(t, f, 1)[0], 0, "3"); !s.Done() {
		t.Errorf("a late copy of a member completes the chord again: %+v", s)
	}
	h.bodies(1)
}

// testChordAgain applies a frozen chord twice: the second run has the same ids, and its
// size comes after its first members.
func testChordAgain(t *testing.T, f Fixture) {
	h := newHeader(t, f, 3)
	run := func(ds []broker.Delivery) {
		t.Helper()
		for i, d := range ds[:2] {
			h.end(d, i, fmt.Sprint(i))
		}
		h.publish(broker.Changes{Sizes: []canvas.GroupSize{{GroupID: h.group, Size: 3}}})
		if s := h.end(ds[2], 2, "2"); len(s.Complete) != 1 || len(valuesOf(s.Complete[0])) != 3 {
			t.Fatalf("last member: %+v, want a complete chord of three", s)
		}
		if s, err := h.body(ds[2], false); err != nil || !s.Done() {
			t.Errorf("body: %+v, %v", s, err)
		}
	}
	first := claim(t, f, 3)
	run(first)
	h.bodies(1)
	for _, d := range first {
		f.Push("a", 0, d.Raw)
	}
	second := claim(t, f, 3)
	second[1] = h.redeliver(second[1])
	run(second)
	h.bodies(2)
	// A copy that comes after both is late.
	f.Push("a", 0, first[0].Raw)
	if s := h.end(h.redeliver(claim(t, f, 1)[0]), 0, "3"); !s.Done() {
		t.Errorf("a late copy of a member completes the chord again: %+v", s)
	}
	h.bodies(2)
}

func testChordBodyFails(t *testing.T, f Fixture) {
	h := newHeader(t, f, 1)
	d := claim(t, f, 1)[0]
	h.end(d, 0, "1")
	if s, err := h.body(d, true); err != nil || !s.Done() {
		t.Errorf("failed body: %+v, %v", s, err)
	}
	f.Push("a", 0, d.Raw)
	if s := h.end(claim(t, f, 1)[0], 0, "2"); !s.Done() {
		t.Errorf("a late copy of a member fails the chord again: %+v", s)
	}
	h.bodies(1)
}

func testChordSaved(t *testing.T, f Fixture) {
	h := newHeader(t, f, 1)
	id := h.members[0].ID
	saved := protocol.Raw(fmt.Sprintf(`{"result": [[%q, null], [[[%q, null], null]]]}`, h.group, id))
	h.publish(broker.Changes{Groups: []canvas.SavedGroup{{GroupID: h.group, Value: saved}}})
	if got, err := f.can.Backend.Group(context.Background(), h.group); string(got) != string(saved) || err != nil {
		t.Errorf("Group = %s, %v, want what was saved", got, err)
	}
	s := h.end(claim(t, f, 1)[0], 0, "1")
	if len(s.Complete) != 1 {
		t.Fatalf("Settle: %+v, want a complete chord", s)
	}
	j := s.Complete[0].Joined
	if string(j.Saved) != string(saved) || j.Results[id] == nil || j.Results[id].Status != "SUCCESS" {
		t.Errorf("joined %+v, want the saved structure and the result of the member", j)
	}
}

func testChordJoin(t *testing.T, f Fixture) {
	h := newHeader(t, f, 1)
	h.publish(broker.Changes{Joins: []canvas.GroupJoin{{GroupID: h.group, Members: 1}}})
	if s := h.end(claim(t, f, 1)[0], 0, "1"); !s.Done() {
		t.Errorf("chord is complete without the member that joined: %+v", s)
	}
}

func testChordUnlessFailed(t *testing.T, f Fixture) {
	h := newHeader(t, f, 2)
	ds := claim(t, f, 2)
	part := h.part(1, "FAILURE", `{"exc_type": "E", "exc_message": [], "exc_module": "m"}`)
	part.UnlessFailed = true
	s := broker.Settlement{Delivery: ds[0], Changes: broker.Changes{
		Results: []*protocol.Result{failed(h.members[1].ID)}, Members: []canvas.ChordPart{h.part(0, "SUCCESS", "1"), part},
	}}
	got, err := f.Broker.Settle(context.Background(), s)
	if err != nil || len(got.Complete) != 1 {
		t.Errorf("Settle: %+v, %v: the part counts, as its result was stored by the same changes", got, err)
	}

	h = newHeader(t, f, 2)
	if err := f.can.Backend.Publish(context.Background(), broker.Changes{Results: []*protocol.Result{failed(h.members[1].ID)}}); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	part = h.part(1, "FAILURE", `{"exc_type": "E", "exc_message": [], "exc_module": "m"}`)
	part.UnlessFailed = true
	if err := settle(t, f, broker.Settlement{Delivery: claim(t, f, 1)[0], Changes: broker.Changes{Members: []canvas.ChordPart{h.part(0, "SUCCESS", "1"), part}}}); err != nil {
		t.Errorf("Settle: %v", err)
	}
}

func testStepTwice(t *testing.T, f Fixture) {
	h := newHeader(t, f, 1)
	d := claim(t, f, 1)[0]
	next, raw := message(t)
	s := broker.Settlement{Delivery: d, Result: success(h.members[0].ID), Changes: broker.Changes{
		Members: []canvas.ChordPart{h.part(0, "SUCCESS", "1")}, Publish: []broker.Publication{{Queue: "b", Raw: raw}},
	}}
	for range 2 { // the answer to the first got lost
		if got, err := f.Broker.Settle(context.Background(), s); err != nil || len(got.Complete) != 1 {
			t.Fatalf("Settle: %+v, %v, want a complete chord", got, err)
		}
	}
	if got := ids(t, f.Queued("b")); !slices.Equal(got, []string{next}) {
		t.Errorf("published %v, want %s once", got, next)
	}
}
