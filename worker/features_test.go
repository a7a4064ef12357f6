package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// one makes a task table of one function.
func one(fn func(ctx context.Context) (any, error)) map[string]worker.Definition {
	return map[string]worker.Definition{"t": {Handler: do(fn)}}
}

// arithmetic are tasks for workflows.
func arithmetic() map[string]worker.Definition {
	return map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, in struct{ X, Y int }) (int, error) { return in.X + in.Y, nil })},
		"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (int, error) {
			sum := 0
			for _, n := range in.Numbers {
				sum += n
			}
			return sum, nil
		})},
		"fail": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, &worker.Exception{Type: "ValueError", Args: []any{"no"}}
		})},
	}
}

// client returns a Client whose tasks go to the worker's queue.
func (b *bench) client(t *testing.T) *worker.Client {
	t.Helper()
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: "q"}})
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	return c
}

func (b *bench) get(t *testing.T, s *canvas.Signature, v any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := b.client(t).Send(ctx, s)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return r.Get(ctx, v)
}

func TestClientRunsWorkflows(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	add := func(args ...any) *canvas.Signature { return canvas.New("add", args...) }
	for name, tc := range map[string]struct {
		sig  *canvas.Signature
		want string
	}{
		"task":          {add(1, 2), "3"},
		"chain":         {canvas.Chain(add(1, 2), add(3), add(4)), "10"},
		"group":         {canvas.Group(add(1, 2), add(3, 4)), "[3, 7]"},
		"chord":         {canvas.Chord([]*canvas.Signature{add(1, 2), add(3, 4)}, canvas.New("sum")), "10"},
		"chord in one":  {canvas.Chain(add(1, 1), canvas.Group(add(1), add(2)), canvas.New("sum"), add(5)), "12"},
		"chord of ones": {canvas.Chord([]*canvas.Signature{canvas.Chord([]*canvas.Signature{add(1, 1)}, canvas.New("sum")), add(1, 1)}, canvas.New("sum")), "4"},
		"map":           {canvas.Map(canvas.New("sum"), []int{1, 2}, []int{3}), "[3, 3]"},
		"starmap":       {canvas.Starmap(add(), []int{1, 2}, []int{3, 4}), "[3, 7]"},
		"chunks":        {canvas.Chunks(add(), 2, []int{1, 2}, []int{3, 4}, []int{5, 6}), "[[3, 7], [11]]"},
	} {
		t.Run(name, func(t *testing.T) {
			var got protocol.Raw
			if err := b.get(t, tc.sig, &got); err != nil || string(got) != tc.want {
				t.Errorf("got %s, %v, want %s", got, err, tc.want)
			}
		})
	}
	b.eventually(t, "all is acknowledged", func() bool { return b.Unacked() == 0 && len(b.Queued("q")) == 0 })
}

func TestClientGetsFailures(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	for name, sig := range map[string]*canvas.Signature{
		"task":         canvas.New("fail"),
		"chain":        canvas.Chain(canvas.New("fail"), canvas.New("add", 1)),
		"group":        canvas.Group(canvas.New("add", 1, 2), canvas.New("fail")),
		"chord header": canvas.Chord([]*canvas.Signature{canvas.New("add", 1, 2), canvas.New("fail")}, canvas.New("sum")),
	} {
		t.Run(name, func(t *testing.T) {
			err := b.get(t, sig, nil)
			e, ok := errors.AsType[*worker.Exception](err)
			if !ok || e.Type != "ValueError" && e.Type != "ChordError" {
				t.Errorf("got %v, want ValueError or the ChordError that it leads to", err)
			}
		})
	}
}

