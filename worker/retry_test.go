package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

func TestRetryOptions(t *testing.T) {
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
	for _, most := range []int{0, worker.NoRetries} {
		o := workertest.Run(t, retry(&worker.RetryError{MaxRetries: &most}), workertest.Call{Task: "t"})
		if o.State != "FAILURE" || o.Exception.Type != "MaxRetriesExceededError" {
			t.Errorf("MaxRetries %d: got %+v, want FAILURE", most, o)
		}
	}
	o = workertest.Run(t, retry(&worker.RetryError{MaxRetries: new(worker.UnlimitedRetries)}), workertest.Call{Task: "t", Retries: 99})
	if o.State != "RETRY" {
		t.Errorf("UnlimitedRetries: got %+v, want RETRY", o)
	}
}
