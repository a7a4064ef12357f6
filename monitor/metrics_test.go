package monitor_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/evently/workers/monitor"
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