func TestHandleSurvivesAsJSON(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"add": arithmetic()["add"],
		"send": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			return task.Send(ctx, canvas.Group(canvas.New("add", 1, 2), canvas.New("add", 3, 4)))
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	r, err := b.client(t).Send(ctx, canvas.New("send"))
	if err != nil {
		t.Fatal(err)
	}
	var tuple [2]json.RawMessage
	if err := r.Get(ctx, &tuple); err != nil {
		t.Fatal(err)
	}
	children, err := r.Children(ctx)
	if err != nil || len(children) != 1 || !children[0].IsGroup() || len(children[0].Members) != 2 {
		t.Fatalf("children are %+v, %v, want one group of two", children, err)
	}
	var got []int
	if err := children[0].Get(ctx, &got); err != nil || !slices.Equal(got, []int{3, 7}) {
		t.Errorf("group gave %v, %v", got, err)
	}
	if err := children[0].Save(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := b.client(t).Group(ctx, children[0].ID)
	if err != nil || again == nil || len(again.Members) != 2 || again.Members[1].ID != children[0].Members[1].ID {
		t.Errorf("restored %+v, %v", again, err)
	}
	if err := again.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if state, err := again.Members[0].State(ctx); state != "PENDING" || err != nil {
		t.Errorf("forgotten member is %q, %v", state, err)
	}
	m := b.Result(children[0].Members[0].ID)
	if m != nil {
		t.Errorf("forgotten result is there: %+v", m)
	}
}

func TestIDsOfWhatATaskSends(t *testing.T) {
	ids := make(chan [2]string, 1)
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"outer": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			_, err := task.Send(ctx, canvas.New("inner"))
			return nil, err
		})},
		"inner": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			ids <- [2]string{task.RootID, task.ParentID}
			return nil, nil
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	id := b.send(t, "outer", func(m *protocol.Message) { m.RootID = "root" })
	if got := <-ids; got != [2]string{"root", id} {
		t.Errorf("root and parent are %v, want root and %s", got, id)
	}
}

func TestReplace(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"add": arithmetic()["add"], "sum": arithmetic()["sum"],
		"replaced": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Group(canvas.New("add", 1, 2), canvas.New("add", 3, 4)))
		})},
		"by nothing": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Chain())
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	var got int
	if err := b.get(t, canvas.Chain(canvas.New("replaced"), canvas.New("sum")), &got); err != nil || got != 10 {
		t.Errorf("got %d, %v, want 10", got, err)
	}
	err := b.get(t, canvas.New("by nothing"), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "ImproperlyConfigured" || e.Module != "celery.exceptions" {
		t.Errorf("replaced by an empty chain: %v, want ImproperlyConfigured", err)
	}
}

func TestErrorCallbacks(t *testing.T) {
	called := make(chan *worker.FailedTask, 1)
	messaged := make(chan string, 1)
	tasks := map[string]worker.Definition{
		"fail": arithmetic()["fail"],
		"old": {Handler: worker.Func(func(_ context.Context, in struct{ ID string }) (any, error) {
			messaged <- in.ID
			return nil, nil
		})},
		"new": {Handler: do(func(context.Context) (any, error) { return nil, errors.New("called by message") }),
			ErrorCallback: func(_ context.Context, f *worker.FailedTask) error { called <- f; panic("in a callback") }},
	}
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	r, err := b.client(t).Send(ctx, canvas.New("fail").LinkError(canvas.New("old"), canvas.New("new", "label")))
	if err != nil {
		t.Fatal(err)
	}
	f := <-called
	if f.ID != r.ID || f.Exception.Type != "ValueError" || string(f.Args) != `["label"]` {
		t.Errorf("callback was told of %+v", f)
	}
	if id := <-messaged; id != r.ID {
		t.Errorf("message is about %s, want %s", id, r.ID)
	}
	b.eventually(t, "the failure is stored", func() bool { return b.status(r.ID) == "FAILURE" })
}

// TestChordErrorHasChildren: whoever waits for a chord finds its error callback
// among the children of the body that never ran.
func TestChordErrorHasChildren(t *testing.T) {
	tasks := arithmetic()
	tasks["report"] = worker.Definition{Handler: worker.Func(func(_ context.Context, in struct{ ID string }) (string, error) { return in.ID, nil })}
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	chord := canvas.Chord([]*canvas.Signature{canvas.New("add", 1, 2), canvas.New("fail")}, canvas.New("sum").LinkError(canvas.New("report")))
	r, err := b.client(t).Send(ctx, chord)
	if err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "the body has failed", func() bool { return b.status(r.ID) == "FAILURE" })
	children, err := r.Children(ctx)
	if err != nil || len(children) != 1 || len(children[0].Members) != 1 {
		t.Fatalf("children %v, %v, want the group of the error callback", children, err)
	}
	var id string
	if err := children[0].Members[0].Get(ctx, &id); err != nil || id != r.ID {
		t.Errorf("error callback was told of %q, %v, want the body %s", id, err, r.ID)
	}
}

