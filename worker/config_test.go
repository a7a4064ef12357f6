package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := worker.New(worker.Config{
		Queues: []string{"a", "a", ""}, Concurrency: -1, TaskTimeLimit: time.Second, TaskSoftTimeLimit: time.Minute, UnknownTasks: 9,
		Tasks: map[string]worker.Definition{"x": {MaxRetries: -7}, "": {}},
	})
	if err == nil {
		t.Fatal("New took it")
	}
	for _, want := range []string{"Broker", `Tasks["x"] has no Handler`, `MaxRetries is -7`, "without a name", `"a" twice`, `name ""`, "Concurrency is -1", "TaskSoftTimeLimit", "UnknownTasks"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s:\n%v", want, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := worker.Backoff{Base: time.Minute, Max: 5 * time.Minute}
	for n, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		if got := b.Delay(n); got != want {
			t.Errorf("Delay(%d) = %v, want %v", n, got, want)
		}
	}
	if got := b.Delay(1 << 20); got != 5*time.Minute {
		t.Errorf("Delay far out = %v", got)
	}
	if got := (worker.Backoff{}).Delay(4); got != 180*time.Second {
		t.Errorf("default delay %v, want Celery's 180 s", got)
	}
	b.Jitter = 0.2
	seen := map[time.Duration]bool{}
	for range 100 {
		d := b.Delay(0)
		if d < 48*time.Second || d > 72*time.Second {
			t.Fatalf("delay %v is beyond 20 %% of a minute", d)
		}
		seen[d] = true
	}
	if len(seen) < 2 {
		t.Error("jitter does not vary")
	}
}

func TestBind(t *testing.T) {
	type args struct {
		UserID  int            `celery:"user_id"`
		Data    map[string]any `celery:"data"`
		Urgent  bool           `celery:"urgent,optional"`
		private int
	}
	tasks := map[string]worker.Definition{"t": {Handler: worker.Func(func(_ context.Context, a args) (any, error) {
		return []any{a.UserID, a.Data["n"], a.Urgent, a.private}, nil
	})}}
	for name, tc := range map[string]struct {
		args   []any
		kwargs map[string]any
		result string // JSON; "" means TypeError
		text   string
	}{
		"positional":       {args: []any{7, map[string]any{"n": 1.5}}, result: `[7, 1.5, false, 0]`},
		"keywords":         {kwargs: map[string]any{"data": map[string]any{"n": nil}, "user_id": 7, "urgent": true}, result: `[7, null, true, 0]`},
		"mixed":            {args: []any{7}, kwargs: map[string]any{"data": map[string]any{}}, result: `[7, null, false, 0]`},
		"missing":          {args: []any{7}, text: "t() missing required argument: 'data'"},
		"too many":         {args: []any{7, map[string]any{}, true, 1}, text: "t() takes 3 positional arguments but 4 were given"},
		"twice":            {args: []any{7, map[string]any{}}, kwargs: map[string]any{"user_id": 8}, text: "t() got multiple values for argument 'user_id'"},
		"unknown keyword":  {args: []any{7, map[string]any{}}, kwargs: map[string]any{"secret-493817": 8}, text: "t() got an unexpected keyword argument"},
		"of another type":  {args: []any{"secret-493817", map[string]any{}}, text: "t() argument 'user_id' is not of the type that the task takes"},
		"number too large": {args: []any{1e30, map[string]any{}}, text: "t() argument 'user_id' is not of the type that the task takes"},
	} {
		t.Run(name, func(t *testing.T) {
			o := workertest.Run(t, tasks, workertest.Call{Task: "t", Args: tc.args, Kwargs: tc.kwargs})
			if tc.result != "" {
				if o.State != "SUCCESS" || string(o.Result) != tc.result {
					t.Errorf("got %s %s (%v), want %s", o.State, o.Result, o.Exception, tc.result)
				}
				return
			}
			if o.State != "FAILURE" || o.Exception.Type != "TypeError" || o.Exception.Args[0] != tc.text {
				t.Errorf("got %s %+v, want TypeError %q", o.State, o.Exception, tc.text)
			}
		})
	}
}
