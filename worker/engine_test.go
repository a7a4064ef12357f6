package worker_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type none struct{}

// assign panics for a nil map, where no linter sees it coming.
func assign(m map[int]int) error { m[1] = 1; return nil }

// do makes a handler of a function without arguments.
func do(fn func(ctx context.Context) (any, error)) worker.Handler {
	return worker.Func(func(ctx context.Context, _ none) (any, error) { return fn(ctx) })
}

func TestOutcomes(t *testing.T) {
	cause := errors.New("smtp down")
	for name, tc := range map[string]struct {
		handler func(ctx context.Context) (any, error)
		change  func(*worker.Definition)
		retries int
		state   string
		excType string
		module  string
		args    []any
		dead    string
		result  string
		retry   bool
	}{
		"success": {handler: func(context.Context) (any, error) { return map[string]int{"n": 1}, nil }, state: "SUCCESS", result: `{"n": 1}`},
		"failure": {handler: func(context.Context) (any, error) { return nil, cause }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"named": {handler: func(context.Context) (any, error) {
			return nil, &worker.Exception{Type: "Refund", Module: "shop.errors", Args: []any{"no", 42}}
		}, state: "FAILURE", excType: "Refund", module: "shop.errors", args: []any{"no", 42}},
		"retry":           {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"retry exhausted": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, retries: 3, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"retry without a cause exhausted": {handler: func(context.Context) (any, error) { return nil, worker.Retry(nil) }, retries: 3,
			state: "FAILURE", excType: "MaxRetriesExceededError", module: "celery.exceptions"},
		"no retries":      {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, change: func(d *worker.Definition) { d.MaxRetries = worker.NoRetries }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"endless retries": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, retries: 99, change: func(d *worker.Definition) { d.MaxRetries = worker.UnlimitedRetries }, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"free retry":      {handler: func(context.Context) (any, error) { return nil, &worker.RetryError{Err: cause, Free: true} }, retries: 3, state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
		"reject": {handler: func(context.Context) (any, error) { return nil, worker.Reject("no thanks") }, state: "FAILURE", excType: "Reject", module: "celery.exceptions",
			args: []any{"no thanks", false}, dead: "rejected: no thanks"},
		"requeue": {handler: func(context.Context) (any, error) { return nil, worker.Requeue("later") }},
		"ignore":  {handler: func(context.Context) (any, error) { return 1, worker.ErrIgnore }},
		"give up": {handler: func(context.Context) (any, error) {
			return nil, worker.GiveUp(map[string]bool{"success": false}, "refused")
		}, state: "SUCCESS", result: `{"success": false}`, dead: "refused"},
		"panic":         {handler: func(context.Context) (any, error) { panic("oh") }, state: "FAILURE", excType: "RuntimeError", module: "builtins", args: []any{"panic: oh"}},
		"nil map panic": {handler: func(context.Context) (any, error) { return nil, assign(nil) }, state: "FAILURE", excType: "RuntimeError", module: "builtins", args: []any{"panic: assignment to entry in nil map"}},
		"goexit":        {handler: func(context.Context) (any, error) { runtime.Goexit(); return nil, nil }, state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"handler ended its goroutine (runtime.Goexit)"}},
		"not encodable": {handler: func(context.Context) (any, error) { return make(chan int), nil }, state: "FAILURE", excType: "EncodeError", module: "kombu.exceptions"},
		"soft limit": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }, change: func(d *worker.Definition) { d.SoftTimeLimit = time.Millisecond },
			state: "FAILURE", excType: "SoftTimeLimitExceeded", module: "billiard.exceptions", args: []any{}},
		"soft limit heeded": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return context.Cause(ctx).Error(), nil }, change: func(d *worker.Definition) { d.SoftTimeLimit = time.Millisecond },
			state: "SUCCESS", result: `"soft time limit exceeded"`},
		"hard limit": {handler: func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }, change: func(d *worker.Definition) { d.TimeLimit = time.Millisecond },
			state: "FAILURE", excType: "TimeLimitExceeded", module: "billiard.exceptions", args: []any{0.001}},
		"ignored result": {handler: func(context.Context) (any, error) { return 1, nil }, change: func(d *worker.Definition) { d.IgnoreResult = true }},
		"acknowledged early, fails": {handler: func(context.Context) (any, error) { return nil, cause }, change: func(d *worker.Definition) { d.AcksEarly = true },
			state: "FAILURE", excType: "Exception", module: "builtins", args: []any{"smtp down"}},
		"acknowledged early, retries": {handler: func(context.Context) (any, error) { return nil, worker.Retry(cause) }, change: func(d *worker.Definition) { d.AcksEarly = true },
			state: "RETRY", excType: "Exception", module: "builtins", args: []any{"smtp down"}, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := worker.Definition{Handler: do(tc.handler)}
			if tc.change != nil {
				tc.change(&d)
			}
			o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t", Retries: tc.retries})
			if o.State != tc.state || string(o.Result) != tc.result || o.DeadLetter != tc.dead || (o.Retry != nil) != tc.retry {
				t.Errorf("got state %q, result %s, dead letter %q, retry %v; want %q, %s, %q, %v",
					o.State, o.Result, o.DeadLetter, o.Retry != nil, tc.state, tc.result, tc.dead, tc.retry)
			}
			if tc.excType != "" {
				if o.Exception == nil || o.Exception.Type != tc.excType || o.Exception.Module != tc.module || tc.args != nil && !slices.Equal(o.Exception.Args, tc.args) {
					t.Errorf("exception is %+v, want %s.%s%v", o.Exception, tc.module, tc.excType, tc.args)
				}
			}
			if tc.retry && o.Retry != nil {
				want := tc.retries + 1
				if name == "free retry" {
					want = tc.retries
				}
				if o.Retry.Retries != want || o.Retry.ETA.Before(time.Now().Add(time.Minute)) {
					t.Errorf("retry number %d with eta %v, want %d and an eta in three minutes", o.Retry.Retries, o.Retry.ETA, want)
				}
			}
		})
	}
}

