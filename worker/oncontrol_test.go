package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker"
)

// OnControl hears of the commands that change something, also of refused ones, and of no
// other command.
func TestOnControl(t *testing.T) {
	for _, mode := range []worker.ControlMode{worker.ControlFull, worker.ControlHarmless} {
		var mu sync.Mutex
		var heard []string
		b := start(t, worker.Config{Name: "w@h", Tasks: one(func(context.Context) (any, error) { return nil, nil }), Control: mode,
			OnControl: func(c worker.ControlChange) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, fmt.Sprintf("%s %v %v %v %s", c.Command, c.TaskIDs, c.Arguments, c.Refused, c.Answer))
			}})
		b.ask(t, "ping", `{}`)
		b.ask(t, "unknown\u001b", `{}`)
		b.ask(t, "revoke", `{"task_id": ["a", "b"], "terminate": true}`)
		b.ask(t, "revoke_by_stamped_headers", `{"headers": {"secret": "123456"}}`)
		b.ask(t, "rate_limit", `{"task_name": "nothing", "rate_limit": "1/s"}`)
		b.ask(t, "pool_grow", `{"n": []}`)
		want := []string{
			"revoke [a b] map[terminate:true] false ",
			"revoke_by_stamped_headers [] map[] false ",
			"rate_limit [] map[rate_limit:1/s task_name:nothing] true unknown task",
			"pool_grow [] map[n:[]] true TypeError",
		}
		mu.Lock()
		if mode == worker.ControlFull {
			if diff := cmp.Diff(want, heard); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		} else if len(heard) != len(want) || !strings.Contains(heard[0], "true this worker answers inspect commands only") {
			t.Errorf("limited: %q", heard)
		}
		mu.Unlock()
	}
}
