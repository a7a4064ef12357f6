package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

func TestRevoke(t *testing.T) {
	release := make(chan struct{})
	var ran atomic.Int32
	b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"t":    one(func(context.Context) (any, error) { ran.Add(1); return nil, nil })["t"],
		"wait": {Handler: do(func(context.Context) (any, error) { <-release; return nil, nil })},
	}})
	b.send(t, "wait")
	b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
	byID := b.send(t, "t")
	stamp := func(value string) func(*protocol.Message) {
		return func(m *protocol.Message) {
			m.StampedHeaders, m.Stamps = []string{"tenant"}, protocol.Raw(`{"tenant": `+value+`}`)
		}
	}
	byStamp, byList, other := b.send(t, "t", stamp(`"acme"`)), b.send(t, "t", stamp(`["x", "acme"]`)), b.send(t, "t", stamp(`"other"`))
	ctx := context.Background()
	if err := b.client(t).Revoke(ctx, "unheard of"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.w.Revoke(ctx, worker.Revocation{IDs: []string{byID}, Stamps: map[string][]protocol.Raw{"tenant": {protocol.Raw(`"acme"`)}}}, false); err != nil {
		t.Fatal(err)
	}
	close(release)
	b.eventually(t, "all have ended", func() bool { return b.status(other) == "SUCCESS" && b.Unacked() == 0 })
	for _, id := range []string{byID, byStamp, byList, "unheard of"} {
		if got := b.Result(id); got == nil || got.Status != "REVOKED" {
			t.Errorf("%s is %+v, want REVOKED", id, got)
		}
	}
	if ran.Load() != 1 {
		t.Errorf("%d ran, want the other one", ran.Load())
	}
	b.stop(t)

	// A worker that starts knows what was revoked before.
	w, err := worker.New(worker.Config{Logger: silent(), Broker: b.Broker, Queues: []string{"q"}, Tasks: one(func(context.Context) (any, error) { t.Error("a revoked task ran"); return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
	b.send(t, "t", func(m *protocol.Message) { m.ID = "unheard of" })
	again, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(again) }()
	b.eventually(t, "sorted out", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTerminate(t *testing.T) {
	causes := make(chan error, 1)
	began, deaf := make(chan struct{}), make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, Tasks: one(func(ctx context.Context) (any, error) {
		close(began)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-deaf // goes on, and its slot is free all the same
		return "too late", nil
	})})
	id := b.send(t, "t")
	<-began // what has a slot may still be withdrawn, and not run at all
	ids, err := b.w.Revoke(context.Background(), worker.Revocation{IDs: []string{id}}, true)
	if err != nil || !slices.Equal(ids, []string{id}) {
		t.Errorf("terminated %v, %v, want %s", ids, err, id)
	}
	if cause := <-causes; !errors.Is(cause, worker.ErrRevoked) {
		t.Errorf("cause is %v, want ErrRevoked", cause)
	}
	// The revocation itself stores a REVOKED, of another text.
	b.eventually(t, "its end is stored", func() bool { return b.Unacked() == 0 && b.w.Status().Running == 0 })
	if b.status(id) != "REVOKED" || b.w.Status().Aborted != 1 {
		t.Errorf("state %s, %d aborted, want REVOKED and 1", b.status(id), b.w.Status().Aborted)
	}
	if args := b.Result(id).Exception.Args; !slices.Equal(args, []any{"terminated"}) {
		t.Errorf("exception has %v", args)
	}
	close(deaf)
	b.eventually(t, "returned", func() bool { return b.w.Status().Aborted == 0 })
	if b.status(id) != "REVOKED" {
		t.Errorf("state became %s", b.status(id))
	}
}