// TestMemberFailsBeforeBody: a client that looks at the members and then at the
// body finds the cause first, however slow it is.
func TestMemberFailsBeforeBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
		r, err := b.client(t).Send(context.Background(), canvas.Chord([]*canvas.Signature{canvas.New("fail")}, canvas.New("sum")))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if member, body := b.status(r.Parent.Members[0].ID), b.status(r.ID); member != "FAILURE" || body != "" {
			t.Errorf("member is in state %q, body in %q; want FAILURE and nothing yet", member, body)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if body := b.status(r.ID); body != "FAILURE" {
			t.Errorf("body is in state %q, want FAILURE", body)
		}
		b.stop(t)
	})
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

func TestIgnoredErrorsCanBeStored(t *testing.T) {
	ignored := map[string]worker.Definition{"t": {Handler: arithmetic()["fail"].Handler, IgnoreResult: true, StoreErrorsEvenIfIgnored: true}}
	o := workertest.Run(t, ignored, workertest.Call{Task: "t"})
	if o.State != "FAILURE" {
		t.Errorf("state is %q, want FAILURE", o.State)
	}
}

func TestFailureIsNotAcknowledged(t *testing.T) {
	d := arithmetic()["fail"]
	d.RejectOnFailure = true
	if o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t"}); o.State != "FAILURE" || o.DeadLetter != "failed: ValueError" {
		t.Errorf("got %+v, want FAILURE and a dead letter", o)
	}
	slow := worker.Definition{TimeLimit: time.Millisecond, RequeueOnTimeout: true, Handler: do(func(ctx context.Context) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}
	if o := workertest.Run(t, map[string]worker.Definition{"t": slow}, workertest.Call{Task: "t"}); o.State != "FAILURE" || !o.Requeued {
		t.Errorf("got %+v, want FAILURE and the message back", o)
	}
}

func TestRetryOptions(t *testing.T) {
	zero := 0
	retry := func(e *worker.RetryError) map[string]worker.Definition {
		return one(func(context.Context) (any, error) { return nil, e })
	}
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	o := workertest.Run(t, retry(&worker.RetryError{Countdown: -1, Expires: expires, Args: []any{"x"}, Kwargs: map[string]any{"a": 1}}), workertest.Call{Task: "t"})
	if o.State != "RETRY" || o.Retry == nil {
		t.Fatalf("got %+v, want RETRY", o)
	}
	if m := o.Retry; !m.ETA.IsZero() || !m.Expires.Equal(expires) || string(m.Args) != `["x"]` || string(m.Kwargs) != `{"a": 1}` || m.ArgsRepr != "['x']" {
		t.Errorf("retry has eta %v, expires %v, args %s %s (%s)", m.ETA, m.Expires, m.Args, m.Kwargs, m.ArgsRepr)
	}
	if o := workertest.Run(t, retry(&worker.RetryError{MaxRetries: &zero}), workertest.Call{Task: "t"}); o.State != "FAILURE" || o.Exception.Type != "MaxRetriesExceededError" {
		t.Errorf("got %+v, want FAILURE", o)
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
			// What was linked has been published before.
			stored.Children = protocol.Raw(`[[["linked", null], null]]`)
		}
		if err := b.Publish(context.Background(), worker.Changes{Results: []*protocol.Result{stored}}); err != nil {
			t.Fatal(err)
		}
		b.send(t, "t", func(m *protocol.Message) {
			m.ID, m.Redelivered, m.Callbacks = "done", true, protocol.Raw("["+string(link)+"]")
		})
		b.eventually(t, "acknowledged", func() bool { return b.Unacked() == 0 && len(b.Queued("q")) == 0 && b.w.Status().Received > 0 })
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
	deaf := make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, Tasks: one(func(ctx context.Context) (any, error) {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-deaf // goes on, and its slot is free all the same
		return "too late", nil
	})})
	id := b.send(t, "t")
	b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
	ids, err := b.w.Revoke(context.Background(), worker.Revocation{IDs: []string{id}}, true)
	if err != nil || !slices.Equal(ids, []string{id}) {
		t.Errorf("terminated %v, %v, want %s", ids, err, id)
	}
	if cause := <-causes; !errors.Is(cause, worker.ErrRevoked) {
		t.Errorf("cause is %v, want ErrRevoked", cause)
	}
	b.eventually(t, "revoked", func() bool { return b.status(id) == "REVOKED" && b.w.Status().Running == 0 })
	if args := b.Result(id).Exception.Args; !slices.Equal(args, []any{"terminated"}) {
		t.Errorf("exception has %v", args)
	}
	close(deaf)
	b.eventually(t, "returned", func() bool { return b.w.Status().Aborted == 0 })
	if b.status(id) != "REVOKED" {
		t.Errorf("state became %s", b.status(id))
	}
}

