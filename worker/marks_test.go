package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// Each outcome that settles a message writes the entries of the run and ends its mark.
func TestOutcomesRecord(t *testing.T) {
	for name, outcome := range map[string]func(ctx context.Context) (any, error){
		"success":        func(context.Context) (any, error) { return 1, nil },
		"failure":        func(context.Context) (any, error) { return nil, errors.New("no") },
		"retry":          func(context.Context) (any, error) { return nil, worker.Retry(errors.New("no")) },
		"free retry":     func(context.Context) (any, error) { return nil, &worker.RetryError{Free: true} },
		"give up":        func(context.Context) (any, error) { return nil, worker.GiveUp(1, "why") },
		"reject":         func(context.Context) (any, error) { return nil, worker.Reject("why") },
		"requeue":        func(context.Context) (any, error) { return nil, worker.Requeue("why") },
		"ignore":         func(context.Context) (any, error) { return nil, worker.ErrIgnore },
		"replace":        func(context.Context) (any, error) { return nil, worker.Replace(canvas.New("other")) },
		"no JSON":        func(context.Context) (any, error) { return make(chan int), nil },
		"panic":          func(context.Context) (any, error) { panic("no") },
		"hard limit":     func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
		"early, success": func(context.Context) (any, error) { return 1, nil },
		"early, failure": func(context.Context) (any, error) { return nil, errors.New("no") },
	} {
		for _, end := range []string{"", "ended"} {
			t.Run(name+" "+end, func(t *testing.T) {
				t.Parallel()
				d := worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
					earlier, err := task.Mark(ctx, "mine", broker.Entry{Stream: "s", Fields: []string{"what", "marked", "odd"}}, broker.Entry{Stream: "s"})
					if earlier != "theirs" || err != nil {
						t.Errorf("Mark: %q, %v, want that of the earlier run", earlier, err)
					}
					task.EndMark("overwritten")
					task.EndMark(end)
					task.Record("s", "what", "one", "odd")
					task.Record("s", "what", "two")
					task.Record("s")
					task.Record("", "what", "three")
					task.Record("s", make([]string, 1001)...)
					return outcome(ctx)
				})}
				d.AcksEarly = name == "early, success" || name == "early, failure"
				if name == "hard limit" {
					d.TimeLimit = 20 * time.Millisecond
				}
				var o workertest.Outcome
				synctest.Test(t, func(t *testing.T) { // a busy machine is no time limit
					o = workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t", Mark: "theirs"})
				})
				var got []string
				for _, e := range o.Recorded["s"] {
					got = append(got, fmt.Sprint(e.Fields))
				}
				if want := []string{"[what marked odd ]", "[what one odd ]", "[what two]"}; !slices.Equal(got, want) || len(o.Recorded) != 1 {
					t.Errorf("recorded %q, want %q", o.Recorded, want)
				}
				if o.Mark != end {
					t.Errorf("mark %q, want %q", o.Mark, end)
				}
			})
		}
	}
}

// A run that gives its message back writes its entries, and leaves its mark.
func TestGiveBackRecords(t *testing.T) {
	o := workertest.Run(t, one(func(ctx context.Context) (any, error) {
		task, _ := worker.TaskFrom(ctx)
		if _, err := task.Mark(ctx, "mine"); err != nil {
			t.Errorf("Mark: %v", err)
		}
		task.EndMark("")
		task.Record("s", "what", "back")
		return nil, worker.GiveBack(errors.New("not now"))
	}), workertest.Call{Task: "t"})
	if !o.GivenBack || o.Mark != "mine" || len(o.Recorded["s"]) != 1 {
		t.Errorf("%+v", o)
	}
}

// The definition hears of a message that does not run. Its entries are written with the end of the
// message, and a panic changes nothing.
func TestWithdrawnRecords(t *testing.T) {
	for _, panics := range []bool{false, true} {
		var heard []worker.Withdrawal
		d := worker.Definition{
			Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { t.Error("the task runs"); return nil, nil }),
			Withdrawn: func(task *worker.Task, why worker.Withdrawal) {
				heard = append(heard, why)
				task.Record("s", "task", task.ID, "why", string(why))
				task.EndMark("")
				if panics {
					panic("no")
				}
			},
		}
		o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t", ID: "late", Expires: time.Now().Add(-time.Second), Mark: "theirs"})
		if o.State != "REVOKED" || o.Mark != "" || !slices.Equal(heard, []worker.Withdrawal{worker.WithdrawnExpired}) {
			t.Errorf("%+v, heard %q", o, heard)
		}
		if es := o.Recorded["s"]; len(es) != 1 || !slices.Equal(es[0].Fields, []string{"task", "late", "why", "expired"}) {
			t.Errorf("recorded %+v", es)
		}
	}
}

// So it does of a message that was revoked, and of one whose runs end their worker.
func TestWithdrawnForOtherReasons(t *testing.T) {
	heard := make(chan worker.Withdrawal, 2)
	b := start(t, worker.Config{Concurrency: 1, MaxRedeliveries: 1, Tasks: map[string]worker.Definition{"t": {
		Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil }),
		Withdrawn: func(task *worker.Task, why worker.Withdrawal) {
			task.Record("s", "why", string(why))
			heard <- why
		},
	}}})
	if _, err := b.w.Revoke(t.Context(), worker.Revocation{IDs: []string{"unwanted"}}, false); err != nil {
		t.Fatal(err)
	}
	b.send(t, "t", func(m *protocol.Message) { m.ID = "unwanted" })
	if why := <-heard; why != worker.WithdrawnRevoked {
		t.Errorf("the reason is %q, want that it was revoked", why)
	}
	b.send(t, "t", func(m *protocol.Message) { m.Redelivered = true })
	if why := <-heard; why != worker.WithdrawnCrashed {
		t.Errorf("the reason is %q, want that its worker crashed", why)
	}
	b.eventually(t, "both are settled", func() bool { return b.Unacked() == 0 })
	if l, err := b.Backlog(t.Context(), "s"); l.Length != 2 || err != nil {
		t.Errorf("%d entries, %v, want 2", l.Length, err)
	}
	b.stop(t)
}

