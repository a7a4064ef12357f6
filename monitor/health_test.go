package monitor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/monitor"
)

const canary = "cAnArY-9f3"

// world is what a health server looks at.
type world struct {
	mu       sync.Mutex
	worker   monitor.WorkerState
	database error
	mail     monitor.MailState
	asked    atomic.Int64
}

func (w *world) setWorker(s monitor.WorkerState) { w.mu.Lock(); w.worker = s; w.mu.Unlock() }
func (w *world) setDatabase(err error)           { w.mu.Lock(); w.database = err; w.mu.Unlock() }

func (w *world) config(l net.Listener) monitor.HealthConfig {
	return monitor.HealthConfig{
		Listener: l,
		Worker: func() monitor.WorkerState {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.worker
		},
		Database: func(context.Context) error {
			w.asked.Add(1)
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.database
		},
		Mail: func() monitor.MailState {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.mail
		},
		Configuration: monitor.State{OK: true, Text: "valid"},
		Logger:        slog.New(slog.DiscardHandler),
	}
}

func consuming() monitor.WorkerState {
	return monitor.WorkerState{
		Node: "w@h", State: "running", Consuming: true, LastLook: time.Now(),
		Concurrency: 4, Running: 2, Waiting: 1, Received: 9, Succeeded: 5, Failed: 1, Retried: 2, DeadLetters: 3,
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newHealth(t *testing.T, cfg monitor.HealthConfig) *monitor.Health {
	t.Helper()
	h, err := monitor.NewHealth(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Database != nil {
		h.Ask(t.Context())
	}
	return h
}

func get(h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest(method, path, nil))
	return r
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	running := consuming()
	deaf, stopping, stopped := running, running, running
	deaf.Consuming, deaf.LastLook = false, time.Now().Add(-70_000*time.Second)
	stopping.Consuming, stopping.State = false, "stopping"
	stopped.Consuming, stopped.State = false, "stopped"
	for _, test := range []struct {
		name   string
		worker monitor.WorkerState
		path   string
		code   int
		has    string
	}{
		{"alive", running, "/livez", 200, `"running"`},
		{"ready", running, "/readyz", 200, `"consuming"`},
		{"healthy", running, "/health", 200, `"status": "healthy"`},
		{"part", running, "/health/queue", 200, `"consuming"`},
		{"other part", running, "/health/configuration", 200, `"valid"`},

		// A restart mends no Redis that is down.
		{"alive without Redis", deaf, "/livez", 200, `"running"`},
		{"not ready without Redis", deaf, "/readyz", 503, `no answer for 700`},
		{"unhealthy without Redis", deaf, "/health", 503, `"status": "unhealthy"`},
		{"part without Redis", deaf, "/health/queue", 503, `no answer`},
		{"worker without Redis", deaf, "/health/worker", 200, `"running"`},

		{"alive while stopping", stopping, "/livez", 200, `"stopping"`},
		{"not ready while stopping", stopping, "/readyz", 503, `the worker is stopping`},
		{"not alive when stopped", stopped, "/livez", 503, `"stopped"`},

		{"mail", running, "/health/mail", 200, `"sent a mail 700`},
		{"mail by its other name", running, "/health/email", 200, `"sent a mail 700`},
		{"unknown part lists the pages", running, "/health/nonsense", 404, "/health/worker"},
		{"unknown page lists the pages", running, "/healthz", 404, "/livez"},
		{"profiles are off", running, "/debug/pprof/heap", 404, "HEALTH_PPROF"},
		{"unknown part", running, "/health/nonsense", 404, "not found"},
		{"unknown page", running, "/", 404, "not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := new(world)
			w.setWorker(test.worker)
			w.mail.Accepted = time.Now().Add(-70_000 * time.Second)
			r := get(newHealth(t, w.config(listen(t))).Handler(), http.MethodGet, test.path)
			if r.Code != test.code || !strings.Contains(r.Body.String(), test.has) {
				t.Errorf("GET %s: %d %s, want %d with %s", test.path, r.Code, r.Body, test.code, test.has)
			}
			if r.Code != 404 && (r.Header().Get("Content-Type") != "application/json" || r.Header().Get("Cache-Control") != "no-store") {
				t.Errorf("GET %s: header %v", test.path, r.Header())
			}
		})
	}
}

func TestOnlyReading(t *testing.T) {
	t.Parallel()
	w := new(world)
	w.setWorker(consuming())
	h := newHealth(t, w.config(listen(t))).Handler()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		if r := get(h, method, "/health"); r.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, r.Code)
		}
	}
	if r := get(h, http.MethodHead, "/readyz"); r.Code != http.StatusOK {
		t.Errorf("HEAD: %d", r.Code)
	}
}

