package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// event is one event as a receiver sees it.
type event struct {
	Type, Hostname, UUID, Name, Args, Kwargs, Result, Exception, Traceback string
	Clock                                                                  int64
	Timestamp, Runtime                                                     float64
	ETA, Expires, RootID                                                   *string
	Requeue, Terminated, Expired                                           bool
	Signum                                                                 any
	Active, Processed                                                      int
	Freq                                                                   float64
	Loadavg                                                                []float64
	SwIdent                                                                string `json:"sw_ident"`
	ID                                                                     string
	Queue, Exchange                                                        string
	RoutingKey                                                             string `json:"routing_key"`
	raw                                                                    string
}

// events returns all events that were emitted so far, in their order.
func (b *bench) events(t *testing.T) (events []event) {
	t.Helper()
	for _, e := range b.Events() {
		var envelope struct {
			Body       []byte
			Headers    struct{ Hostname string }
			Properties struct {
				DeliveryInfo struct {
					Exchange   string
					RoutingKey string `json:"routing_key"`
				} `json:"delivery_info"`
			}
		}
		if err := json.Unmarshal(e.Raw, &envelope); err != nil {
			t.Fatal(err)
		}
		info := envelope.Properties.DeliveryInfo
		if info.Exchange != "celeryev" || info.RoutingKey != e.RoutingKey || envelope.Headers.Hostname == "" {
			t.Errorf("envelope %s lacks what keeps Python workers alive", e.Raw)
		}
		bodies := []json.RawMessage{envelope.Body}
		if e.RoutingKey == protocol.MultiRoutingKey {
			if err := json.Unmarshal(envelope.Body, &bodies); err != nil {
				t.Fatal(err)
			}
		}
		for _, body := range bodies {
			var one event
			if err := json.Unmarshal(body, &one); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			one.raw = string(body)
			events = append(events, one)
		}
	}
	return events
}

// of returns the types of the events of a task.
func of(events []event, id string) (types []string) {
	for _, e := range events {
		if e.UUID == id {
			types = append(types, e.Type)
		}
	}
	return types
}

func last(events []event, id, kind string) (found event) {
	for _, e := range events {
		if e.UUID == id && e.Type == kind {
			found = e
		}
	}
	return found
}

