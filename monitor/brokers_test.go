package monitor_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// A process with several brokers is ready while one of them answers, and names the others.
func TestHealthOfBrokers(t *testing.T) {
	t.Parallel()
	states := map[string]*monitor.WorkerState{"eu": new(monitor.WorkerState), "us": new(monitor.WorkerState)}
	cfg := monitor.HealthConfig{Listener: listen(t), Mails: monitor.NewMails(), Configuration: monitor.State{OK: true, Text: "valid"}}
	for _, name := range []string{"eu", "us"} {
		*states[name] = consuming()
		cfg.Brokers = append(cfg.Brokers, monitor.BrokerConfig{
			Name: name, Worker: func() monitor.WorkerState { return *states[name] },
			Letters: func() (broker.LetterCounts, time.Time, bool) {
				return broker.LetterCounts{Open: len(name)}, time.Now(), true
			},
			Ledger: func() monitor.LedgerState { return monitor.LedgerState{Writing: true} },
			Mails:  monitor.NewMails(), Runs: monitor.NewRuns(),
		})
	}
	cfg.Mails.Bounced("smtp", "hard", true)
	h := newHealth(t, cfg)
	handler := h.Handler()
	look := func() (r monitor.Report) {
		t.Helper()
		if err := json.Unmarshal(get(handler, http.MethodGet, "/health").Body.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := look()
	if r.Status != monitor.StatusHealthy || r.Queue.Text != "eu: consuming; us: consuming" || len(r.Brokers) != 2 || r.Tasks.Concurrency != 2*consuming().Concurrency {
		t.Errorf("both consume: %+v", r)
	}

	states["us"].Consuming, states["us"].LastLook = false, time.Now().Add(-90*time.Second)
	r = look()
	if r.Status != monitor.StatusDegraded || !r.Queue.OK || r.Queue.Status != monitor.PartDegraded || !strings.HasPrefix(r.Queue.Reason, "us: no answer for ") || strings.Contains(r.Queue.Reason, "eu") {
		t.Errorf("us is out: %s, %+v", r.Status, r.Queue)
	}
	if r.Brokers[0].Status != monitor.StatusHealthy || r.Brokers[1].Status != monitor.StatusUnhealthy {
		t.Errorf("us is out: %+v", r.Brokers)
	}
	if code := get(handler, http.MethodGet, "/readyz").Code; code != http.StatusOK {
		t.Errorf("/readyz with one of two brokers: %d", code)
	}
	metrics := get(handler, http.MethodGet, "/metrics").Body.String()
	for _, want := range []string{
		`evently_worker_consuming{broker="eu"} 1`, `evently_worker_consuming{broker="us"} 0`, `evently_worker_dead_letters_open{broker="us"} 2`,
		`evently_worker_ledger_up{broker="eu"} 1`, `evently_worker_bounces_total{kind="hard",matched="yes",source="smtp"} 1`, `evently_worker_codes_total{broker="eu"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}

	states["eu"].Consuming = false
	r = look()
	if r.Status != monitor.StatusUnhealthy || r.Queue.OK || r.Queue.Status != monitor.PartFailed {
		t.Errorf("both are out: %s, %+v", r.Status, r.Queue)
	}
	if code := get(handler, http.MethodGet, "/readyz").Code; code != http.StatusServiceUnavailable {
		t.Errorf("/readyz without a broker: %d", code)
	}

	states["eu"].LastLook = states["us"].LastLook // the same advice is given once
	if r = look(); r.Queue.Advice == "" || !strings.HasSuffix(r.Queue.Advice, " (eu, us)") || strings.Count(r.Queue.Advice, "(") != 1 {
		t.Errorf("advice for both: %q", r.Queue.Advice)
	}

	states["eu"].Consuming, states["us"].Consuming = true, true
	states["us"].Faults = []string{"key unacked is a string"}
	if r = look(); r.Status != monitor.StatusDegraded || r.Keys.OK || !strings.Contains(r.Keys.Reason, "us: key unacked is a string") {
		t.Errorf("a key is in the way: %s, %+v", r.Status, r.Keys)
	}
}
