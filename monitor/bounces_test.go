package monitor_test

import (
	"testing"
	"time"

	"github.com/evently/workers/monitor"
)

// Bounces that cannot be stored are told, and change neither the status nor the readiness.
func TestBounces(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		state monitor.BouncesState
		want  monitor.State
	}{
		{monitor.BouncesState{}, monitor.State{OK: true, Text: "not used"}},
		{monitor.BouncesState{Listens: "LMTP on 127.0.0.1:24"}, monitor.State{OK: true, Text: "LMTP on 127.0.0.1:24; no bounce yet"}},
		{monitor.BouncesState{Listens: "SMTP on :25", Stored: 3, Last: now.Add(-time.Minute)}, monitor.State{OK: true, Text: "SMTP on :25; stored: 3, the last one 60 s ago"}},
		{monitor.BouncesState{Listens: "SMTP on :25", Stored: 3, Last: now, Failing: now.Add(-time.Minute)}, monitor.State{Text: "no bounce can be stored for 60 s; their senders try again"}},
	} {
		l := listen(t)
		h, err := monitor.NewHealth(monitor.HealthConfig{
			Listener: l, Now: func() time.Time { return now }, Bounces: func() monitor.BouncesState { return test.state },
			Worker: func() monitor.WorkerState { return monitor.WorkerState{State: "running", Consuming: true} },
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		r := h.Report()
		r.Configuration.OK = true
		if r.Bounces.State != test.want {
			t.Errorf("%+v: %+v", test.state, r.Bounces)
		}
	}
}