func TestTaskEvents(t *testing.T) {
	const secret = "s3cr3t-otp"
	b := start(t, worker.Config{Name: "w@h", SendTaskEvents: true, TrackStarted: true, Concurrency: 2, Tasks: map[string]worker.Definition{
		"add": arithmetic()["add"],
		"echo": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			return map[string]any{"sent_to": "ann@example.org", "text": "your code is " + secret}, nil
		})},
		"fail": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, fmt.Errorf("%s was refused by bob@example.org", secret)
		})},
		"panic":  {Handler: do(func(context.Context) (any, error) { panic(secret) })},
		"retry":  {Handler: do(func(context.Context) (any, error) { return nil, worker.Retry(errors.New("later")) })},
		"reject": {Handler: do(func(context.Context) (any, error) { return nil, worker.Reject("no") })},
		"ignore": {Handler: do(func(context.Context) (any, error) { return nil, worker.ErrIgnore })},
		"limited": {TimeLimit: 20 * time.Millisecond, Handler: do(func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})},
	}})
	withSecret := func(m *protocol.Message) {
		m.Args = protocol.Raw(`[{"email": "ann@example.org", "otp": "` + secret + `"}]`)
		m.ArgsRepr, m.KwargsRepr = `[{'email': 'ann@example.org', 'otp': '`+secret+`'}]`, "{}"
	}
	past := func(m *protocol.Message) { m.Expires = time.Now().Add(-time.Hour) }
	if _, err := b.w.Revoke(t.Context(), worker.Revocation{IDs: []string{"revoked"}}, false); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		task   string
		change []func(*protocol.Message)
		want   []string
		check  func(e event) bool // of the last event
	}{
		{"add", []func(*protocol.Message){func(m *protocol.Message) { m.Args, m.ArgsRepr = protocol.Raw("[1, 2]"), "(1, 2)" }},
			[]string{"task-received", "task-started", "task-succeeded"}, func(e event) bool { return e.Result == "3" && e.Runtime > 0 }},
		{"echo", []func(*protocol.Message){withSecret}, []string{"task-received", "task-started", "task-succeeded"},
			func(e event) bool {
				return e.Result == "{'sent_to': 'a***@example.org', 'text': 'your code is [redacted]'}"
			}},
		{"fail", []func(*protocol.Message){withSecret}, []string{"task-received", "task-started", "task-failed"},
			func(e event) bool { return e.Exception == "Exception('[redacted] was refused by b***@example.org')" }},
		{"panic", nil, []string{"task-received", "task-started", "task-failed"},
			func(e event) bool {
				return strings.HasPrefix(e.Exception, "RuntimeError(") && strings.HasPrefix(e.Traceback, "Traceback (most recent call last):\n  File \"")
			}},
		{"retry", nil, []string{"task-received", "task-started", "task-retried", "task-received"}, func(e event) bool { return e.ETA != nil }},
		{"reject", nil, []string{"task-received", "task-started", "task-rejected"}, func(e event) bool { return !e.Requeue }},
		{"ignore", nil, []string{"task-received", "task-started"}, nil},
		{"limited", nil, []string{"task-received", "task-started", "task-failed"}, func(e event) bool { return strings.HasPrefix(e.Exception, "TimeLimitExceeded(") }},
		{"add", []func(*protocol.Message){past}, []string{"task-revoked"}, func(e event) bool { return e.Expired && !e.Terminated && e.Signum == nil }},
		{"add", []func(*protocol.Message){func(m *protocol.Message) { m.ID = "revoked" }}, []string{"task-revoked"}, func(e event) bool { return !e.Expired }},
		{"unknown", nil, []string{"task-failed"}, func(e event) bool { return e.Exception == "NotRegistered('unknown')" && e.Traceback == "" }},
	} {
		id := b.send(t, tc.task, tc.change...)
		b.eventually(t, tc.task+": its events", func() bool { return len(of(b.events(t), id)) >= len(tc.want) })
		all := b.events(t)
		got := of(all, id)
		if len(got) == 4 && got[3] == "task-retried" && strings.Contains(last(all, id, "task-received").raw, `"retries": 1`) {
			// Its message is there for all as soon as it is published, and this worker may
			// find it before it has told of the retry.
			got[2], got[3] = got[3], got[2]
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: events %q, want %q", tc.task, got, tc.want)
			continue
		}
		for _, e := range all {
			if e.Type == "task-retried" && e.Exception != "Exception('later')" {
				t.Errorf("retry: %s", e.raw)
			}
			if e.UUID == id && e.Clock == last(all, id, tc.want[len(tc.want)-1]).Clock && tc.check != nil && !tc.check(e) {
				t.Errorf("%s: event is %s", tc.task, e.raw)
			}
			if e.UUID == id && e.Type == "task-received" && e.Name != tc.task {
				t.Errorf("%s: received without its name: %s", tc.task, e.raw)
			}
		}
	}
	var clock int64
	for _, e := range b.events(t) {
		if e.Clock <= clock || e.Hostname != "w@h" || e.Timestamp == 0 {
			t.Errorf("clock %d after %d: %s", e.Clock, clock, e.raw)
		}
		clock = e.Clock
		if strings.Contains(e.raw, "ann@") || strings.Contains(e.raw, "bob@") || strings.Contains(e.raw, secret) && e.Type != "task-failed" {
			t.Errorf("event tells a secret: %s", e.raw)
		}
	}
}

func TestTaskEventsAreOffAtFirst(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic()})
	if err := b.get(t, canvas.New("add", 1, 2), nil); err != nil {
		t.Fatal(err)
	}
	b.ask(t, "enable_events", "{}")
	r, err := b.client(t).Send(t.Context(), canvas.New("add", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "events of the second task", func() bool { return len(of(b.events(t), r.ID)) == 3 })
	for _, e := range b.events(t) {
		if strings.HasPrefix(e.Type, "task-") && e.UUID != r.ID {
			t.Errorf("event before they were enabled: %s", e.raw)
		}
	}
}

