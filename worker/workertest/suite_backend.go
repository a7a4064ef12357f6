package workertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

func testStored(t *testing.T, f Fixture) {
	ctx := context.Background()
	id, raw := message(t)
	marked, err := protocol.MarkRedelivered(raw)
	if err != nil {
		t.Fatalf("MarkRedelivered: %v", err)
	}
	if err := f.can.Backend.Publish(ctx, broker.Changes{Results: []*protocol.Result{success(id)}}); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	started := &protocol.Result{Status: protocol.StateStarted, TaskID: id}
	for _, tc := range []struct {
		raw  []byte
		ask  bool
		want bool
	}{{raw, true, false}, {marked, false, false}, {marked, true, true}} {
		f.Push("a", 0, tc.raw)
		d := claim(t, f, 1)[0]
		s, err := f.Broker.Start(ctx, d, broker.Start{Result: started, Stored: tc.ask})
		if err != nil || (s.Success != nil) != tc.want {
			t.Errorf("Start = %+v, %v, want an earlier SUCCESS: %v", s, err, tc.want)
		}
		if err := settle(t, f, broker.Settlement{Delivery: d}); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
}

// A SUCCESS with the fingerprint of another task is not one of this task.
func testStoredOfAnother(t *testing.T, f Fixture) {
	ctx := context.Background()
	id, raw := message(t)
	marked, err := protocol.MarkRedelivered(raw)
	if err != nil {
		t.Fatalf("MarkRedelivered: %v", err)
	}
	stored := success(id)
	stored.Fingerprint = "aa"
	if err := f.can.Backend.Publish(ctx, broker.Changes{Results: []*protocol.Result{stored}}); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	for fingerprint, want := range map[string]bool{"aa": true, "bb": false, "": true} {
		f.Push("a", 0, marked)
		d := claim(t, f, 1)[0]
		s, err := f.Broker.Start(ctx, d, broker.Start{ID: id, Stored: true, Fingerprint: fingerprint})
		if err != nil || (s.Success != nil) != want {
			t.Errorf("Start with %q = %+v, %v, want an earlier SUCCESS: %v", fingerprint, s, err, want)
		}
		if err := settle(t, f, broker.Settlement{Delivery: d}); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
}

func testPublishClaim(t *testing.T, f Fixture) {
	ctx := context.Background()
	id, raw := message(t)
	f.Push("a", 0, raw)
	d := claim(t, f, 1)[0]
	progress := broker.Changes{Claim: d.Claim, Results: []*protocol.Result{{Status: "PROGRESS", TaskID: id, Result: 1}}}
	if err := f.can.Backend.Publish(ctx, progress); err != nil {
		t.Errorf("Publish: %v", err)
	}
	if got := f.Stored(id); got != "PROGRESS" {
		t.Errorf("stored %q, want PROGRESS", got)
	}
	if held, err := f.Broker.Held(ctx, d.Claim); !held || err != nil {
		t.Errorf("Held = %v, %v: publishing must not end a delivery", held, err)
	}
	if err := settle(t, f, broker.Settlement{Delivery: d, Result: failed(id)}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if err := f.can.Backend.Publish(ctx, progress); !errors.Is(err, broker.ErrLost) {
		t.Errorf("Publish with a claim that ended: %v, want ErrLost", err)
	}
	if got := f.Stored(id); got != protocol.StateFailure {
		t.Errorf("stored %q, want FAILURE", got)
	}
}

func testAwait(t *testing.T, f Fixture) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	const waiters = 20
	id := uuid.NewString()
	type answer struct {
		r   *protocol.Result
		err error
	}
	answers := make(chan answer, waiters)
	for range waiters {
		go func() {
			r, err := f.can.Backend.Await(ctx, id)
			answers <- answer{r, err}
		}()
	}
	store := func(r *protocol.Result) {
		t.Helper()
		if err := f.can.Backend.Publish(ctx, broker.Changes{Results: []*protocol.Result{r}}); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
	store(&protocol.Result{Status: protocol.StateStarted, TaskID: id})
	store(success(id))
	for range waiters {
		if a := <-answers; a.err != nil || a.r.Status != protocol.StateSuccess {
			t.Errorf("Await = %+v, %v, want SUCCESS", a.r, a.err)
		}
	}
	if r, err := f.can.Backend.Await(ctx, id); err != nil || r.Status != protocol.StateSuccess {
		t.Errorf("Await of what is stored already = %+v, %v", r, err)
	}
	short, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	if _, err := f.can.Backend.Await(short, uuid.NewString()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await of nothing: %v, want the deadline", err)
	}
}

func testForget(t *testing.T, f Fixture) {
	ctx := context.Background()
	id, other := uuid.NewString(), uuid.NewString()
	err := f.can.Backend.Publish(ctx, broker.Changes{
		Results: []*protocol.Result{success(id), success(other)},
		Groups:  []canvas.SavedGroup{{GroupID: id, Value: protocol.Raw(`{"result": [["g", null], []]}`)}},
	})
	if err == nil {
		err = f.can.Backend.Forget(ctx, []string{id})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.can.Backend.Results(ctx, []string{id, other, "nothing"})
	if err != nil || len(got) != 3 || got[0] != nil || got[1] == nil || got[2] != nil {
		t.Errorf("Results = %v, %v, want the second alone", got, err)
	}
	if g, err := f.can.Backend.Group(ctx, id); g != nil || err != nil {
		t.Errorf("Group = %s, %v, want nothing", g, err)
	}
}

func testRevoked(t *testing.T, f Fixture) {
	ctx := context.Background()
	first := uuid.NewString()
	stamps := map[string][]protocol.Raw{"tenant": {protocol.Raw(`"acme"`), protocol.Raw("7")}}
	if err := f.can.Revoker.Revoke(ctx, broker.Revocation{IDs: []string{first}, Stamps: stamps}); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	r, next, err := f.can.Revoker.Revoked(ctx, "")
	if err != nil || !slices.Equal(r.IDs, []string{first}) {
		t.Fatalf("Revoked = %+v, %v", r, err)
	}
	var values []string
	for _, v := range r.Stamps["tenant"] {
		values = append(values, string(v))
	}
	slices.Sort(values)
	if !slices.Equal(values, []string{`"acme"`, "7"}) {
		t.Errorf("stamps are %v", values)
	}
	second := uuid.NewString()
	if err := f.can.Revoker.Revoke(ctx, broker.Revocation{IDs: []string{second}}); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	if r, _, err = f.can.Revoker.Revoked(ctx, next); err != nil || !slices.Contains(r.IDs, second) {
		t.Errorf("Revoked since then = %+v, %v, want %s", r, err, second)
	}
	if got := f.Stored(first); got != protocol.StateRevoked {
		t.Errorf("stored %q for a revoked task, want REVOKED", got)
	}
}

func testRevokeStates(t *testing.T, f Fixture) {
	ctx := context.Background()
	var results []*protocol.Result
	var ids []string
	for state, want := range map[string]string{
		"STARTED": "STARTED", "PROGRESS": "PROGRESS", "SUCCESS": "SUCCESS", "FAILURE": "FAILURE", "RETRY": "REVOKED",
	} {
		id := want + " " + uuid.NewString()
		ids = append(ids, id)
		r := failed(id)
		r.Status = state
		if state != "FAILURE" && state != "RETRY" {
			r.Exception, r.Result = nil, 1
		}
		results = append(results, r)
	}
	if err := f.can.Backend.Publish(ctx, broker.Changes{Results: results}); err != nil {
		t.Fatal(err)
	}
	if err := f.can.Revoker.Revoke(ctx, broker.Revocation{IDs: ids}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if got := f.Stored(id); got+" " != id[:len(got)+1] {
			t.Errorf("stored %q for %s", got, id)
		}
	}
}

func testTake(t *testing.T, f Fixture) {
	ctx := context.Background()
	const every = time.Hour
	if wait, err := f.can.Limiter.Take(ctx, "t", every); wait != 0 || err != nil {
		t.Errorf("first Take = %v, %v, want a token", wait, err)
	}
	wait, err := f.can.Limiter.Take(ctx, "t", every)
	if err != nil || wait <= every/2 || wait > every {
		t.Errorf("second Take = %v, %v, want to wait for about an hour", wait, err)
	}
	if wait, err := f.can.Limiter.Take(ctx, "other", every); wait != 0 || err != nil {
		t.Errorf("Take of another limit = %v, %v, want a token", wait, err)
	}
}
