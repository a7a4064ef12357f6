package shard

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

// Remote control reaches the audit trail, the last command too, and never waits for it.
func TestAuditor(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, err := redis.New(redis.Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	trail, err := audit.New(audit.TrailConfig{Journal: b.Journal("audit"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Name: "celery@h", Tasks: map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil })}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &Shard{Name: "eu", Worker: w}
	s.Audit(trail, false, slog.New(slog.DiscardHandler))
	a := s.Auditor
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	a.Changed(worker.ControlChange{Command: "revoke", TaskIDs: []string{"t-1"}, Arguments: map[string]string{"terminate": "true"}})
	rows := func() []audit.Row {
		found, err := a.trail.List(t.Context(), audit.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return found.Rows
	}
	for end := time.Now().Add(30 * time.Second); len(rows()) == 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	a.Changed(worker.ControlChange{Command: "shutdown"})
	a.Changed(worker.ControlChange{Command: "pool_grow", Refused: true, Answer: "no room for ada@example.com"})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var got []string
	for _, r := range rows() {
		got = append(got, strings.Join([]string{r.Actor, r.From, r.Action, strings.Join(r.IDs, " "), r.Details, r.Outcome}, "|"))
	}
	want := []string{
		"node:celery@h|remote control, broker eu|control.pool_grow|||refused: no room for a***@example.com",
		"node:celery@h|remote control, broker eu|control.shutdown|||done",
		`node:celery@h|remote control, broker eu|control.revoke|t-1|{"terminate":"true"}|done`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	server.Stop() // nothing reads the changes, and nothing waits
	defer server.Continue()
	begin := time.Now()
	for range auditBacklog + 7 {
		a.Changed(worker.ControlChange{Command: "shutdown"})
	}
	if took := time.Since(begin); took > 10*time.Second || a.lost.Load() != 7 {
		t.Errorf("%s for a full backlog, %d lost", took, a.lost.Load())
	}
}