// refusal is an error with words for all.
type refusal struct{}

func (refusal) Error() string   { return canary }
func (refusal) Summary() string { return "42501; run GRANT" }

// Probes cost nothing: however often they come, the database is asked by the clock.
func TestDatabaseIsAskedByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(world)
		w.setWorker(consuming())
		var log bytes.Buffer
		l := newPipeListener()
		cfg := w.config(l)
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		h, err := monitor.NewHealth(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Report(); got.Status != monitor.StatusDegraded || got.Database.OK || got.Database.Status != monitor.PartDegraded || got.Database.Text != "not asked yet" {
			t.Errorf("before the first answer: %+v", got)
		}
		if r := get(h.Handler(), http.MethodGet, "/health/database"); r.Code != 503 {
			t.Errorf("before the first answer: %d %s", r.Code, r.Body)
		}

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		for range 1000 {
			get(h.Handler(), http.MethodGet, "/health")
		}
		if n := w.asked.Load(); n != 1 {
			t.Errorf("the database was asked %d times, want once", n)
		}

		w.setDatabase(errors.New("password " + canary + " refused"))
		time.Sleep(2*monitor.DefaultEvery + 1200*time.Millisecond) // between two questions
		got := h.Report()
		if want := (monitor.State{OK: false, Text: "no answer for 17 s"}); got.Status != monitor.StatusDegraded || got.Database.State != want {
			t.Errorf("with the database down: %+v", got)
		}
		// The worker consumes, and retries the mails that need the database.
		if r := get(h.Handler(), http.MethodGet, "/health"); r.Code != 200 || strings.Contains(r.Body.String(), canary) {
			t.Errorf("with the database down: %d %s", r.Code, r.Body)
		}
		if r := get(h.Handler(), http.MethodGet, "/health/database"); r.Code != 503 || strings.Contains(r.Body.String(), canary) {
			t.Errorf("with the database down: %d %s", r.Code, r.Body)
		}

		// A fault that says in safe words what it is, is shown with them.
		w.setDatabase(fmt.Errorf("look up %s: %w", canary, refusal{}))
		time.Sleep(monitor.DefaultEvery)
		if got, want := h.Report().Database.Text, "no recipient can be looked up for 32 s: 42501; run GRANT"; got != want {
			t.Errorf("with a refusal: %q, want %q", got, want)
		}

		w.setDatabase(nil)
		time.Sleep(monitor.DefaultEvery)
		if got := h.Report(); got.Status != monitor.StatusHealthy || !got.Database.OK {
			t.Errorf("with the database back: %+v", got)
		}
		if n := w.asked.Load(); n != 34 { // each second while it is down, from 15 s to 47 s
			t.Errorf("the database was asked %d times, want 34", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		// Each change once, not each failure.
		if text := log.String(); strings.Count(text, "database does not answer") != 1 || strings.Count(text, "database answers again") != 1 {
			t.Errorf("log:\n%s", text)
		}
	})
}

