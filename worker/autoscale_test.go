package worker_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

func TestAutoscaleFollowsTheLoad(t *testing.T) {
	tasks, release := blocking()
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, PrefetchMultiplier: 1, Autoscale: worker.Autoscale{Min: 1, Max: 6}})
	for range 20 {
		b.send(t, "block")
	}
	b.eventually(t, "six run", func() bool { return b.w.Status().Running == 6 })
	var s struct {
		Autoscaler struct{ Max, Min, Current, Qty int }
	}
	if err := json.Unmarshal([]byte(b.ask(t, "stats", "{}")), &s); err != nil || s.Autoscaler.Max != 6 || s.Autoscaler.Min != 1 || s.Autoscaler.Current != 6 || s.Autoscaler.Qty < 6 {
		t.Errorf("stats: %+v, %v", s, err)
	}
	for _, method := range []string{"pool_grow", "pool_shrink"} {
		if got := b.ask(t, method, `{"n": 1}`); !strings.Contains(got, "not supported with autoscale") {
			t.Errorf("%s: %s", method, got)
		}
	}
	if got := b.ask(t, "autoscale", `{"max": 3, "min": 2}`); got != `{"ok": "autoscale now max=3 min=2"}` {
		t.Errorf("autoscale: %s", got)
	}
	if st := b.w.Status(); st.Concurrency != 3 || st.Running != 6 {
		t.Errorf("%d run on %d slots: fewer slots must cut off nothing", st.Running, st.Concurrency)
	}
	if got := b.ask(t, "autoscale", `{"max": 1, "min": 2}`); !strings.HasPrefix(got, `{"error": "ValueError(`) {
		t.Errorf("autoscale with the bounds crossed: %s", got)
	}
	release()
	b.eventually(t, "all are done", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
}

func TestAutoscaleConfig(t *testing.T) {
	for _, a := range []worker.Autoscale{{Min: 0, Max: 3}, {Min: 4, Max: 3}, {Min: 2}, {Min: -1, Max: -1}} {
		_, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Tasks: arithmetic(), Autoscale: a})
		if err == nil || !strings.Contains(err.Error(), "Autoscale") {
			t.Errorf("%+v: %v", a, err)
		}
	}
}