func TestExpired(t *testing.T) {
	o := workertest.Run(t, map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) {
		t.Error("an expired task ran")
		return nil, nil
	})}}, workertest.Call{Task: "t", Expires: time.Now().Add(-time.Second)})
	if o.State != "REVOKED" || o.Exception.Type != "TaskRevokedError" || !slices.Equal(o.Exception.Args, []any{"expired"}) {
		t.Errorf("got %s %+v, want REVOKED with TaskRevokedError(expired)", o.State, o.Exception)
	}
}

// bench is a running worker on a Broker in memory.
type bench struct {
	*workertest.Broker
	w      *worker.Worker
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg worker.Config) *bench {
	t.Helper()
	b := &bench{Broker: workertest.NewBroker(), done: make(chan error, 1)}
	cfg.Broker, cfg.Queues = b.Broker, []string{"q"}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	w, err := worker.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	b.w = w
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go func() { b.done <- w.Run(ctx) }()
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *bench) stop(t *testing.T) {
	t.Helper()
	b.cancel()
	if b.done == nil {
		return
	}
	if err := <-b.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	b.done = nil
}

func (b *bench) send(t *testing.T, task string, change ...func(*protocol.Message)) string {
	t.Helper()
	m := &protocol.Message{ID: uuid.NewString(), Task: task, Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: uuid.NewString(), RoutingKey: "q"}
	for _, f := range change {
		f(m)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if m.Redelivered {
		if raw, err = protocol.MarkRedelivered(raw); err != nil {
			t.Fatalf("mark: %v", err)
		}
	}
	b.Push(m.RoutingKey, m.Priority, raw)
	return m.ID
}

func (b *bench) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not come to pass: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (b *bench) status(id string) string {
	if r := b.Result(id); r != nil {
		return r.Status
	}
	return ""
}

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

// A message whose runs end with the process, again and again, is set aside.
func TestPoison(t *testing.T) {
	var runs atomic.Int32
	tasks := map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { runs.Add(1); return 1, nil })}}
	b := start(t, worker.Config{Tasks: tasks, MaxRedeliveries: 2})
	// The second start of a message that was never finished: a run that ended
	// with its process, seen from here.
	raw := func(m *protocol.Message) { m.ID, m.Redelivered = "pill", true }
	b.send(t, "t", raw)
	b.eventually(t, "first redelivery runs", func() bool { return runs.Load() == 1 && b.Unacked() == 0 })
	b.SetCrashes("pill", 1)
	id := b.send(t, "t", raw, func(m *protocol.Message) { m.Task = "t" })
	b.eventually(t, "set aside", func() bool { return len(b.DeadLetters()) == 1 })
	if runs.Load() != 1 {
		t.Errorf("ran %d times", runs.Load())
	}
	if got := b.DeadLetters()[0]; got.TaskID != id || !strings.Contains(got.Reason, "poison") {
		t.Errorf("dead letter %q of %q", got.Reason, got.TaskID)
	}
}