// A relay that takes no mails is told, and takes the worker out of no service:
// its mails are retried.
func TestMailFault(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	first := monitor.RelayState{Name: "a:587", Since: at.Add(-10 * time.Minute), Tried: at.Add(-20 * time.Second), Fault: "535 5.7.8 at AUTH"}
	second := monitor.RelayState{Name: "b:25", Since: at.Add(-5 * time.Minute), Tried: at.Add(-10 * time.Second), Fault: "no answer at DIAL"}
	for name, test := range map[string]struct {
		mail   monitor.MailState
		status string
		want   monitor.State
	}{
		"not asked yet": {monitor.MailState{Unasked: true}, monitor.StatusDegraded, monitor.State{Text: "not asked yet"}},
		"no mail yet":   {monitor.MailState{}, monitor.StatusHealthy, monitor.State{OK: true, Text: "no mail sent yet"}},
		"mails":         {monitor.MailState{Accepted: at.Add(-3 * time.Minute)}, monitor.StatusHealthy, monitor.State{OK: true, Text: "sent a mail 180 s ago"}},
		"wrong password": {
			monitor.MailState{Accepted: at.Add(-time.Hour), Faulty: []monitor.RelayState{first}},
			monitor.StatusDegraded, monitor.State{Text: "no mail gets out for 600 s, last tried 20 s ago: 535 5.7.8 at AUTH"},
		},
		"one of two relays": {
			monitor.MailState{Accepted: at.Add(-time.Second), Faulty: []monitor.RelayState{first}, Working: 1},
			monitor.StatusDegraded, monitor.State{Text: "mails go by the other relays: a:587 takes none for 600 s, last tried 20 s ago: 535 5.7.8 at AUTH"},
		},
		"both relays": {
			monitor.MailState{Faulty: []monitor.RelayState{first, second}},
			monitor.StatusDegraded, monitor.State{Text: "no mail gets out for 300 s: a:587 takes none for 600 s, last tried 20 s ago: 535 5.7.8 at AUTH; " +
				"b:25 takes none for 300 s, last tried 10 s ago: no answer at DIAL"},
		},
	} {
		w := new(world)
		w.setWorker(consuming())
		w.mail = test.mail
		cfg := w.config(listen(t))
		cfg.Now = func() time.Time { return at }
		h := newHealth(t, cfg)
		if got := h.Report(); got.Status != test.status || got.Mail.State != test.want {
			t.Errorf("%s: %s, %+v", name, got.Status, got.Mail)
		}
		code := map[bool]int{true: 200, false: 503}[test.want.OK]
		if r := get(h.Handler(), http.MethodGet, "/health/mail"); r.Code != code {
			t.Errorf("%s: GET /health/mail: %d", name, r.Code)
		}
		for _, path := range []string{"/health", "/readyz", "/livez"} {
			if r := get(h.Handler(), http.MethodGet, path); r.Code != 200 {
				t.Errorf("%s: GET %s: %d", name, path, r.Code)
			}
		}
	}
}

// A database that hangs holds up nothing: it has a deadline, and a stop ends it.
func TestDatabaseThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(world)
		w.setWorker(consuming())
		cfg := w.config(newPipeListener())
		cfg.Database = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		h := newHealth(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(monitor.DefaultTimeout + time.Second)
		if got := h.Report(); got.Status != monitor.StatusDegraded {
			t.Errorf("after the deadline: %+v", got)
		}
		time.Sleep(monitor.DefaultEvery - time.Second) // in the middle of the next question
		before := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(before) > 0 {
			t.Errorf("Run returned %v after %v", err, time.Since(before))
		}
	})
}

// The real thing: HTTP over TCP, and a stop that closes the port.
func TestRun(t *testing.T) {
	t.Parallel()
	w := new(world)
	w.setWorker(consuming())
	l := listen(t)
	h := newHealth(t, w.config(l))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /health: %s, %v", resp.Status, err)
	}
	var got earlierReport // new fields leave the ones of before alone
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	want := earlierReport{
		Status: monitor.StatusHealthy, Service: "email_workers", Node: "w@h",
		Worker: monitor.State{OK: true, Text: "running"}, Queue: monitor.State{OK: true, Text: "consuming"},
		Keys:          monitor.State{OK: true, Text: "no key has a wrong type"},
		Mail:          monitor.State{OK: true, Text: "no mail sent yet"},
		Held:          monitor.State{OK: true, Text: "no tasks are held"},
		History:       monitor.State{OK: true, Text: "not used"},
		DeadLetters:   monitor.State{OK: true, Text: "not counted"},
		Bounces:       monitor.State{OK: true, Text: "not used"},
		Breakers:      []monitor.Breaker{},
		Configuration: monitor.State{OK: true, Text: "valid"},
		Tasks:         monitor.Tasks{Concurrency: 4, Running: 2, Waiting: 1, Received: 9, Succeeded: 5, Failed: 1, Retried: 2, DeadLetters: 3},
	}
	if _, err := time.Parse(time.RFC3339, got.Timestamp); err != nil {
		t.Errorf("timestamp: %v", err)
	}
	got.Timestamp, got.UptimeSeconds, got.Database = "", 0, monitor.State{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := client.Get("http://" + l.Addr().String() + "/health"); err == nil {
		t.Error("the port is still open after Run")
	}
}

