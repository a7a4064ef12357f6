package house_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/evently/workers/events"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker/broker"
)

// The table of metrics in docs/operations.md is made from the code, and the names follow the
// conventions of Prometheus.
func TestMetricsTable(t *testing.T) {
	families := gatherAll(t)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	const path, first, last = "docs/operations.md", "<!-- metrics: make documents -->\n", "<!-- end of metrics -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), first)
	_, after, ended := strings.Cut(rest, last)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	want := before + first + "\n" + metricsTable(families) + "\n" + last + after
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatal("the table of metrics in docs/operations.md is not that of the code; run make documents")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func metricsTable(families []*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "evently_") {
			continue // of Go and the process
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), strings.ReplaceAll(f.GetHelp(), "|", `\|`))
	}
	return b.String()
}

// watchOfOneQueue returns a watch that has looked at an empty queue.
func watchOfOneQueue(t *testing.T) *watch.Watch {
	t.Helper()
	w := watch.New(watch.Config{Source: oneQueue{}, Queues: []string{"q"}})
	w.Look(t.Context())
	return w
}

// oneQueue is an empty queue.
type oneQueue struct{}

func (oneQueue) Lists(...string) []broker.QueueList { return []broker.QueueList{{Queue: "q"}} }

func (oneQueue) Look(context.Context, []broker.ListLook) (broker.QueueLook, error) {
	return broker.QueueLook{At: time.Now(), Lists: make([]broker.ListState, 1)}, nil
}

func (oneQueue) Bound(context.Context, string) ([]string, string, error) { return nil, "", nil }

// gatherAll returns one series at least of each metric of the health server.
func gatherAll(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	mails, runs := monitor.NewMails(), monitor.NewRuns()
	mails.Ended(monitor.MailOutcome{Kind: "otp", State: "accepted", Final: true, Code: true, Phases: []monitor.MailPhase{{Name: "connect", Took: time.Second}}})
	mails.Limited("domain", time.Second)
	mails.Bounced("smtp", "failed", true)
	runs.Ended("task", "succeeded", time.Second)
	h, err := monitor.NewHealth(monitor.HealthConfig{
		Listener: listener, Worker: func() monitor.WorkerState { return monitor.WorkerState{State: "running"} },
		Database: func(context.Context) error { return nil }, Mail: func() monitor.MailState { return monitor.MailState{} },
		Breakers: func() []monitor.BreakerState { return []monitor.BreakerState{{Name: "database", Phase: "closed"}} },
		Held:     func() monitor.HeldTasks { return monitor.HeldTasks{} },
		Ledger:   func() monitor.LedgerState { return monitor.LedgerState{Writing: true} },
		Letters:  func() (broker.LetterCounts, time.Time, bool) { return broker.LetterCounts{}, time.Now(), true },
		Common:   []prometheus.Collector{folder.Fixed(nil)},
		Secrets: func() []monitor.SecretState {
			return []monitor.SecretState{{Name: "SMTP_PASSWORD", Since: time.Unix(1, 0)}}
		},
		Suppressions: func() monitor.SuppressionCounts { return monitor.SuppressionCounts{"hard": 1} },
		Spans:        func() monitor.SpanCounts { return monitor.SpanCounts{} },
		Collectors:   []prometheus.Collector{watchOfOneQueue(t).Collector(), events.NewMetrics()},
		Mails:        mails, Runs: runs, Build: monitor.Build{Version: "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	families, err := h.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families
}