// The life of a worker, as peers and monitors see it, even when every slot is
// busy.
func TestWorkerEvents(t *testing.T) {
	tasks, release := blocking()
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, Concurrency: 1, SoftwareVersion: "1.2"})
	b.send(t, "block")
	b.eventually(t, "it runs", func() bool { return b.w.Status().Running == 1 })
	beats := func() (n int) {
		for _, e := range b.events(t) {
			if e.Type == "worker-heartbeat" && e.Active == 1 && e.Processed == 1 && e.Freq == 2 && len(e.Loadavg) == 3 && e.SwIdent == "github.com/evently/workers/worker" {
				n++
			}
		}
		return n
	}
	b.ask(t, "heartbeat", "{}")
	b.eventually(t, "a heartbeat at once", func() bool { return beats() > 0 })
	b.eventually(t, "heartbeats by themselves", func() bool { return beats() >= 2 })
	release()
	b.stop(t)
	events := b.events(t)
	if first, last := events[0], events[len(events)-1]; first.Type != "worker-online" || last.Type != "worker-offline" || last.Processed != 1 {
		t.Errorf("the first event is %s, the last %s", first.raw, last.raw)
	}
}

func TestWithoutHeartbeat(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic(), WithoutHeartbeat: true, SendTaskEvents: true})
	r, err := b.client(t).Send(t.Context(), canvas.New("add", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "events of the task", func() bool { return len(of(b.events(t), r.ID)) == 3 })
	b.stop(t)
	for _, e := range b.events(t) {
		if strings.HasPrefix(e.Type, "worker-") {
			t.Errorf("event %s", e.raw)
		}
	}
}

func TestElectionsAreAcknowledged(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic()})
	b.mustListen(t)
	body, err := protocol.AppendEvent(nil, &protocol.Event{Type: "worker-elect", Hostname: "py@h", PID: 1, Clock: 900, Timestamp: time.Now(),
		Fields: []protocol.Field{{Name: "id", Value: protocol.Raw(`"e1"`)}, {Name: "topic", Value: protocol.Raw(`"task"`)}}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.EncodeEvents("worker.elect", "py@h", "tag", body)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Emit(t.Context(), broker.Emission{RoutingKey: "worker.elect", Raw: raw}, broker.Emission{RoutingKey: "worker.x", Raw: []byte("nonsense")}); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "it is acknowledged", func() bool {
		events := []event{}
		for _, e := range b.Events() {
			if e.RoutingKey == "worker.elect.ack" {
				var d protocol.Decoder
				ack, err := d.DecodeEvent(e.Raw)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, event{ID: string(ack.Field("id")), Clock: ack.Clock})
			}
		}
		// The clock is ahead of the one that asked.
		return len(events) == 1 && events[0].ID == `"e1"` && events[0].Clock > 900
	})
}

func TestSentEvents(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q", SendSentEvent: true}})
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: "q", SendSentEvent: true}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Send(t.Context(), canvas.Chain(canvas.New("add", 1, 2), canvas.New("add", 4)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Get(ctx, nil); err != nil {
		t.Fatal(err)
	}
	sent := func() (events []event) {
		for _, e := range b.events(t) {
			if e.Type == "task-sent" {
				events = append(events, e)
			}
		}
		return events
	}
	b.eventually(t, "both are told of", func() bool { return len(sent()) == 2 })
	first, second := sent()[0], sent()[1]
	if first.Name != "add" || first.Args != "(1, 2)" || first.Queue != "q" || first.RoutingKey != "q" || !strings.HasPrefix(first.Hostname, "gen") {
		t.Errorf("first: %s", first.raw)
	}
	if second.UUID != r.ID || second.Clock == 0 {
		t.Errorf("second: %s", second.raw)
	}
}

// TestTwin: two processes with one node name cannot be told apart by anybody, and
// the name is often a constant of all containers, whose process ids are the same.
func TestTwin(t *testing.T) {
	var log syncBuffer
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b.mustListen(t)
	b.eventually(t, "it hears its own heartbeats", func() bool {
		n := 0
		for _, e := range b.Events() {
			if e.RoutingKey == "worker.heartbeat" {
				n++
			}
		}
		return n > 1
	})
	if strings.Contains(log.String(), "same node name") {
		t.Errorf("it takes itself for another:\n%s", log.String())
	}
	body, err := protocol.AppendEvent(nil, &protocol.Event{Type: "worker-heartbeat", Hostname: "w@h", PID: os.Getpid(), Clock: 900, Timestamp: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.EncodeEvents("worker.heartbeat", "w@h", "tag", body)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Emit(t.Context(), broker.Emission{RoutingKey: "worker.heartbeat", Raw: raw}); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually(t, "it is told once", func() bool { return strings.Count(log.String(), "same node name") == 1 })
}
