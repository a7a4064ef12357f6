package site_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// prefix begins the names of all tasks.
const prefix = "email_workers.tasks."

// hostile is a name of a user, an event or a queue that tries to break out of a page.
const hostile = `"><img src=x onerror=alert(1)>{{.}}'`

// world is a monitor with real servers, and a worker that has done something.
type world struct {
	base     string // URL of the monitor
	pages    []web.PageInfo
	redis    *redistest.Server
	postgres *storetest.Server
	env      map[string]string
	client   *worker.Client
	relay    relay
	worker   *testkit.Process
	ids      map[string]string // of the tasks, by what became of them
}

// startWorld starts Redis, PostgreSQL, a relay, a worker and the monitor. more are further
// variables.
func startWorld(t *testing.T, more map[string]string) *world {
	t.Helper()
	w := &world{redis: redistest.Start(t), postgres: storetest.Postgres(t), ids: map[string]string{}}
	relay := smtptest.New(t, smtptest.Options{Script: w.relay.answer})
	w.env = map[string]string{
		"REDIS_URL": w.redis.URL(0), "DATABASE_URL": w.postgres.URL(), "LEDGER_KEY": "k3y-of-the-operator",
		"DEAD_LETTER_KEY": "k3y-of-the-letters", "AUDIT_KEY": "k3y-of-the-trail",
		"SMTP_HOST": relay.Host(), "SMTP_PORT": fmt.Sprint(relay.Port()), "SMTP_TLS_MODE": "none",
		"HEALTH_ADDR": "off", "MONITOR_ADDR": "127.0.0.1:5555", "TASK_EVENTS": "true", "LOG_LEVEL": "warn",
		"MAX_RETRIES": "2", "RETRY_DELAY": "1800", "SITE_URL": "https://evently.example",
	}
	for name, value := range more {
		w.env[name] = value
	}
	w.postgres.Exec(storetest.Database, fmt.Sprintf(`INSERT INTO users (id, email, username, full_name, is_active, is_verified) VALUES
		(7, 'ada@mail.example', 'ada', 'Ada Byron', true, true), (8, 'later@mail.example', 'later', %s, true, true),
		(9, 'gone@mail.example', 'gone', 'Gone', false, true)`, "'"+strings.ReplaceAll(hostile, "'", "''")+"'"))
	w.base, w.pages = startMonitor(t, w.env)
	w.startWorker(t)
	b, err := redis.New(redis.Config{Address: redis.Address{Network: "tcp", Host: w.redis.Addr}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if w.client, err = worker.NewClient(worker.ClientConfig{Backend: b}); err != nil {
		t.Fatal(err)
	}
	return w
}

// relay is what the mail server does. Others change it while it runs.
type relay struct {
	mended atomic.Bool // takes every recipient
}

// answer refuses some recipients.
func (r *relay) answer(s smtptest.Step) smtptest.Action {
	switch {
	case r.mended.Load():
	case s.Command == "RCPT" && strings.Contains(s.Line, "refused@"):
		return smtptest.Action{Reply: "550 5.1.1 no such user " + hostile}
	case s.Command == "RCPT" && strings.Contains(s.Line, "later@"):
		return smtptest.Action{Reply: "451 4.7.1 try again later"}
	}
	return smtptest.Action{}
}

// startWorker runs a worker in another process until the test ends.
func (w *world) startWorker(t *testing.T) {
	t.Helper()
	env := []string{asWorker + "=1"}
	for name, value := range w.env {
		env = append(env, name+"="+value)
	}
	w.worker = testkit.Start(t, "worker", env, os.Args[0])
}

// send publishes a task and remembers its id.
func (w *world) send(t *testing.T, name, task string, o canvas.Options, args ...any) {
	t.Helper()
	r, err := w.client.Send(t.Context(), canvas.New(prefix+task, args...).Set(o))
	if err != nil {
		t.Fatal(err)
	}
	w.ids[name] = r.ID
}

// queued publishes into the queue that the worker consumes.
var queued = canvas.Options{Queue: "email_notifications"}

// fill makes tasks of all outcomes.
func (w *world) fill(t *testing.T) {
	t.Helper()
	to := queued
	late := canvas.Options{Queue: "email_notifications", Countdown: time.Hour}
	w.send(t, "sent", "send_booking_confirmation", to, 7, map[string]any{"event_name": hostile, "booking_id": "BK-17"})
	w.send(t, "code", "send_otp_verification_email", to, map[string]any{"email": "ada@mail.example", "otp": "493817"})
	w.send(t, "retry", "send_booking_confirmation", to, 8, map[string]any{"event_name": "Jazz", "booking_id": "BK-18"})
	w.send(t, "refused", "send_welcome_email", to, map[string]any{"email": "refused@mail.example", "username": hostile})
	w.send(t, "inactive", "send_booking_confirmation", to, 9, map[string]any{"event_name": "Jazz", "booking_id": "BK-19"})
	w.send(t, "scheduled", "send_booking_confirmation", late, 7, map[string]any{"event_name": "Later", "booking_id": "BK-20"})
	w.send(t, "unknown", "no_such_task", to, 1)
	w.send(t, "waiting", "send_welcome_email", canvas.Options{Queue: "other_queue"}, map[string]any{"email": "ada@mail.example"})
}

// startMonitor serves the monitor of an environment until the test ends. It returns its URL and
// its pages.
func startMonitor(t *testing.T, env map[string]string) (string, []web.PageInfo) {
	t.Helper()
	cfg, err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	m, err := app.OpenMonitor(cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("monitor: %v", err)
		}
	})
	return "http://" + l.Addr().String(), m.Pages()
}

// get returns the status and the text of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
