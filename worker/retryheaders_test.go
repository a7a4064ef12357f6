package worker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// An attempt passes headers to the next one.
func TestRetryHeaders(t *testing.T) {
	header := func(name, value string) protocol.Header {
		return protocol.Header{Name: name, Value: protocol.Raw(value)}
	}
	came := []protocol.Header{header("trace", `"abc"`), header("seen", `1`)}
	for name, tc := range map[string]struct {
		err  error
		want []protocol.Header // nil: no retry, but a FAILURE
		dead string
	}{
		"none":         {err: worker.Retry(nil), want: came},
		"replaced":     {err: &worker.RetryError{Headers: []protocol.Header{header("seen", `2.0`)}}, want: []protocol.Header{header("trace", `"abc"`), header("seen", `2.0`)}},
		"added, free":  {err: &worker.RetryError{Free: true, Headers: []protocol.Header{header("more", `"ü"`)}}, want: append(came[:2:2], header("more", `"\u00fc"`))},
		"Celery's own": {err: &worker.RetryError{Headers: []protocol.Header{header("eta", `null`)}}, dead: "retry cannot be published"},
		"not JSON":     {err: &worker.RetryError{Headers: []protocol.Header{header("x", `nonsense`)}}, dead: "retry cannot be published"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := ""
			d := worker.Definition{Handler: do(func(ctx context.Context) (any, error) {
				task, ok := worker.TaskFrom(ctx)
				if !ok {
					return nil, errors.New("no task in the context")
				}
				seen = string(task.Message.Header("seen"))
				return nil, tc.err
			})}
			o := workertest.Run(t, map[string]worker.Definition{"t": d}, workertest.Call{Task: "t", Headers: came})
			if seen != "1" {
				t.Errorf("the handler saw the header %q", seen)
			}
			if o.DeadLetter != tc.dead {
				t.Errorf("dead letter %q, want %q", o.DeadLetter, tc.dead)
			}
			if tc.want == nil {
				if o.State != protocol.StateFailure || o.Retry != nil {
					t.Errorf("state %s, retry %v", o.State, o.Retry)
				}
				return
			}
			if o.Retry == nil {
				t.Fatalf("state %s, no retry", o.State)
			}
			if diff := cmp.Diff(tc.want, o.Retry.Headers); diff != "" {
				t.Errorf("headers of the retry (-want +got):\n%s", diff)
			}
		})
	}
}
