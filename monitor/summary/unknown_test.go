package summary_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/worker/redis"
)

// When Redis has lost its data, what a worker told of its health is not known until it tells it
// again. Its trouble is not forgotten as if nothing needed attention.
func TestSummaryAfterALossOfData(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	quiet := slog.New(slog.DiscardHandler)
	b, err := redis.New(redis.Config{URL: server.URL(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	bad := report("degraded", monitor.Breaker{Name: "relay r:1", State: "open", Reason: "no answer", Since: "2026-11-30T02:00:00Z"})
	bad.Node = "worker@a"
	w, err := vitals.NewWriter(vitals.WriterConfig{
		Report: func() monitor.Report { return bad }, Board: b, Journal: b.Journal(vitals.JournalName), Version: "v1", Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	k := summary.New(summary.Config{
		Fleet: &events{
			status:  fleet.Status{Began: now.Add(-time.Hour), Joined: now.Add(-time.Hour), LastEvent: now},
			workers: []fleet.Worker{{Node: "worker@a", Online: true}, {Node: "other@b", Online: true}, {Node: "celery@p", Online: true, Python: true}},
		},
		Vitals: vitals.NewReader(b, b.Journal(vitals.JournalName)), Letters: b.Letters().Counts, Logger: quiet,
	})
	if got := strings.Join(k.Summary().Unknown, ", "); got != "the dead letters, the health of the workers" {
		t.Errorf("before the first look %q is not known", got)
	}
	look := func() *summary.Summary {
		k.Refresh(t.Context())
		return k.Summary()
	}
	told := func(s *summary.Summary) bool { return len(s.Unknown) == 0 && strings.Contains(rules(s), "breaker") }
	stop := run()
	testkit.Eventually(t, 30*time.Second, "the worker tells of its breaker", func() bool { return told(look()) })

	server.Proc.Signal(syscall.SIGSTOP) // the worker must not take its words back
	stop()
	server.Proc.Signal(syscall.SIGCONT)
	server.Do("FLUSHALL")
	s := look()
	i := slices.IndexFunc(s.Workers, func(w summary.Worker) bool { return w.Node == "worker@a" })
	if got := strings.Join(s.Unknown, ", "); got != "the health of worker@a" || s.Workers[i].Status != summary.NotKnown || s.Workers[i].Concurrency != 4 {
		t.Errorf("%q is not known, worker %+v", got, s.Workers[i])
	}
	if len(s.Breakers) != 1 || s.Breakers[0].Phase != summary.NotKnown {
		t.Errorf("breakers %+v", s.Breakers)
	}
	defer run()()
	testkit.Eventually(t, 30*time.Second, "the worker has told it again", func() bool { return told(look()) })
}
