package workertest

import (
	"context"
	"errors"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

func testReset(t *testing.T, f Fixture) {
	id, raw := message(t)
	f.Push("a", 0, raw)
	d := claim(t, f, 1)[0]
	f.Broker.Reset()
	if err := settle(t, f, broker.Settlement{Delivery: d, Result: success(id)}); err != nil {
		t.Errorf("Settle after Reset: %v", err)
	}
	if got := f.Stored(id); got != protocol.StateSuccess {
		t.Errorf("stored %q, want SUCCESS", got)
	}
}

func testSecret(t *testing.T, f Fixture) {
	first, err := f.can.Secrets.Secret(context.Background())
	if err != nil || len(first) < 16 {
		t.Fatalf("Secret: %d bytes, %v, want 16 at least", len(first), err)
	}
	again, err := f.can.Secrets.Secret(context.Background())
	if err != nil || string(again) != string(first) {
		t.Errorf("Secret: another one, %v", err)
	}
}

func testSettleAll(t *testing.T, f Fixture) {
	ctx := context.Background()
	const n = 10
	var ids []string
	for range n {
		id, raw := message(t)
		ids = append(ids, id)
		f.Push("a", 0, raw)
	}
	ds := claim(t, f, n)
	if len(ds) != n {
		t.Fatalf("claimed %d messages, want %d", len(ds), n)
	}
	// One of them is settled twice: the second time it is lost, and the others are not.
	if err := settle(t, f, broker.Settlement{Delivery: ds[3], Result: failed(ids[3])}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	var ss []broker.Settlement
	for i, d := range ds {
		s := broker.Settlement{Delivery: d, Result: success(ids[i])}
		if i%2 == 1 {
			s.Result = failed(ids[i])
		}
		ss = append(ss, s)
	}
	for i, err := range f.can.Batcher.SettleAll(ctx, ss) {
		if lost := i == 3; lost != errors.Is(err, broker.ErrLost) || !lost && err != nil {
			t.Errorf("settlement %d: %v, want ErrLost: %v", i, err, lost)
		}
		want := protocol.StateSuccess
		if i%2 == 1 {
			want = protocol.StateFailure
		}
		if got := f.Stored(ids[i]); got != want {
			t.Errorf("settlement %d stored %q, want %q", i, got, want)
		}
	}
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d claims remain, want none", n)
	}
}

// testClaimAfter settles and claims, in any way of the Broker, until the queue is empty.
// Each message must be claimed once and in order, and never more than the claim allows.
func testClaimAfter(t *testing.T, f Fixture) {
	ctx, cancel := context.WithTimeout(context.Background(), suitePatience)
	defer cancel()
	const total, slots = 200, 4
	var want []string
	for range total {
		id, raw := message(t)
		want = append(want, id)
		f.Push("a", 0, raw)
	}
	var got []string
	running := claim(t, f, slots)
	for len(running) > 0 {
		got = append(got, delivered(t, running)...)
		type carried struct {
			ds    []broker.Delivery
			asked int
			err   error
		}
		ready, done := make(chan struct{}), make(chan carried, 1)
		go func() {
			ds, asked, err := f.can.Pipeliner.ClaimAfter(ctx, 0, len(running), func() { close(ready) })
			done <- carried{ds, asked, err}
		}()
		var c carried
		answered := false
		select {
		case <-ready:
		case c = <-done:
			answered = true
		}
		var ss []broker.Settlement
		for _, d := range running {
			env, err := protocol.ParseEnvelope(d.Raw)
			if err != nil {
				t.Fatalf("message: %v", err)
			}
			ss = append(ss, broker.Settlement{Delivery: d, Result: success(env.ID)})
		}
		if err := errors.Join(f.can.Pipeliner.SettleAll(ctx, ss)...); err != nil {
			t.Fatalf("SettleAll: %v", err)
		}
		if !answered {
			c = <-done
		}
		if c.err != nil || len(c.ds) > c.asked || c.asked > slots {
			t.Fatalf("ClaimAfter: %d messages, asked for %d, %v", len(c.ds), c.asked, c.err)
		}
		if running = c.ds; len(running) == 0 {
			running = claim(t, f, slots)
		}
	}
	if len(got) != total {
		t.Fatalf("claimed %d messages, want %d", len(got), total)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("message %d came out of order", i)
		}
	}
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d claims remain, want none", n)
	}
}