// earlierReport is the report of before parts had a status.
type earlierReport struct {
	Status        string            `json:"status"`
	Service       string            `json:"service"`
	Node          string            `json:"node"`
	Timestamp     string            `json:"timestamp"`
	UptimeSeconds int64             `json:"uptime_seconds"`
	Worker        monitor.State     `json:"worker"`
	Queue         monitor.State     `json:"queue"`
	Keys          monitor.State     `json:"keys"`
	Database      monitor.State     `json:"database"`
	Mail          monitor.State     `json:"mail"`
	Held          monitor.State     `json:"held"`
	History       monitor.State     `json:"history"`
	DeadLetters   monitor.State     `json:"dead_letters"`
	Bounces       monitor.State     `json:"bounces"`
	Configuration monitor.State     `json:"configuration"`
	Breakers      []monitor.Breaker `json:"breakers"`
	Tasks         monitor.Tasks     `json:"tasks"`
}

// A port that is lost is an error of Run.
func TestRunWithoutAPort(t *testing.T) {
	t.Parallel()
	w := new(world)
	l := listen(t)
	l.Close()
	if err := newHealth(t, w.config(l)).Run(t.Context()); err == nil {
		t.Error("Run: no error from a listener that is closed")
	}
}

func TestNewHealthChecks(t *testing.T) {
	t.Parallel()
	l := listen(t)
	worker := func() monitor.WorkerState { return monitor.WorkerState{} }
	for _, cfg := range []monitor.HealthConfig{
		{Worker: worker}, {Listener: l}, {Listener: l, Worker: worker, Every: -1}, {Listener: l, Worker: worker, Timeout: -1},
		{Listener: l, Worker: worker, Profiles: "on"},
	} {
		if _, err := monitor.NewHealth(cfg); err == nil {
			t.Errorf("NewHealth(%+v): no error", cfg)
		}
	}
}