func TestETAWaits(t *testing.T) {
	var at atomic.Int64
	b := start(t, worker.Config{Concurrency: 1, PrefetchMultiplier: 1, Tasks: map[string]worker.Definition{
		"later": {Handler: do(func(context.Context) (any, error) { at.Store(time.Now().UnixNano()); return 1, nil })},
		"now":   {Handler: do(func(context.Context) (any, error) { return 1, nil })},
	}})
	eta := time.Now().Add(300 * time.Millisecond)
	later := b.send(t, "later", func(m *protocol.Message) { m.ETA = eta })
	b.eventually(t, "held", func() bool { return b.w.Status().Scheduled == 1 })
	now := b.send(t, "now") // is not kept waiting by one that waits
	b.eventually(t, "now is done", func() bool { return b.status(now) == "SUCCESS" })
	b.eventually(t, "later is done", func() bool { return b.status(later) == "SUCCESS" })
	if got := time.Unix(0, at.Load()); got.Before(eta) {
		t.Errorf("ran %v before its ETA", eta.Sub(got))
	}
}

// A stop returns what has not begun to the front, in order, and sees what runs
// to its end.
func TestWarmStop(t *testing.T) {
	release := make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, PrefetchMultiplier: 4, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { <-release; return 1, nil })},
	}})
	first := b.send(t, "t")
	b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
	later := b.send(t, "t", func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour) })
	b.eventually(t, "held", func() bool { return b.w.Status().Scheduled == 1 })
	var want []string
	want = append(want, later)
	for range 5 {
		want = append(want, b.send(t, "t"))
	}
	b.eventually(t, "prefetched", func() bool { return b.w.Status().Reserved == 3 })
	b.cancel()
	b.eventually(t, "given back", func() bool { return len(b.Queued("q")) == len(want) })
	close(release)
	b.stop(t)
	var got []string
	for _, raw := range b.Queued("q") {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, env.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("queue after the stop is %v, want %v", got, want)
	}
	if b.status(first) != "SUCCESS" || b.Unacked() != 0 {
		t.Errorf("the running task is %q, %d unacknowledged", b.status(first), b.Unacked())
	}
}

// What the grace cuts short goes back, and costs no retry.
func TestGraceEnds(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"by time":       func(*bench) {},
		"by StopNow":    func(b *bench) { b.w.StopNow() },
		"retry at once": func(b *bench) { b.w.StopNow() },
	} {
		t.Run(name, func(t *testing.T) {
			grace := time.Hour
			if name == "by time" {
				grace = 10 * time.Millisecond
			}
			b := start(t, worker.Config{Grace: grace, Tasks: map[string]worker.Definition{
				"t": {Handler: do(func(ctx context.Context) (any, error) {
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), worker.ErrStopped) {
						t.Errorf("cause is %v, want ErrStopped", context.Cause(ctx))
					}
					if name == "retry at once" {
						return nil, worker.Retry(ctx.Err())
					}
					return nil, ctx.Err()
				})},
			}})
			id := b.send(t, "t")
			b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
			b.cancel()
			end(b)
			b.stop(t)
			q := b.Queued("q")
			if len(q) != 1 || b.status(id) != "" {
				t.Fatalf("%d queued, state %q; want the message back and no state", len(q), b.status(id))
			}
			m, err := protocol.Decode(q[0], protocol.Limits{})
			if err != nil || !m.Redelivered || m.Retries != 0 {
				t.Errorf("came back with redelivered %v, retries %d (%v)", m.Redelivered, m.Retries, err)
			}
		})
	}
}

