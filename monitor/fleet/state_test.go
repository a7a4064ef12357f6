package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

var _ monitor.Fleet = (*fleet.State)(nil)

// clock is the time of a test.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newState(t testing.TB, cfg fleet.Config) (*fleet.State, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_800_000_000, 0)}
	cfg.Now = c.Now
	s, err := fleet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// fields are those of an event.
type fields map[string]any

// message returns a message with these events, as a batch.
func message(t testing.TB, events ...fields) []byte {
	t.Helper()
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.AppendEvents(nil, protocol.MultiRoutingKey, "w@h", uuid.NewString(), body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// take gives events to s, with the defaults of a worker w@h at the time of c.
func take(t testing.TB, s *fleet.State, c *clock, events ...fields) {
	t.Helper()
	for _, e := range events {
		for name, value := range map[string]any{"hostname": "w@h", "timestamp": float64(c.now.UnixMicro()) / 1e6, "clock": 1, "pid": 7, "utcoffset": 0} {
			if _, ok := e[name]; !ok {
				e[name] = value
			}
		}
	}
	s.Take(message(t, events...))
}

func task(t testing.TB, s *fleet.State, id string) fleet.Family {
	t.Helper()
	f, ok := s.Task(id)
	if !ok {
		t.Fatalf("no task %s", id)
	}
	return f
}

// Retries are attempts of one task, and the events of each are told apart.
func TestAttempts(t *testing.T) {
	s, c := newState(t, fleet.Config{})
	at := func(seconds int, events ...fields) {
		c.now = time.Unix(1_800_000_000+int64(seconds), 0)
		take(t, s, c, events...)
	}
	at(1, fields{"type": "task-received", "uuid": "a", "name": "mail", "args": "()", "kwargs": "{}", "retries": 0})
	at(2, fields{"type": "task-started", "uuid": "a"})
	at(3, fields{"type": "task-retried", "uuid": "a", "exception": "Timeout()"})
	if f := task(t, s, "a"); f.State != fleet.Retry || len(f.Attempts) != 1 || f.Attempts[0].Duration() != time.Second || f.Attempts[0].Exception != "Timeout()" {
		t.Errorf("after a retry: %+v", f.Task)
	}
	at(10, fields{"type": "task-received", "uuid": "a", "name": "mail", "args": "()", "kwargs": "{}", "retries": 1})
	at(11, fields{"type": "task-started", "uuid": "a", "hostname": "v@h"})
	at(13, fields{"type": "task-succeeded", "uuid": "a", "hostname": "v@h", "result": "True", "runtime": 2.0})
	f := task(t, s, "a")
	if f.State != fleet.Success || f.Retries != 1 || len(f.Attempts) != 2 {
		t.Fatalf("after a success: %+v", f.Task)
	}
	if a := f.Attempts[1]; a.Number != 2 || a.Worker != "v@h" || a.Duration() != 2*time.Second || a.State != fleet.Success {
		t.Errorf("second attempt %+v", a)
	}
}

// Filters and pages see every task once, and count the states that they leave out.
func TestTasks(t *testing.T) {
	s, c := newState(t, fleet.Config{})
	for i := range 25 {
		c.now = c.now.Add(time.Second)
		id := fmt.Sprintf("task-%02d", i)
		take(t, s, c, fields{"type": "task-received", "uuid": id, "name": []string{"odd", "even"}[i%2], "args": fmt.Sprintf("('Größe %d',)", i), "kwargs": "{}"})
		if i%5 == 0 {
			take(t, s, c, fields{"type": "task-failed", "uuid": id, "exception": []string{"ValueError('Bad')", "no class"}[i/20]})
		}
	}
	var ids []string
	f := fleet.Filter{Limit: 10}
	for {
		page, err := s.Tasks(f)
		if err != nil {
			t.Fatal(err)
		}
		if page.Total != 25 || page.Known != 25 || page.States[fleet.Failure] != 5 || page.States[fleet.Received] != 20 || page.Errors["ValueError"] != 4 {
			t.Errorf("page: %d of %d, %v", page.Total, page.Known, page.States)
		}
		for _, task := range page.Tasks {
			ids = append(ids, task.ID)
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	if len(ids) != 25 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("pages show %v", ids)
	}
	for _, test := range []struct {
		filter fleet.Filter
		want   int
	}{
		{fleet.Filter{States: []string{fleet.Failure}}, 5},
		{fleet.Filter{Name: "even"}, 12},
		{fleet.Filter{Search: "valueerror BAD"}, 4},
		{fleet.Filter{Error: "ValueError"}, 4},
		{fleet.Filter{Error: "ValueError", States: []string{fleet.Received}}, 0},
		{fleet.Filter{Search: "grÖsse"}, 0},
		{fleet.Filter{Search: "größe 24"}, 1},
		{fleet.Filter{Worker: "x@h"}, 0},
		{fleet.Filter{Since: c.now.Add(-time.Second), Until: c.now}, 1},
	} {
		if page, err := s.Tasks(test.filter); err != nil || page.Total != test.want || len(page.Tasks) != test.want {
			t.Errorf("%+v: %d tasks, %v; want %d", test.filter, page.Total, err, test.want)
		}
	}
	if _, err := s.Tasks(fleet.Filter{After: "x"}); err == nil {
		t.Error("a wrong place of a page is accepted")
	}
}

// The oldest tasks are dropped when there are too many, or too large ones, with all that
// refers to them.
func TestBounds(t *testing.T) {
	s, c := newState(t, fleet.Config{Tasks: 10, Workers: 3})
	for i := range 30 {
		c.now = c.now.Add(time.Second)
		take(t, s, c, fields{
			"type": "task-received", "uuid": fmt.Sprint(i), "name": "n", "args": "()", "kwargs": "{}", "parent_id": fmt.Sprint(i - 1), "root_id": "0",
			"hostname": fmt.Sprintf("w%d@h", i),
		})
	}
	status := s.Status()
	if status.Tasks != 10 || status.DroppedTasks != 20 || status.Workers != 3 || status.DroppedWorkers != 27 || status.Events != 30 {
		t.Errorf("status %+v", status)
	}
	if _, ok := s.Task("19"); ok {
		t.Error("the oldest task is still there")
	}
	f := task(t, s, "20")
	if f.ParentTask != nil || len(f.Children) != 1 || f.Children[0].ID != "21" {
		t.Errorf("family %+v", f)
	}
	if types := s.Types(); len(types) != 1 || types[0].InMemory != 10 || types[0].Received != 30 {
		t.Errorf("types %+v", types)
	}
	small, c := newState(t, fleet.Config{Bytes: 20_000})
	for i := range 100 {
		take(t, small, c, fields{"type": "task-failed", "uuid": fmt.Sprint(i), "traceback": strings.Repeat("x ", 50_000)})
	}
	if status := small.Status(); status.Bytes > 20_000 || status.Tasks != 2 {
		t.Errorf("status %+v", status)
	}
}

// Workers are online while their heartbeats come, and offline two intervals after the last.
func TestHeartbeats(t *testing.T) {
	s, c := newState(t, fleet.Config{})
	online := func(want bool, when string) {
		t.Helper()
		if all := s.Workers(); len(all) != 1 || all[0].Online != want {
			t.Errorf("%s: %+v", when, all)
		}
	}
	take(t, s, c, fields{"type": "worker-online", "freq": 2.0, "sw_ident": "py-celery", "sw_ver": "5.5", "sw_sys": "Linux"})
	online(true, "at its start")
	c.now = c.now.Add(3900 * time.Millisecond)
	online(true, "after a missed heartbeat")
	c.now = c.now.Add(time.Second)
	online(false, "after two missed heartbeats")
	take(t, s, c, fields{"type": "worker-heartbeat", "freq": 2.0, "active": 3, "processed": 9, "loadavg": []float64{1, 2, 3}})
	online(true, "after a heartbeat")
	if w := s.Workers()[0]; !w.Python || w.Active != 3 || w.Processed != 9 || w.Host != "h" || w.Events["worker-heartbeat"] != 1 || len(w.Load) != 3 {
		t.Errorf("worker %+v", w)
	}
	take(t, s, c, fields{"type": "worker-offline"})
	online(false, "after its end")
	if w := s.Workers()[0]; !w.Left {
		t.Errorf("worker %+v", w)
	}
	take(t, s, c, fields{"type": "task-started", "uuid": "x", "timestamp": float64(c.now.Unix() + 1_000_000)})
	c.now = c.now.Add(3 * time.Minute)
	online(false, "after an event from the future")
}

// The series have one point for each second, and quantiles.
func TestSeries(t *testing.T) {
	s, c := newState(t, fleet.Config{Remote: noRemote{}})
	begun, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(begun); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		sent := float64(c.now.Unix()) - 4
		id := fmt.Sprint(i)
		take(t, s, c, fields{"type": "task-sent", "uuid": id, "name": "n", "queue": "q", "hostname": "gen1@web", "timestamp": sent},
			fields{"type": "task-received", "uuid": id, "name": "n"}, fields{"type": "task-started", "uuid": id},
			fields{"type": "task-succeeded", "uuid": id, "runtime": float64(i+1) / 10})
		if i%10 == 9 {
			c.now = c.now.Add(time.Second)
		}
	}
	series := s.Series(time.Hour)
	if len(series.Counts) != 10 || series.Counts[9] != (fleet.Counts{Sent: 10, Received: 10, Started: 10, Succeeded: 10}) {
		t.Errorf("series %+v", series)
	}
	l := s.Latency(time.Minute)
	near := func(got, want time.Duration) bool { return got > want*94/100 && got < want*106/100 }
	if l.Runtime.Count != 100 || !near(l.Runtime.P50, 5*time.Second) || !near(l.Runtime.P99, 9900*time.Millisecond) || !near(l.Wait.P95, 4*time.Second) {
		t.Errorf("latency %+v", l)
	}
	c.now = c.now.Add(fleet.Window)
	if series := s.Series(time.Hour); len(series.Counts) != 900 || series.Counts[0] != (fleet.Counts{}) {
		t.Errorf("series after a silence: %d, %+v", len(series.Counts), series.Counts[0])
	}
	if l := s.Latency(time.Hour); l.Runtime.Count != 0 {
		t.Errorf("latency after a silence %+v", l)
	}
}

// noRemote carries nothing.
type noRemote struct{ broker.Remote }

func (noRemote) Listen(context.Context, broker.Listening) error { return nil }

// Over a real Redis the state hears events of workers and of tasks, and asks for the latter.
func TestListen(t *testing.T) {
	server := redistest.Start(t)
	b, err := redis.New(redis.Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	remote := broker.CapabilitiesOf(b).Remote
	s, err := fleet.New(fleet.Config{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not seen: %s; %+v", what, s.Status())
			}
		}
	}
	await("the subscription", func() bool { return !s.Status().Joined.IsZero() })
	emit := func(key string, e fields) {
		t.Helper()
		if err := broker.CapabilitiesOf(b).Emitter.Emit(t.Context(), broker.Emission{RoutingKey: key, Raw: message(t, e)}); err != nil {
			t.Fatal(err)
		}
	}
	now := float64(time.Now().Unix())
	emit("worker.heartbeat", fields{"type": "worker-heartbeat", "hostname": "w@h", "timestamp": now, "freq": 2, "clock": 1})
	emit("task.multi", fields{"type": "task-received", "uuid": "a", "name": "n", "hostname": "w@h", "timestamp": now, "clock": 1})
	emit("task.sent", fields{"type": "task-sent", "uuid": "a", "name": "n", "queue": "q", "hostname": "gen1@h", "timestamp": now, "clock": 1})
	await("the events", func() bool { return s.Status().Events == 3 })
	if f := task(t, s, "a"); f.State != fleet.Received || f.Queue != "q" || f.Client != "gen1@h" || f.Worker != "w@h" {
		t.Errorf("task %+v", f.Task)
	}
	if _, err := server.Conn(0).Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
		t.Fatal(err)
	}
	await("the break", func() bool { return s.Status().Breaks == 1 })
}