// pipeListener is a listener without clients, for tests inside of a
// bubble of synctest, where sockets would not be noticed.
type pipeListener struct {
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener { return &pipeListener{closed: make(chan struct{})} }

func (l *pipeListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// A key in the way degrades the worker, which consumes, and the report says how to mend it.
func TestKeysInTheWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	w := monitor.WorkerState{State: "running", Consuming: true, Faults: []string{"the key unacked_mutex is no string"}}
	h, err := monitor.NewHealth(monitor.HealthConfig{
		Listener: listener, Worker: func() monitor.WorkerState { return w }, Configuration: monitor.State{OK: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Report(); r.Status != monitor.StatusDegraded || r.Keys.OK || r.Keys.Text != w.Faults[0] || !r.Queue.OK {
		t.Errorf("report is %s, keys %+v, queue %+v", r.Status, r.Keys, r.Queue)
	}
}

// While a circuit breaker is open, the health tells why, since when, when the next probe is
// and that the tasks are held.
func TestOutage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	h := newHealth(t, monitor.HealthConfig{
		Listener: listen(t), Worker: consuming, Now: func() time.Time { return at },
		Database: func(context.Context) error { return nil },
		Mail: func() monitor.MailState {
			return monitor.MailState{
				Accepted: at.Add(-time.Hour), Working: 1, Retried: []string{"b:25"},
				Faulty: []monitor.RelayState{{Name: "a:587", Since: at.Add(-10 * time.Minute), Next: at.Add(11 * time.Second), Fault: "535 5.7.8 at AUTH"}},
			}
		},
		Breakers: func() []monitor.BreakerState {
			return []monitor.BreakerState{
				{Name: "relay a:587", Phase: "open", Reason: "535 5.7.8 at AUTH", Since: at.Add(-10 * time.Minute), Next: at.Add(11 * time.Second)},
				{Name: "relay b:25", Phase: "half-open", Reason: "no answer", Since: at.Add(-time.Minute)},
				{Name: monitor.DatabaseBreaker, Phase: "probing", Reason: "no answer in time", Since: at.Add(-30 * time.Second), Next: at},
			}
		},
		Held: func() monitor.HeldTasks {
			return monitor.HeldTasks{Tasks: 4, Cause: monitor.DatabaseBreaker, Waiting: 1800}
		},
	})
	r := h.Report()
	if r.Status != monitor.StatusDegraded {
		t.Errorf("%+v", r)
	}
	if r.Held.Advice != "correct the cause of the outage and leave the queues alone: no attempt is spent, and all are sent then" {
		t.Errorf("the advice of what is held: %q", r.Held.Advice)
	}
	for name, texts := range map[string][2]string{
		"mail":     {r.Mail.Text, "mails go by the other relays: a:587 takes none for 600 s, next probe in 11 s: 535 5.7.8 at AUTH"},
		"database": {r.Database.Text, "no recipient can be looked up for 30 s, being probed: no answer in time"},
		"held":     {r.Held.Text, "mail tasks are held: 1800 waiting, until a probe of the database succeeds"},
	} {
		if texts[0] != texts[1] {
			t.Errorf("%s: %q, want %q", name, texts[0], texts[1])
		}
	}
	if len(r.Breakers) != 3 || r.Breakers[0] != (monitor.Breaker{
		Name: "relay a:587", State: "open", Reason: "535 5.7.8 at AUTH", Since: "2026-11-25T11:50:00Z", NextProbe: "2026-11-25T12:00:11Z",
	}) {
		t.Errorf("%+v", r.Breakers)
	}
}

// A history that is off, or behind, is told, and changes neither the status nor the readiness.
func TestHistoryInHealth(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		state monitor.LedgerState
		ok    bool
		text  string
	}{
		{monitor.LedgerState{Writing: true}, true, "on"},
		{monitor.LedgerState{Writing: true, Waiting: 3, Lag: 2 * time.Second}, true, "on; events that wait: 3, the oldest for 2 s"},
		{monitor.LedgerState{Writing: true, Waiting: 300, Lag: 2 * time.Minute, Dropped: 4}, false, "history is behind; events that wait: 300, the oldest for 120 s; events lost: 4"},
		{monitor.LedgerState{Off: true, Reason: "off, by LEDGER_DATABASE_URL"}, true, "off, by LEDGER_DATABASE_URL"},
		{monitor.LedgerState{Reason: "history is off: no rights", Since: now.Add(-time.Minute)}, false, "history is off: no rights; since 60 s; no mail waits for it"},
		{monitor.LedgerState{Writing: true, Stray: 7}, true, "on; rows outside of the partitions: 7, see docs/ledger.md"},
	} {
		h := newHealth(t, monitor.HealthConfig{
			Listener: listen(t), Worker: consuming, Now: func() time.Time { return now },
			Configuration: monitor.State{OK: true},
			Ledger:        func() monitor.LedgerState { return test.state },
		})
		r := h.Report()
		if want := (monitor.State{OK: test.ok, Text: test.text}); r.History.State != want || r.Status != monitor.StatusHealthy {
			t.Errorf("%+v: %+v and %s, want %+v", test.state, r.History, r.Status, want)
		}
		want := http.StatusOK
		if !test.ok {
			want = http.StatusServiceUnavailable
		}
		if code := get(h.Handler(), http.MethodGet, "/health/history").Code; code != want {
			t.Errorf("%+v: /health/history is %d", test.state, code)
		}
		if code := get(h.Handler(), http.MethodGet, "/readyz").Code; code != http.StatusOK {
			t.Errorf("%+v: /readyz is %d", test.state, code)
		}
	}
}