// A message that another worker has got meanwhile is let go of.
func TestLostMessageIsLetGo(t *testing.T) {
	causes, holds := make(chan error, 1), make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(ctx context.Context) (any, error) {
			task, _ := worker.TaskFrom(ctx)
			if err := task.Held(ctx); err != nil {
				t.Errorf("Held before the loss: %v", err)
			}
			close(holds)
			<-ctx.Done()
			if err := task.Held(context.WithoutCancel(ctx)); !errors.Is(err, worker.ErrLost) {
				t.Errorf("Held after the loss: %v", err)
			}
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		})},
	}})
	id := b.send(t, "t")
	<-holds
	b.Steal()
	if err := <-causes; !errors.Is(err, worker.ErrLost) {
		t.Errorf("cause is %v, want ErrLost", err)
	}
	b.eventually(t, "slot is free", func() bool { return b.w.Status().Running == 0 })
	if b.status(id) != "" || b.w.Status().Lost != 1 {
		t.Errorf("state %q, lost %d", b.status(id), b.w.Status().Lost)
	}
}

// A handler that does not return gives up its slot at the hard time limit.
func TestHardLimitFreesTheSlot(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	b := start(t, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"stuck": {Handler: do(func(context.Context) (any, error) { <-release; return 1, nil }), TimeLimit: 10 * time.Millisecond},
		"t":     {Handler: do(func(context.Context) (any, error) { return 1, nil })},
	}})
	stuck, next := b.send(t, "stuck"), b.send(t, "t")
	b.eventually(t, "the next task runs", func() bool { return b.status(next) == "SUCCESS" })
	if b.status(stuck) != "FAILURE" || b.w.Status().Aborted != 1 {
		t.Errorf("state %q, aborted %d", b.status(stuck), b.w.Status().Aborted)
	}
}

func TestMiddlewareOrder(t *testing.T) {
	var order []string
	mw := func(name string) worker.Middleware {
		return func(next worker.Handler) worker.Handler {
			return worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
				order = append(order, name)
				return next.Run(ctx, task)
			})
		}
	}
	b := start(t, worker.Config{Middleware: []worker.Middleware{mw("outer"), mw("inner")}, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { order = append(order, "handler"); return nil, nil })},
	}})
	id := b.send(t, "t")
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	b.stop(t)
	if !slices.Equal(order, []string{"outer", "inner", "handler"}) {
		t.Errorf("order %v", order)
	}
}

func TestRunTwice(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{"t": {Handler: do(func(context.Context) (any, error) { return nil, nil })}}})
	b.eventually(t, "running", func() bool { return b.w.Status().State == worker.StateRunning })
	if err := b.w.Run(context.Background()); err == nil {
		t.Error("a second Run succeeded")
	}
}

// What a task is called with never reaches the log.
func TestArgumentsStayOutOfTheLog(t *testing.T) {
	var log strings.Builder
	handler := slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	b := start(t, worker.Config{Logger: slog.New(handler), Tasks: map[string]worker.Definition{
		"t": {Handler: worker.Func(func(_ context.Context, a struct{ N int }) (any, error) { return a.N, nil })},
	}})
	bad := b.send(t, "t", func(m *protocol.Message) {
		m.Args, m.ArgsRepr = protocol.Raw(`["canary-493817"]`), "['canary-493817']"
	})
	b.eventually(t, "failed", func() bool { return b.status(bad) == "FAILURE" })
	b.send(t, "unknown", func(m *protocol.Message) { m.Kwargs = protocol.Raw(`{"canary-493817": 1}`) })
	b.eventually(t, "set aside", func() bool { return len(b.DeadLetters()) == 1 })
	b.stop(t)
	if strings.Contains(log.String(), "493817") || !strings.Contains(log.String(), bad) {
		t.Errorf("log:\n%s", log.String())
	}
	for _, r := range b.History() {
		if enc, err := protocol.EncodeResult(&r); err != nil || strings.Contains(string(enc), "493817") {
			t.Errorf("result: %s %v", enc, err)
		}
	}
}

func push(t *testing.T, b *workertest.Broker, eta time.Time) {
	t.Helper()
	x := &bench{Broker: b}
	x.send(t, "t", func(m *protocol.Message) { m.ETA = eta })
}
