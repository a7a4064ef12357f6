package monitor_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

func TestMetrics(t *testing.T) {
	state := consuming()
	state.MinConcurrency, state.MaxConcurrency, state.LastLook = 2, 8, time.Unix(1_800_000_000, 500_000_000)
	h := newHealth(t, monitor.HealthConfig{
		Listener: listen(t), Worker: func() monitor.WorkerState { return state },
		Mail: func() monitor.MailState {
			return monitor.MailState{Faulty: []monitor.RelayState{{Fault: "it is full"}}}
		},
	})
	server := httptest.NewServer(h.Handler())
	defer server.Close()
	text := func() string {
		t.Helper()
		reply, err := http.Get(server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("status %d, %v", reply.StatusCode, err)
		}
		return string(body)
	}
	got := text()
	for _, want := range []string{
		"evently_worker_consuming 1", "evently_worker_slots 4", "evently_worker_slots_min 2", "evently_worker_slots_max 8",
		"evently_worker_tasks_running 2", "evently_worker_tasks_waiting 1", "evently_worker_messages_received_total 9",
		`evently_worker_tasks_total{outcome="succeeded"} 5`, `evently_worker_tasks_total{outcome="retried"} 2`, "evently_worker_dead_letters_total 3",
		"evently_worker_last_look_timestamp_seconds 1.8000000005e+09", "evently_worker_mail_faulty 1", "evently_worker_mail_accepted_timestamp_seconds 0",
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%q is missing", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	state.Consuming = false
	if got := text(); !strings.Contains(got, "\nevently_worker_consuming 0") {
		t.Error("the figures are those of before")
	}
}

// Breakers, mails and the history have metrics by the conventions of Prometheus.
func TestMetricsOfDelivery(t *testing.T) {
	mails := monitor.NewMails()
	second := time.Second
	for _, o := range []monitor.MailOutcome{
		{Kind: "otp", State: "accepted", Final: true, Code: true, Whole: 2 * second, Phases: []monitor.MailPhase{{Name: "connect", Took: 30 * time.Millisecond}}},
		{Kind: "otp", State: "accepted", Final: true, Code: true, Whole: 11 * second},
		{Kind: "otp", State: "deferred", Class: "greylisted", Code: true, Whole: second},
		{Kind: "otp", State: "rejected", Class: "address", Final: true, Code: true, Whole: second},
		{Kind: "otp", State: "expired", Final: true, Code: true, Whole: 600 * second},
		{Kind: "welcome", State: "accepted", Final: true, Whole: second},
	} {
		mails.Ended(o)
	}
	mails.Limited("domain", 3*second)
	h := newHealth(t, monitor.HealthConfig{
		Listener: listen(t), Worker: consuming, Mails: mails,
		Breakers: func() []monitor.BreakerState {
			return []monitor.BreakerState{{Name: "database", Phase: "closed", Opened: 2, Probes: 7}, {Name: "relay a:587", Phase: "half-open"}}
		},
		Letters: func() (broker.LetterCounts, time.Time, bool) {
			return broker.LetterCounts{Open: 6, Closed: 8, Dropped: 9, Aged: 10}, time.Now(), true
		},
		Held: func() monitor.HeldTasks { return monitor.HeldTasks{Tasks: 5, Cause: "relay a:587"} },
		Ledger: func() monitor.LedgerState {
			return monitor.LedgerState{Writing: true, Waiting: 12, Lag: 1500 * time.Millisecond, Dropped: 3, Written: 40, Skipped: 1, Discarded: 2, Stray: 5}
		},
	})
	reply := get(h.Handler(), http.MethodGet, "/metrics")
	code, text := reply.Code, reply.Body.String()
	want := "open: 6; lost because there were more than DEAD_LETTERS_MAX: 9; lost because they were too old: 10"
	if r := h.Report(); r.DeadLetters.State != (monitor.State{OK: true, Text: want}) {
		t.Errorf("dead letters are %+v", r.DeadLetters)
	}
	for _, want := range []string{
		`evently_worker_breaker_state{breaker="database",state="closed"} 1`,
		`evently_worker_breaker_state{breaker="database",state="open"} 0`,
		`evently_worker_breaker_state{breaker="relay a:587",state="half-open"} 1`,
		`evently_worker_breaker_opened_total{breaker="database"} 2`,
		`evently_worker_breaker_probes_total{breaker="database"} 7`,
		`evently_worker_held_task_kinds 5`,
		`evently_worker_mails_total{class="",kind="otp",state="accepted"} 2`,
		`evently_worker_mails_total{class="greylisted",kind="otp",state="deferred"} 1`,
		`evently_worker_mail_phase_duration_seconds_bucket{phase="connect",le="0.05"} 1`,
		`evently_worker_mail_accepted_duration_seconds_count{kind="otp"} 2`,
		`evently_worker_mail_limit_wait_seconds_sum{limit="domain"} 3`,
		`evently_worker_codes_total 3`,
		`evently_worker_codes_in_time_total 1`,
		`evently_worker_ledger_waiting_events 12`,
		`evently_worker_ledger_lag_seconds 1.5`,
		`evently_worker_ledger_dropped_events_total 3`,
		`evently_worker_ledger_up 1`,
		`evently_worker_ledger_written_events_total 40`,
		`evently_worker_ledger_skipped_events_total 1`,
		`evently_worker_ledger_discarded_events_total 2`,
		`evently_worker_ledger_stray_rows 5`,
		`evently_worker_dead_letters_open 6`,
		`evently_worker_dead_letters_closed 8`,
		`evently_worker_dead_letters_dropped_total 9`,
		`evently_worker_dead_letters_aged_total 10`,
	} {
		if code != http.StatusOK || !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics: %d, without %s", code, want)
		}
	}
}

