package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestStatesInOrder(t *testing.T) {
	b := start(t, worker.Config{TrackStarted: true, Name: "w@h", Tasks: map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { return 1, nil })}}})
	id := b.send(t, "t")
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	var states []string
	for _, r := range b.History() {
		states = append(states, r.Status)
	}
	if !slices.Equal(states, []string{"STARTED", "SUCCESS"}) {
		t.Errorf("states %v", states)
	}
}

func TestUpdateState(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"t": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			return nil, task.UpdateState(ctx, "PROGRESS", map[string]int{"done": 3})
		})},
	}})
	id := b.send(t, "t")
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	h := b.History()
	if len(h) != 2 || h[0].Status != "PROGRESS" || fmt.Sprint(h[0].Result) != "map[done:3]" {
		t.Errorf("states are %+v", h)
	}
}

func TestResultExtended(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", ResultExtended: true, Tasks: arithmetic()})
	id := b.send(t, "add", func(m *protocol.Message) {
		m.Args, m.StampedHeaders, m.Stamps = protocol.Raw("[1, 2]"), []string{"tenant"}, protocol.Raw(`{"tenant": "acme"}`)
	})
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	text, err := protocol.EncodeResult(b.Result(id))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name": "add"`, `"args": [1, 2]`, `"worker": "w@h"`, `"queue": "q"`, `"tenant": "acme"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
}

func TestIgnoredErrorsCanBeStored(t *testing.T) {
	ignored := map[string]worker.Definition{"t": {Handler: arithmetic()["fail"].Handler, IgnoreResult: true, StoreErrorsEvenIfIgnored: true}}
	o := workertest.Run(t, ignored, workertest.Call{Task: "t"})
	if o.State != "FAILURE" {
		t.Errorf("state is %q, want FAILURE", o.State)
	}
}

func TestDeduplication(t *testing.T) {
	for _, linked := range []bool{false, true} {
		b := start(t, worker.Config{DeduplicateSuccessful: true, Tasks: map[string]worker.Definition{
			"t":    one(func(context.Context) (any, error) { t.Error("ran again"); return nil, nil })["t"],
			"next": {Handler: worker.Func(func(_ context.Context, in struct{ X int }) (int, error) { return in.X + 1, nil })},
		}, Publishing: worker.Publishing{DefaultQueue: "q"}})
		link, err := canvas.New("next").Set(canvas.Options{TaskID: "linked"}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		stored := &protocol.Result{TaskID: "done", Status: "SUCCESS", Result: protocol.Raw("41")}
		if linked {
			// The linked task was published before.
			stored.Children = protocol.Raw(`[[["linked", null], null]]`)
		}
		if err := b.Publish(context.Background(), broker.Changes{Results: []*protocol.Result{stored}}); err != nil {
			t.Fatal(err)
		}
		b.send(t, "t", func(m *protocol.Message) {
			m.ID, m.Redelivered, m.Callbacks = "done", true, protocol.Raw("["+string(link)+"]")
		})
		b.eventually(t, "acknowledged", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 && b.w.Status().Received > 0 })
		if linked {
			if b.Result("linked") != nil {
				t.Error("what was published before was published again")
			}
		} else {
			b.eventually(t, "the callback runs", func() bool { return b.status("linked") == "SUCCESS" })
		}
		b.stop(t)
	}
}

// TestIgnoredResults has tasks that are retried once: what counts for the first
// attempt counts for the second.
func TestIgnoredResults(t *testing.T) {
	for name, c := range map[string]struct {
		task, message, asSent bool
		want                  string // state at the end
	}{
		"nobody asks":                      {want: "SUCCESS"},
		"the task asks":                    {task: true},
		"the message asks":                 {message: true},
		"the message asks, and decides":    {message: true, asSent: true},
		"the message decides for a result": {task: true, asSent: true, want: "SUCCESS"},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			h := worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
				if t.Retries == 0 {
					return nil, &worker.RetryError{Countdown: -1}
				}
				close(ended)
				return 1, nil
			})
			b := start(t, worker.Config{IgnoreResultAsSent: c.asSent, Tasks: map[string]worker.Definition{"t": {Handler: h, IgnoreResult: c.task}}})
			id := b.send(t, "t", func(m *protocol.Message) { m.IgnoreResult = &c.message })
			<-ended
			b.eventually(t, "the message is acknowledged", func() bool { return b.Unacked() == 0 })
			if got := b.status(id); got != c.want {
				t.Errorf("state is %q, want %q", got, c.want)
			}
		})
	}
}