func TestRateLimit(t *testing.T) {
	for _, shared := range []bool{false, true} {
		var mu sync.Mutex
		var at []time.Time
		tasks := one(func(context.Context) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return nil, nil
		})
		d := tasks["t"]
		d.RateLimit = "10/s"
		tasks["t"], tasks["free"] = d, worker.Definition{Handler: do(func(context.Context) (any, error) { return nil, nil })}
		b := start(t, worker.Config{Tasks: tasks, SharedRateLimits: shared})
		const n = 4
		for range n {
			b.send(t, "t")
		}
		free := b.send(t, "free")
		b.eventually(t, "another task runs", func() bool { return b.status(free) == "SUCCESS" })
		mu.Lock()
		if len(at) == n {
			t.Error("the limited tasks have run before the one behind them")
		}
		mu.Unlock()
		b.eventually(t, "all have run", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) == n })
		mu.Lock()
		for i := 1; i < n; i++ {
			if d := at[i].Sub(at[i-1]); d < 80*time.Millisecond {
				t.Errorf("run %d came %v after the one before it, want a tenth of a second", i, d)
			}
		}
		mu.Unlock()
		b.stop(t)
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "0/m": 0, "-1": 0, "2": time.Second / 2, "2/s": time.Second / 2, "10/m": 6 * time.Second, "0.5/h": 2 * time.Hour, " 1/h ": time.Hour,
	} {
		if got, err := worker.ParseRate(text); got != want || err != nil {
			t.Errorf("ParseRate(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "1/d", "/m", "1e400", "NaN", "1e-300/h", "1/m/s"} {
		if got, err := worker.ParseRate(text); err == nil && got != 0 {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	high := 9
	b := workertest.NewBroker()
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{Routes: []worker.Route{
		{Task: "mail.urgent", Queue: "urgent", Priority: &high},
		{Task: "mail.*", Queue: "mail"},
		{Regexp: regexp.MustCompile(`(audio|video)\.`), Queue: "media"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for task, queue := range map[string]string{
		"mail.urgent": "urgent", "mail.welcome": "mail", "video.encode": "media", "my.video.encode": "celery", "other": "celery",
	} {
		r, err := c.Send(context.Background(), canvas.New(task))
		if err != nil {
			t.Fatal(err)
		}
		raws := b.Queued(queue)
		m, err := protocol.Decode(raws[len(raws)-1], protocol.Limits{})
		if err != nil || !slices.ContainsFunc(raws, func(raw []byte) bool { return strings.Contains(string(raw), r.ID) }) {
			t.Errorf("%s did not go to %s (%v)", task, queue, err)
		}
		if queue == "urgent" && m.Priority != 9 {
			t.Errorf("priority is %d, want that of the route", m.Priority)
		}
	}
	if _, err := c.Send(context.Background(), canvas.New("mail.welcome").Set(canvas.Options{Queue: "elsewhere"})); err != nil || len(b.Queued("elsewhere")) != 1 {
		t.Errorf("the option queue does not come before the routes (%v)", err)
	}
	if _, err := worker.NewClient(worker.ClientConfig{Publishing: worker.Publishing{Routes: []worker.Route{{Task: "[", Queue: "q"}, {}}}}); err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("faults of a client: %v, want three", err)
	}
}

func TestMaxTasks(t *testing.T) {
	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{Logger: silent(), Broker: b, Queues: []string{"q"}, MaxTasks: 3, Concurrency: 1, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
	bench := &bench{Broker: b}
	for range 5 {
		bench.send(t, "t")
	}
	if err := w.Run(context.Background()); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := len(b.Queued("q")); n != 2 || b.Unacked() != 0 {
		t.Errorf("%d messages left, %d unacknowledged, want two and none", n, b.Unacked())
	}
}

// nilError has a method that cannot be called on the nil pointer it often is.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestErrorThatCannotBeRead(t *testing.T) {
	o := workertest.Run(t, one(func(context.Context) (any, error) {
		var e *nilError
		return nil, e
	}), workertest.Call{Task: "t"})
	if o.State != "FAILURE" || o.Exception.Type != "RuntimeError" {
		t.Errorf("got %+v, want FAILURE", o)
	}
}

// A handler that says by itself that its message is lost is wrong, and the message
// must not stay claimed for ever.
func TestHandlerGivesItsMessageUp(t *testing.T) {
	var runs atomic.Int32
	b := start(t, worker.Config{Tasks: one(func(context.Context) (any, error) {
		if runs.Add(1) == 1 {
			return nil, worker.ErrLost
		}
		return 1, nil
	})})
	id := b.send(t, "t")
	b.eventually(t, "it runs again", func() bool { return b.status(id) == "SUCCESS" && b.Unacked() == 0 })
}

// Handlers that do not heed their hard time limit do not pile up.
func TestDeafHandlersAreBounded(t *testing.T) {
	release := make(chan struct{})
	var running, most atomic.Int32
	b := start(t, worker.Config{Concurrency: 2, TaskTimeLimit: 5 * time.Millisecond, Tasks: one(func(context.Context) (any, error) {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return nil, nil
	})})
	const n = 40
	for range n {
		b.send(t, "t")
	}
	b.eventually(t, "the worker says so", func() bool { return strings.Contains(b.w.Status().Fault, "time limit") })
	if s := b.w.Status(); s.Consuming {
		t.Error("the worker claims to consume")
	}
	close(release)
	b.eventually(t, "all have ended", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 && b.w.Status().Aborted == 0 })
	if most.Load() > 2+4+2*4 {
		t.Errorf("%d handlers ran at once with two slots", most.Load())
	}
}

// The last chance of a message that may kill the worker is its own: nothing runs
// beside it that could be blamed.
func TestLastChanceRunsAlone(t *testing.T) {
	var running, beside atomic.Int32
	release := make(chan struct{})
	b := start(t, worker.Config{Concurrency: 4, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { running.Add(1); defer running.Add(-1); <-release; return nil, nil })},
		"suspect": {Handler: do(func(context.Context) (any, error) {
			beside.Store(running.Load())
			return nil, nil
		})},
	}})
	b.send(t, "t")
	b.eventually(t, "running", func() bool { return running.Load() == 1 })
	b.SetCrashes("suspect", 1)
	b.send(t, "suspect", func(m *protocol.Message) { m.ID, m.Redelivered = "suspect", true })
	later := b.send(t, "t")
	b.eventually(t, "both are reserved", func() bool { return b.w.Status().Reserved == 2 })
	close(release)
	b.eventually(t, "all have ended", func() bool { return b.status("suspect") == "SUCCESS" && b.status(later) == "SUCCESS" })
	if n := beside.Load(); n != 0 {
		t.Errorf("%d tasks ran beside it", n)
	}
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

func TestBuiltinTasks(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	var got protocol.Raw
	if err := b.get(t, canvas.New("celery.accumulate", 1, "x"), &got); err != nil || string(got) != `[1, "x"]` {
		t.Errorf("accumulate gave %s, %v", got, err)
	}
	if err := b.get(t, canvas.New("celery.accumulate", 1, "x").Kwarg("index", -1), &got); err != nil || string(got) != `"x"` {
		t.Errorf("accumulate with an index gave %s, %v", got, err)
	}
	if err := b.get(t, canvas.New("celery.backend_cleanup"), nil); err != nil {
		t.Errorf("backend_cleanup: %v", err)
	}
	err := b.get(t, canvas.New("celery.chain"), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "NotImplementedError" {
		t.Errorf("chain: %v, want NotImplementedError", err)
	}
	err = b.get(t, canvas.Map(canvas.New("nobody's"), 1), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "NotRegistered" {
		t.Errorf("map of an unknown task: %v, want NotRegistered", err)
	}

	// The chord of a backend that cannot count.
	ctx := context.Background()
	one, err := b.client(t).Send(ctx, canvas.New("add", 1, 2).Set(canvas.Options{Countdown: 50 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	body := canvas.New("sum").Set(canvas.Options{TaskID: "body"})
	unlock := canvas.New("celery.chord_unlock", "group", body).Kwarg("result", []any{one}).Kwarg("interval", 0.01)
	if _, err := b.client(t).Send(ctx, unlock); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "the body has run", func() bool { return b.status("body") == "SUCCESS" })
}
