package vitals_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// process is a process whose report the test changes.
type process struct {
	report atomic.Pointer[monitor.Report]
	looks  atomic.Int32 // of the writer at the report
	broker *redis.Broker
	stop   func()
}

func healthy(node string) monitor.Report {
	ok := monitor.Part{State: monitor.State{OK: true, Text: "fine"}}
	return monitor.Report{
		Status: monitor.StatusHealthy, Node: node, Worker: ok, Queue: ok, Keys: ok, Database: ok, Mail: ok, Held: ok,
		History: ok, DeadLetters: ok, Bounces: ok, Configuration: ok,
	}
}

func open(t *testing.T, server *redistest.Server) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func journal(b *redis.Broker) vitals.Journal {
	return b.Journal(vitals.JournalName).Capped(vitals.JournalMax)
}

// run starts a process. secret is the digest of its password.
func run(t *testing.T, server *redistest.Server, node, secret string) *process {
	t.Helper()
	p := &process{broker: open(t, server)}
	r := healthy(node)
	p.report.Store(&r)
	w, err := vitals.NewWriter(vitals.WriterConfig{
		Report: func() monitor.Report { p.looks.Add(1); return *p.report.Load() }, Board: p.broker, Journal: journal(p.broker),
		Version: "1.2", VisibilityTimeout: time.Hour,
		Ages: func() []monitor.SecretState {
			return []monitor.SecretState{{Name: "REDIS_PASSWORD", Since: time.Unix(5, 0)}}
		},
		Logger: slog.New(slog.DiscardHandler),
		Settings: func(context.Context) ([]vitals.Setting, error) {
			return []vitals.Setting{{Variable: "REDIS_PASSWORD", Source: "env", Secret: true, Digest: secret}, {Variable: "QUEUES", Digest: "11"}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx)
	}()
	p.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(p.stop)
	return p
}

// eventually refreshes until the state is as wanted.
func eventually(t *testing.T, r *vitals.Reader, want func(vitals.State) bool) vitals.State {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := r.Refresh(t.Context())
		s := r.State()
		if err == nil && want(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("not as wanted: %v, %+v", err, s)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func texts(s vitals.State) (all []string) {
	for _, c := range s.Changes {
		all = append(all, c.Node+" "+c.Part+": "+c.Text)
	}
	return all
}

// Two processes of one node name are two, changes of both are history, and it survives the
// restart of its reader and the end of the processes.
func TestFleet(t *testing.T) {
	server := redistest.Start(t)
	a, b := run(t, server, "email-worker@a", "aa"), run(t, server, "email-worker@a", "bb")
	reader := vitals.NewReader(open(t, server), journal(open(t, server)))
	s := eventually(t, reader, func(s vitals.State) bool { return len(s.Processes) == 2 && len(s.Changes) == 2 })
	for _, p := range s.Processes {
		if p.Node != "email-worker@a" || p.Version != "1.2" || p.PID == 0 || p.VisibilityTimeout != 3600 || len(p.Settings) != 2 || p.Settings[0].Since.IsZero() {
			t.Errorf("process: %+v", p)
		}
	}

	bad := healthy("email-worker@a")
	bad.Status, bad.Mail = monitor.StatusDegraded, monitor.Part{State: monitor.State{Text: "no mail gets out for 3 s: 535"}}
	bad.Breakers = []monitor.Breaker{{Name: "relay r:587", State: "open", Reason: "535 refused"}}
	a.report.Store(&bad)
	s = eventually(t, reader, func(s vitals.State) bool { return len(s.Changes) == 5 })
	got := strings.Join(texts(s), "\n")
	for _, want := range []string{"status: degraded", "mail: no mail gets out for 3 s: 535", "breaker relay r:587: open: 535 refused", "process: started, version 1.2"} {
		if !strings.Contains(got, want) {
			t.Errorf("changes lack %q:\n%s", want, got)
		}
	}
	worse := bad
	worse.Mail.Text = "no mail gets out for 4 s: 535" // a number is no change
	a.report.Store(&worse)

	server.Kill()
	fine := healthy("email-worker@a")
	fine.Breakers = []monitor.Breaker{{Name: "relay r:587", State: "closed"}}
	a.report.Store(&fine) // while Redis does not run
	time.Sleep(1500 * time.Millisecond)
	server.Up()
	// Changes of that time are noted now.
	again := vitals.NewReader(open(t, server), journal(open(t, server)))
	s = eventually(t, again, func(s vitals.State) bool { return len(s.Processes) == 2 && len(s.Changes) >= 8 })
	if got := strings.Join(texts(s), "\n"); !strings.Contains(got, "mail: fine") || strings.Contains(got, "4 s") {
		t.Errorf("changes after the outage:\n%s", got)
	}

	a.stop()
	b.stop()
	s = eventually(t, again, func(s vitals.State) bool { return len(s.Processes) == 0 })
	if n := strings.Count(strings.Join(texts(s), "\n"), "process: stopped"); n != 2 {
		t.Errorf("%d processes have noted their end: %q", n, texts(s))
	}
}

// The first answer of a part that was not asked yet is no change of its health.
func TestUnasked(t *testing.T) {
	server := redistest.Start(t)
	a := run(t, server, "email-worker@a", "aa")
	reader := vitals.NewReader(open(t, server), journal(open(t, server)))
	eventually(t, reader, func(s vitals.State) bool { return len(s.Processes) == 1 && len(s.Changes) == 1 })
	b := open(t, server)
	var reports []monitor.Report
	for _, status := range []string{monitor.StatusDegraded, monitor.StatusHealthy, monitor.StatusDegraded} {
		r := healthy("email-worker@b")
		r.Status = status
		reports = append(reports, r)
	}
	reports[0].Database = monitor.Part{State: monitor.State{Text: "not asked yet"}, Status: monitor.PartDegraded}
	reports[2].Database.OK = false
	var n atomic.Int64
	w, err := vitals.NewWriter(vitals.WriterConfig{
		Report: func() monitor.Report { return reports[min(n.Add(1)-1, 2)] }, Board: b, Journal: journal(b), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	s := eventually(t, reader, func(s vitals.State) bool { return len(s.Changes) >= 4 })
	cancel()
	<-done
	a.stop()
	if got := strings.Join(texts(s), "\n"); strings.Contains(got, "not asked") || strings.Contains(got, "status: healthy") {
		t.Errorf("changes:\n%s", got)
	}
}

// A Redis that was frozen carries out all that was sent meanwhile. The journal has a change twice at
// most then, and a reader once.
func TestFrozenRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := run(t, server, "frozen@h", "aa")
	b := open(t, server)
	r := vitals.NewReader(b, journal(b))
	eventually(t, r, func(s vitals.State) bool { return len(s.Changes) > 0 })
	server.Stop()
	report := healthy("frozen@h")
	report.Queue.OK, report.Queue.Text = false, "no answer"
	p.report.Store(&report)
	before := p.looks.Load()
	testkit.Eventually(t, 2*time.Minute, "six looks, each of which waits for two seconds", func() bool { return p.looks.Load() >= before+6 })
	server.Continue()
	eventually(t, r, func(s vitals.State) bool { return strings.Contains(strings.Join(texts(s), "\n"), "queue: no answer") })
	p.stop()
	s := eventually(t, r, func(s vitals.State) bool { return strings.HasSuffix(strings.Join(texts(s), "\n"), "stopped") })
	if got := strings.Join(texts(s), "\n"); strings.Count(got, "queue: no answer") != 1 {
		t.Errorf("the reader has the change more than once:\n%s", got)
	}
	entries, err := journal(b).After(t.Context(), "", 500)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, e := range entries {
		if slices.Contains(e.Fields, "no answer") {
			count++
		}
	}
	if count == 0 || count > 2 {
		t.Errorf("the journal has the change %d times", count)
	}
}

// A process whose health changes all the time does not flood the journal, and says so.
func TestFlapping(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server)
	now, n := time.Now(), 0
	w, err := vitals.NewWriter(vitals.WriterConfig{
		Report: func() monitor.Report {
			n++
			now = now.Add(100 * time.Millisecond)
			r := healthy("x@y")
			r.Mail.OK = n%2 == 0
			r.Database.OK = n%2 == 0
			return r
		},
		Board: b, Journal: journal(b), Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		w.Look(t.Context())
	}
	r := vitals.NewReader(b, journal(b))
	s := eventually(t, r, func(s vitals.State) bool { return len(s.Changes) > 0 })
	if got := strings.Join(texts(s), "\n"); len(s.Changes) > 70 || !strings.Contains(got, "not noted: ") {
		t.Errorf("%d changes:\n%s", len(s.Changes), got)
	}
}

// Notices of others are material: what cannot be read is left out.
func TestForeignNotices(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server)
	ctx := t.Context()
	for name, value := range map[string]string{
		"vitals":              `{"a":"2026-11-29T00:00:00Z","b":"2026-11-29T00:00:00Z","c":"2026-11-29T00:00:00Z"}`,
		"vitals.process.a":    `[`,
		"vitals.process.b":    `{"node":5}`,
		"vitals.process.c":    `{"node":"n@h","report":{"status":"healthy"}}`,
		"vitals.process.zzzz": `{"node":"n@not in the directory"}`,
	} {
		if err := b.Post(ctx, name, []byte(value), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := journal(b).Append(ctx, "", "", []string{"odd", "1"}, []string{"node", "n", "part", "p", "at", "x", "text", strings.Repeat("ü", 4000)}); err != nil {
		t.Fatal(err)
	}
	r := vitals.NewReader(b, journal(b))
	s := eventually(t, r, func(vitals.State) bool { return true })
	if len(s.Processes) != 1 || len(s.Changes) != 1 || len(s.Changes[0].Text) > 600 {
		t.Errorf("%+v", s)
	}
}

// A process tells the digest and the age of a secret that was replaced while it runs.
func TestReplacedSecret(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var version atomic.Int32
	var report atomic.Pointer[monitor.Report]
	set := func(text string) {
		r := healthy("email-worker@a")
		r.Mail.Text = text
		report.Store(&r)
	}
	set("fine")
	b := open(t, server)
	w, err := vitals.NewWriter(vitals.WriterConfig{
		Report: func() monitor.Report { return *report.Load() }, Board: b, Journal: journal(b), Version: "1.2", Logger: slog.New(slog.DiscardHandler),
		SettingsVersion: func() int { return int(version.Load()) },
		Settings: func(context.Context) ([]vitals.Setting, error) {
			return []vitals.Setting{{Variable: "REDIS_URLS", Secret: true, Digest: fmt.Sprint("v", version.Load())}}, nil
		},
		Ages: func() []monitor.SecretState {
			return []monitor.SecretState{{Name: "REDIS_URLS[a]", Source: "file", Mark: fmt.Sprint("m", version.Load()), Since: time.Unix(5, 0), Fault: "it is empty", Advice: "write it"}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx)
	}()
	defer func() { cancel(); <-ended }()
	reader := vitals.NewReader(open(t, server), journal(open(t, server)))
	for _, n := range []int32{0, 1} {
		version.Store(n)
		set(fmt.Sprint("fine ", n))
		digest, mark := fmt.Sprint("v", n), fmt.Sprint("m", n)
		s := eventually(t, reader, func(s vitals.State) bool {
			return len(s.Processes) == 1 && len(s.Processes[0].Secrets) == 1 && s.Processes[0].Secrets[0].Mark == mark && s.Processes[0].Settings[0].Digest == digest
		})
		if got := s.Processes[0].Secrets[0]; got.Name != "REDIS_URLS[a]" || got.Source != "file" || !got.Since.Equal(time.Unix(5, 0)) || got.Fault != "it is empty" || got.Advice != "write it" {
			t.Errorf("%+v", got)
		}
	}
	// Versions of the program make digests of different lengths.
	processes := []vitals.Process{{Settings: []vitals.Setting{{Variable: "A", Digest: "1122334455"}, {Variable: "B", Digest: "11"}}}, {Settings: []vitals.Setting{{Variable: "A", Digest: "112233"}, {Variable: "B", Digest: "22"}}}}
	if got := vitals.Differences(processes); !slices.Equal(got, []string{"B"}) {
		t.Errorf("differences %q", got)
	}
}

// The command top reads beside the loop that reads for it.
func TestReadersAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	reader := vitals.NewReader(open(t, server), journal(open(t, server)))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 20 {
				if err := reader.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
