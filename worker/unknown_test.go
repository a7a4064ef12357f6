package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestUnknownTaskPolicies(t *testing.T) {
	tasks := map[string]worker.Definition{"known": {Handler: do(func(context.Context) (any, error) { return 1, nil })}}
	t.Run("dead letter", func(t *testing.T) {
		b := start(t, worker.Config{Tasks: tasks})
		id := b.send(t, "other")
		b.eventually(t, "set aside", func() bool { return len(b.DeadLetters()) == 1 && b.status(id) == "FAILURE" })
		if e := b.Result(id).Exception; e.Type != "NotRegistered" || e.Module != "celery.exceptions" {
			t.Errorf("exception %+v, want NotRegistered", e)
		}
	})
	t.Run("reject", func(t *testing.T) {
		b := start(t, worker.Config{Tasks: tasks, UnknownTasks: worker.RejectUnknown})
		id := b.send(t, "other")
		b.eventually(t, "failed", func() bool { return b.status(id) == "FAILURE" && b.Unacked() == 0 })
		if len(b.DeadLetters()) != 0 || len(b.Queued("q")) != 0 {
			t.Error("the message is still somewhere")
		}
	})
	t.Run("requeue", func(t *testing.T) {
		b := start(t, worker.Config{Tasks: tasks, UnknownTasks: worker.RequeueUnknown})
		other := b.send(t, "other")
		var known []string
		for range 20 {
			known = append(known, b.send(t, "known"))
		}
		b.eventually(t, "the known ones are done", func() bool {
			return !slices.ContainsFunc(known, func(id string) bool { return b.status(id) != "SUCCESS" })
		})
		b.eventually(t, "received again and again", func() bool { return b.w.Status().Received > int64(len(known))+3 })
		b.stop(t)
		if q := b.Queued("q"); len(q) != 1 || !strings.Contains(string(q[0]), other) || b.status(other) != "" {
			t.Errorf("queue holds %d messages, want the unknown one, untouched", len(q))
		}
	})
}

// A queue of tasks that only others know is gone through, not stopped at: our own
// tasks behind them run at once.
func TestForeignTasksDoNotHideOurs(t *testing.T) {
	b := workertest.NewBroker()
	bench := &bench{Broker: b}
	const foreign = 2000
	for i := range foreign {
		bench.send(t, "foreign", func(m *protocol.Message) { m.ID = fmt.Sprint("f", i) })
	}
	id := bench.send(t, "t")
	w, err := worker.New(worker.Config{Logger: silent(), Broker: b, Queues: []string{"q"}, UnknownTasks: worker.RequeueUnknown, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	bench.eventually(t, "our task is done", func() bool { return bench.status(id) == "SUCCESS" })
	seen := w.Status().Received
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if seen > 3*foreign {
		t.Errorf("%d messages were looked at for one turn of %d", seen, foreign)
	}
	if n := len(b.Queued("q")); n != foreign {
		t.Errorf("%d messages are left for others, want %d", n, foreign)
	}
}