// Numbers that all workers share are absent until this one has seen them. After a zero they would
// look like new dead letters and new losses, and a worker that starts would raise alerts.
func TestSharedNumbersAtTheStart(t *testing.T) {
	t.Parallel()
	var known atomic.Bool
	h := newHealth(t, monitor.HealthConfig{
		Listener: listen(t), Worker: func() monitor.WorkerState { return consuming() },
		Letters: func() (broker.LetterCounts, time.Time, bool) {
			if !known.Load() {
				return broker.LetterCounts{}, time.Time{}, false
			}
			return broker.LetterCounts{Open: 40, Dropped: 9, Aged: 10}, time.Now(), true
		},
		Ledger: func() monitor.LedgerState {
			if !known.Load() {
				return monitor.LedgerState{Unknown: true}
			}
			return monitor.LedgerState{Writing: true, Dropped: 3}
		},
	}).Handler()
	shared := []string{"dead_letters_open", "dead_letters_closed", "dead_letters_dropped_total", "dead_letters_aged_total", "ledger_dropped_events_total", "ledger_lag_seconds", "ledger_waiting_events"}
	for _, there := range []bool{false, true} {
		known.Store(there)
		text := get(h, http.MethodGet, "/metrics").Body.String()
		for _, name := range shared {
			if strings.Contains(text, "\nevently_worker_"+name+" ") != there {
				t.Errorf("known: %v, and %s is there: %v", there, name, !there)
			}
		}
		if !strings.Contains(text, "\nevently_worker_ledger_up ") {
			t.Error("the state of the history is absent")
		}
		if report := get(h, http.MethodGet, "/health/dead_letters").Body.String(); !strings.Contains(report, `"status": "ok"`) {
			t.Errorf("known: %v, and the part is %s", there, report)
		}
	}
	if report := get(h, http.MethodGet, "/health/history").Body.String(); strings.Contains(report, "oldest for") {
		t.Errorf("no event waits, and the oldest has an age: %s", report)
	}
}