// Without EndMark the mark stays. Without a value Mark only looks.
func TestMarkStays(t *testing.T) {
	for _, earlier := range []string{"", "theirs"} {
		for want, marks := range map[string]bool{"mine": true, earlier: false} {
			o := workertest.Run(t, one(func(ctx context.Context) (any, error) {
				task, _ := worker.TaskFrom(ctx)
				looked, err := task.Mark(ctx, "", broker.Entry{Stream: "s", Fields: []string{"what", "look"}})
				if looked != earlier || err != nil {
					t.Errorf("Mark without a value: %q, %v, want %q", looked, err, earlier)
				}
				if marks {
					if found, err := task.Mark(ctx, "mine"); found != earlier || err != nil {
						t.Errorf("Mark after a look: %q, %v, want %q", found, err, earlier)
					}
				}
				return nil, err
			}), workertest.Call{Task: "t", Mark: earlier})
			if o.Mark != want || o.State != "SUCCESS" || len(o.Recorded) > 0 {
				t.Errorf("mark %q, state %s, recorded %v, want the mark %q", o.Mark, o.State, o.Recorded, want)
			}
		}
	}
}

// A run that a stop cuts short records nothing, and its mark stays for the next one.
func TestCutShortKeepsItsMark(t *testing.T) {
	begun := make(chan string, 2)
	tasks := map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
		earlier, err := task.Mark(ctx, "mine")
		if err != nil {
			t.Errorf("Mark: %v", err)
		}
		task.EndMark("")
		task.Record("s", "what", "one")
		begun <- earlier
		if earlier != "" {
			return nil, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})}}
	b := start(t, worker.Config{Concurrency: 1, Grace: time.Millisecond, Tasks: tasks})
	b.send(t, "t")
	<-begun
	b.stop(t)
	if l, err := b.Backlog(t.Context(), "s"); l.Length != 0 || err != nil {
		t.Errorf("%d entries of a run that was cut short, %v", l.Length, err)
	}
	w, err := worker.New(worker.Config{Broker: b.Broker, Queues: []string{"q"}, Tasks: tasks, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if earlier := <-begun; earlier != "mine" {
		t.Errorf("the next run finds the mark %q", earlier)
	}
	b.eventually(t, "it has ended", func() bool { return b.Unacked() == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if l, err := b.Backlog(t.Context(), "s"); l.Length != 1 || err != nil {
		t.Errorf("%d entries, %v, want 1", l.Length, err)
	}
}

// A run whose message was lost sets no mark. It records if it has succeeded.
func TestLostRunRecordsItsSuccess(t *testing.T) {
	for _, succeeds := range []bool{false, true} {
		begun, stolen := make(chan struct{}), make(chan struct{})
		b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
			"t": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				close(begun)
				<-stolen
				for _, value := range []string{"mine", ""} {
					if earlier, err := task.Mark(context.WithoutCancel(ctx), value); !errors.Is(err, worker.ErrLost) || earlier != "" {
						t.Errorf("Mark %q: %q, %v, want ErrLost", value, earlier, err)
					}
				}
				task.Record("s", "what", "one")
				if succeeds {
					return nil, nil
				}
				return nil, errors.New("no")
			})},
		}})
		b.send(t, "t")
		<-begun
		b.Steal()
		close(stolen)
		b.eventually(t, "slot is free", func() bool { return b.w.Status().Running == 0 && b.w.Status().Lost > 0 })
		b.stop(t)
		want := 0
		if succeeds {
			want = 1
		}
		if l, err := b.Backlog(t.Context(), "s"); l.Length != want || err != nil {
			t.Errorf("succeeds: %v: %d entries, %v, want %d", succeeds, l.Length, err, want)
		}
	}
}

// core is a broker without optional interfaces.
type core struct{ broker.Broker }

// Without a Marker the worker only asks for the claim, and without an Outbox it records nothing.
func TestMarkWithoutAMarker(t *testing.T) {
	b := workertest.NewBroker()
	ended := make(chan struct{})
	w, err := worker.New(worker.Config{Broker: core{b}, Queues: []string{"q"}, Logger: silent(), Tasks: map[string]worker.Definition{
		"t": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			defer close(ended)
			if earlier, err := task.Mark(ctx, "mine", broker.Entry{Stream: "s", Fields: []string{"a", "b"}}); err != nil || earlier != "" {
				t.Errorf("Mark: %q, %v", earlier, err)
			}
			task.EndMark("end")
			task.Record("s", "a", "b")
			b.Steal()
			if _, err := task.Mark(ctx, "mine"); !errors.Is(err, worker.ErrLost) {
				t.Errorf("Mark after the loss: %v", err)
			}
			return nil, nil
		})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	(&bench{Broker: b}).send(t, "t")
	<-ended
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if l, err := b.Backlog(t.Context(), "s"); l.Length != 0 || err != nil {
		t.Errorf("%d entries, %v", l.Length, err)
	}
}

// Outside of a worker a task has no mark.
func TestMarkOutsideOfAWorker(t *testing.T) {
	var task worker.Task
	earlier, err := task.Mark(t.Context(), "mine")
	task.EndMark("")
	task.Record("s", "a", "b")
	if earlier != "" || err != nil {
		t.Errorf("Mark: %q, %v", earlier, err)
	}
}
