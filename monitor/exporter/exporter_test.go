package exporter_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/protocol"
)

var _ fleet.Observer = (*exporter.Exporter)(nil)

// recorded returns the events of testdata, each a JSON text.
func recorded(t testing.TB) []json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var events []json.RawMessage
	if err := json.Unmarshal(text, &events); err != nil {
		t.Fatal(err)
	}
	return events
}

// feed gives events to a new State that x observes.
func feed(t testing.TB, x *exporter.Exporter, now time.Time, events []json.RawMessage) {
	t.Helper()
	s, err := fleet.New(fleet.Config{Observers: []fleet.Observer{x}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		raw, err := protocol.AppendEvents(nil, "task.sent", "w@h", "tag", e)
		if err != nil {
			t.Fatal(err)
		}
		s.Take(raw)
	}
	if status := s.Status(); int(status.Events) != len(events) {
		t.Fatalf("%d events, %d of them malformed, want %d", status.Events, status.Malformed, len(events))
	}
}

func scrape(t testing.TB, x *exporter.Exporter) string {
	t.Helper()
	w := httptest.NewRecorder()
	x.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("status %d, %s", w.Code, w.Header())
	}
	return w.Body.String()
}

// series returns the lines of an exposition without those of skip, sorted.
func series(text string, skip ...string) []string {
	var lines []string
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		line := scanner.Text()
		if !slices.ContainsFunc(skip, func(s string) bool { return strings.Contains(line, s) }) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// Of the same events the series are those of the real celery-exporter, byte by byte. See
// testdata/record.py.
func TestRecorded(t *testing.T) {
	end := time.Unix(1_800_001_000, 0)
	x, err := exporter.New(exporter.Config{Now: func() time.Time { return end }})
	if err != nil {
		t.Fatal(err)
	}
	feed(t, x, end, recorded(t))
	file, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := series(string(file))
	got := series(scrape(t, x), "evently_")
	if len(want) < 300 {
		t.Fatalf("only %d lines were recorded", len(want))
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(l string) bool { _, ok := slices.BinarySearch(got, l); return ok })
	added := slices.DeleteFunc(slices.Clone(got), func(l string) bool { _, ok := slices.BinarySearch(want, l); return ok })
	if len(missing)+len(added) > 0 {
		t.Errorf("missing:\n%s\nadded:\n%s", strings.Join(missing, "\n"), strings.Join(added, "\n"))
	}
}

// The dashboards and alerts of celery-mixin, and grafana.com 17508 and 17509, use these.
func TestNamesOfTheMixin(t *testing.T) {
	end := time.Unix(1_800_001_000, 0)
	x, err := exporter.New(exporter.Config{
		Now:    func() time.Time { return end },
		Depths: func(context.Context) (map[string]int, error) { return map[string]int{"mail": 7}, nil },
		Consumers: func() []exporter.Consumer {
			return []exporter.Consumer{{Node: "a@h", Queues: []string{"mail", "bulk"}, Processes: 4}, {Node: "b@h", Queues: []string{"mail"}, Processes: 2},
				{Node: "c@h", Queues: []string{"mail", "old"}, Processes: 8, Silent: true}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	feed(t, x, end, recorded(t))
	text := scrape(t, x)
	for _, name := range []string{
		"celery_task_failed_total", "celery_task_received_total", "celery_task_rejected_total", "celery_task_retried_total", "celery_task_revoked_total",
		"celery_task_sent_total", "celery_task_succeeded_total", "celery_task_runtime_bucket", "celery_task_runtime_count", "celery_task_runtime_sum",
		"celery_worker_up", "celery_worker_tasks_active", "celery_queue_length",
	} {
		if !regexp.MustCompile(`(?m)^` + name + `\{`).MatchString(text) {
			t.Errorf("no series %s", name)
		}
	}
	for _, line := range []string{
		`celery_queue_length{queue_name="mail"} 7.0`, `celery_active_worker_count{queue_name="mail"} 2.0`, `celery_active_process_count{queue_name="mail"} 6.0`,
		`celery_active_worker_count{queue_name="old"} 0.0`, `celery_active_process_count{queue_name="old"} 0.0`, // all its workers are gone
		`celery_active_worker_count{queue_name="bulk"} 1.0`, `celery_active_process_count{queue_name="bulk"} 4.0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, `celery_queue_length{queue_name="bulk"}`) {
		t.Error("a queue without a known length has one")
	}
}

// A worker is down after 5 minutes of silence, and its series are gone after 10. Workers of
// one host share a label, and are up while one is.
func TestSilence(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	x, err := exporter.New(exporter.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := fleet.New(fleet.Config{Observers: []fleet.Observer{x}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	send := func(kind, node, members string) {
		body := fmt.Sprintf(`{"type": %q, "hostname": %q, "timestamp": %d, "clock": 1%s}`, kind, node, now.Unix(), members)
		raw, err := protocol.AppendEvents(nil, "worker.x", "h", "tag", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		s.Take(raw)
	}
	want := func(when, line string, there bool) {
		t.Helper()
		if got := strings.Contains(scrape(t, x), line); got != there {
			t.Errorf("%s: %s is there: %v\n%s", when, line, got, scrape(t, x))
		}
	}
	send("worker-heartbeat", "a@h", `, "active": 2`)
	send("worker-heartbeat", "b@h", `, "active": 3`)
	send("task-received", "a@h", `, "uuid": "x", "name": "n"`)
	want("two workers", `celery_worker_tasks_active{hostname="h"} 5.0`, true)
	send("worker-offline", "a@h", "")
	want("one has left", `celery_worker_up{hostname="h"} 1.0`, true)
	want("one has left", `celery_worker_tasks_active{hostname="h"} 3.0`, true)
	now = now.Add(299 * time.Second)
	want("before the timeout", `celery_worker_up{hostname="h"} 1.0`, true)
	now = now.Add(2 * time.Second)
	want("after the timeout", `celery_worker_up{hostname="h"} 0.0`, true)
	want("after the timeout", `celery_task_received_total{hostname="h",name="n",queue_name="celery"} 1.0`, true)
	now = now.Add(300 * time.Second)
	want("after ten minutes", `hostname="h"`, false)
}

// Tasks that end before the first scrape have the queue of their worker, too. One look
// at the workers is enough for all tasks of a known worker.
func TestQueueBeforeTheFirstScrape(t *testing.T) {
	now, looks := time.Unix(1_800_000_000, 0), 0
	x, err := exporter.New(exporter.Config{
		Queue: "mail", Now: func() time.Time { return now },
		Consumers: func() []exporter.Consumer {
			looks++
			return []exporter.Consumer{{Node: "a@h", Queues: []string{"bulk"}}, {Node: "b@h", Queues: []string{"bulk", "mail"}}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	send := func(node string, times int) {
		var events []json.RawMessage
		for i := range times {
			events = append(events, json.RawMessage(fmt.Sprintf(`{"type": "task-received", "uuid": "%s-%d", "name": "n", "hostname": %q, "timestamp": 1800000000, "clock": 1}`, node, i, node)))
		}
		feed(t, x, now, events)
	}
	send("a@h", 10)
	send("b@h", 10)
	if looks != 1 {
		t.Errorf("%d looks for workers whose queues are known, want 1", looks)
	}
	send("silent@h", 10)
	now = now.Add(time.Minute)
	send("silent@h", 10)
	if looks != 2 {
		t.Errorf("%d looks at the workers, want one more a minute later", looks)
	}
	text := scrape(t, x)
	for queue, count := range map[string]int{"bulk": 10, "mail": 30} {
		if line := fmt.Sprintf(`celery_task_received_total{hostname="h",name="n",queue_name=%q} %d.0`, queue, count); !strings.Contains(text, line) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
}

// Hostile names do not make series without end, and cannot break the format.
func TestBounds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	x, err := exporter.New(exporter.Config{Series: 20, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var events []json.RawMessage
	for i := range 500 {
		name, _ := json.Marshal(fmt.Sprintf("evil\n# TYPE x counter\nx{a=\"%d", i))
		events = append(events, json.RawMessage(fmt.Sprintf(`{"type": "task-failed", "uuid": "%d", "name": %s, "hostname": "w@h%d", "timestamp": 1800000000, "clock": 1, "exception": "E%d()"}`, i, name, i%7, i)))
	}
	feed(t, x, now, events)
	lines := series(scrape(t, x))
	if len(lines) > 400 {
		t.Errorf("%d lines", len(lines))
	}
	shape := regexp.MustCompile(`^(# (HELP|TYPE) \w+ .*|\w+(\{(\w+="([^"\\]|\\.)*",?)*\})? [0-9.e+]+)$`)
	total := map[string]int{}
	for _, line := range lines {
		if !shape.MatchString(line) {
			t.Errorf("line %q", line)
		}
		if strings.HasPrefix(line, "celery_task_failed_total") {
			total[line[strings.LastIndexByte(line, ' ')+1:]]++
		}
	}
	if !slices.Contains(lines, "evently_exporter_folded_events_total 480.0") {
		t.Errorf("folded events are not counted: %v", slices.Collect(maps.Keys(total)))
	}
}

// The health of the exporter is that of its broker, without the address.
func TestHealth(t *testing.T) {
	var fault error
	x, err := exporter.New(exporter.Config{Healthy: func(context.Context) error { return fault }})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(x.Handler())
	defer server.Close()
	for status, err := range map[int]error{200: nil, 500: errors.New("redis://:secret@h")} {
		fault = err
		reply, err := http.Get(server.URL + "/health")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(reply.Body)
		reply.Body.Close()
		if reply.StatusCode != status || strings.Contains(string(body), "secret") {
			t.Errorf("status %d, %s; want %d", reply.StatusCode, body, status)
		}
	}
}
