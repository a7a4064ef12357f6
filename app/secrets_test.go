package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// The age of a secret outlives the worker, and Redis cannot tell the secret.
func TestSecretAges(t *testing.T) {
	s := redistest.Start(t)
	log := slog.New(slog.DiscardHandler)
	conn := s.Conn(0)
	do := func(command string, args ...any) any {
		t.Helper()
		reply, err := conn.Do(command, args...)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	key := filepath.Join(t.TempDir(), "dkim.pem")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	written := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(key, written, written); err != nil {
		t.Fatal(err)
	}
	ages := func(password string) map[string]time.Time {
		t.Helper()
		var cfg config.Config
		cfg.Relays = []config.SMTP{{Password: config.NewSecret(password)}, {URL: 2, Password: config.NewSecret("other")}}
		cfg.Mail.DKIM.KeyFiles = []string{key}
		a := newSecretAges(cfg, nil, b, log)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		all := map[string]time.Time{}
		for deadline := time.Now().Add(20 * time.Second); len(all) < 3 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			for _, one := range a.list() {
				if !one.Since.IsZero() {
					all[one.Name] = one.Since
				}
			}
		}
		cancel()
		if err := <-ended; err != nil || len(all) != 3 {
			t.Fatalf("%v, ages %v", err, all)
		}
		return all
	}
	first := ages("cAnArY-1")
	if !first["DKIM_KEY_FILE"].Equal(written) {
		t.Errorf("the file is of %s", first["DKIM_KEY_FILE"])
	}
	// As if it were long ago.
	keys := do("KEYS", "*secret.SMTP_PASSWORD*")
	if len(keys.([]any)) != 1 {
		t.Fatalf("keys are %v", keys)
	}
	name := string(keys.([]any)[0].([]byte))
	notice := string(do("GET", name).([]byte))
	if strings.Contains(notice, "cAnArY") {
		t.Errorf("Redis has %s", notice)
	}
	do("SET", name, notice[:strings.LastIndex(notice, ":")]+":1700000000}")
	if again := ages("cAnArY-1"); again["SMTP_PASSWORD"].Unix() != 1_700_000_000 || !again["SMTP_URLS[2]"].Equal(first["SMTP_URLS[2]"].Truncate(time.Second)) {
		t.Errorf("a restart has changed the ages to %v", again)
	}
	if changed := ages("cAnArY-2"); time.Since(changed["SMTP_PASSWORD"]) > time.Minute {
		t.Errorf("a new password is of %s", changed["SMTP_PASSWORD"])
	}
	// A worker with the old password during the rotation does not make it young again.
	if again := ages("cAnArY-1"); again["SMTP_PASSWORD"].Unix() != 1_700_000_000 {
		t.Errorf("the old password is now of %s", again["SMTP_PASSWORD"])
	}
}

// Runs are counted by task and outcome, also when the handler panics.
func TestCountRuns(t *testing.T) {
	runs := monitor.NewRuns()
	run := func(name string, h worker.HandlerFunc) {
		defer func() { _ = recover() }()
		_, _ = countRuns(runs)(h).Run(t.Context(), &worker.Task{ID: "i", Name: name, MaxRetries: 3})
	}
	run("a", func(context.Context, *worker.Task) (any, error) { return 1, nil })
	run("a", func(context.Context, *worker.Task) (any, error) { return nil, worker.Retry(errors.New("later")) })
	run("b", func(context.Context, *worker.Task) (any, error) { return nil, errors.New("no") })
	run("b", func(context.Context, *worker.Task) (any, error) { panic("no") })
	run("b", func(context.Context, *worker.Task) (any, error) { return nil, worker.GiveBack(errors.New("later")) })
	want := `# HELP evently_worker_panics_total Handlers of tasks and deliveries of mails that have panicked.
# TYPE evently_worker_panics_total counter
evently_worker_panics_total 1
# HELP evently_worker_task_runs_total Runs of tasks, by task and by how they ended.
# TYPE evently_worker_task_runs_total counter
evently_worker_task_runs_total{outcome="failed",task="b"} 2
evently_worker_task_runs_total{outcome="retried",task="a"} 1
evently_worker_task_runs_total{outcome="returned",task="b"} 1
evently_worker_task_runs_total{outcome="succeeded",task="a"} 1
`
	if err := testutil.CollectAndCompare(runs, strings.NewReader(want), "evently_worker_task_runs_total", "evently_worker_panics_total"); err != nil {
		t.Error(err)
	}
}
