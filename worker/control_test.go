package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// ask sends a request of remote control to all and returns the first answer; "" when there was none.
func (b *bench) ask(t *testing.T, method, arguments string, change ...func(*protocol.ControlRequest)) string {
	t.Helper()
	q := &protocol.ControlRequest{Method: method, Arguments: protocol.Raw(arguments), Clock: 1, Ticket: uuid.NewString(),
		ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()}}
	for _, f := range change {
		f(q)
	}
	raw, err := protocol.EncodeControl(q, uuid.NewString(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b.mustListen(t)
	if err := b.Broadcast(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	// A second question, which is always answered: what comes after the first one
	// comes after its answer.
	end := *q
	end.Method, end.Arguments, end.Destination, end.Pattern, end.ReplyTo.RoutingKey = "ping", nil, nil, "", uuid.NewString()
	if raw, err = protocol.EncodeControl(&end, uuid.NewString(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Broadcast(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "answer", func() bool { return len(b.Replies(end.ReplyTo.RoutingKey)) > 0 })
	replies := b.Replies(q.ReplyTo.RoutingKey)
	if len(replies) == 0 {
		return ""
	}
	d := protocol.Decoder{Limits: protocol.Limits{Size: 8 << 20, Elements: 200_000}}
	reply, err := d.DecodeReply(replies[0])
	if err != nil || reply.Ticket != q.Ticket || reply.Clock == 0 {
		t.Fatalf("answer %.500s: %v", replies[0], err)
	}
	return string(reply.Value)
}

func (b *bench) mustListen(t *testing.T) {
	t.Helper()
	b.eventually(t, "the worker listens", func() bool {
		return slices.ContainsFunc(b.Events(), func(e broker.Emission) bool { return e.RoutingKey == "worker.online" })
	})
}

// blocking are tasks that run until they are let go.
func blocking() (tasks map[string]worker.Definition, release func()) {
	gate := make(chan struct{})
	return map[string]worker.Definition{
		"block": {Handler: worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-gate:
				return "done", nil
			}
		}), RateLimit: "100/s", MaxRetries: 5, TimeLimit: time.Minute},
		"typed": {Handler: worker.Func(func(context.Context, struct {
			Email string
			OTP   string `celery:"otp"`
		}) (string, error) {
			<-gate
			return "done", nil
		})},
	}, func() { close(gate) }
}

func TestCommands(t *testing.T) {
	tasks, release := blocking()
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, Concurrency: 1, SoftwareVersion: "1.2"})
	defer release()
	for _, tc := range []struct{ method, arguments, want string }{
		{"ping", "{}", `{"ok": "pong"}`},
		{"frobnicate", "{}", `{"error": "KeyError('frobnicate')"}`},
		{"active", `{"safe": null}`, "[]"},
		{"dump_active", "{}", "[]"},
		{"reserved", "{}", "[]"},
		{"scheduled", "{}", "[]"},
		{"revoked", "{}", "[]"},
		{"query_task", `{"ids": ["nobody"]}`, "{}"},
		{"query_task", `{"ids": "nobody"}`, "{}"},
		{"query_task", `{}`, `{"error": "TypeError(\"query_task() missing 1 required positional argument: 'ids'\")"}`},
		{"registered", `{"taskinfoitems": []}`, `["block [rate_limit=100/s]", "typed"]`},
		{"registered", `{"taskinfoitems": ["rate_limit", "max_retries", "time_limit", "nonsense"]}`,
			`["block [rate_limit=100/s max_retries=5 time_limit=60]", "typed [max_retries=3]"]`},
		{"dump_tasks", `{"taskinfoitems": ["name"]}`, `["block [name=block]", "typed [name=typed]"]`},
		{"revoke", `{"task_id": "a-b"}`, `{"ok": "tasks {'a-b'} flagged as revoked"}`},
		{"revoke", `{"task_id": ["d", "c"], "terminate": false, "signal": "SIGTERM"}`, `{"ok": "tasks {'c', 'd'} flagged as revoked"}`},
		{"revoke", `{"task_id": [], "terminate": false}`, `{"ok": "tasks set() flagged as revoked"}`},
		{"revoke", `{"task_id": ["x"], "terminate": 1}`, `{"ok": "terminate: tasks unknown"}`},
		{"revoke", `{"task_id": ["x"], "terminate": 0}`, `{"ok": "tasks {'x'} flagged as revoked"}`},
		{"revoke", `{"task_id": ["x"], "terminate": true}`, `{"ok": "terminate: tasks unknown"}`},
		{"revoke", `{"task_id": 7}`, `{"error": "TypeError(\"revoke() argument 'task_id' is not of the type that the command takes\")"}`},
		{"revoke_by_stamped_headers", `{"headers": {"k": ["v"]}, "terminate": false}`, `{"ok": "headers {'k': ['v']} flagged as revoked, but not terminated"}`},
		{"revoke_by_stamped_headers", `{"headers": ["k=v"], "terminate": true}`, `{"ok": "headers {'k': 'v'} were not terminated"}`},
		{"revoke_by_stamped_headers", `{"headers": ["k"]}`, `{"error": "IndexError('list index out of range')"}`},
		{"revoked", "{}", `["a-b", "c", "d", "x"]`},
		{"rate_limit", `{"task_name": "block", "rate_limit": "5/m"}`, `{"ok": "new rate limit set successfully"}`},
		{"rate_limit", `{"task_name": "block", "rate_limit": 7}`, `{"ok": "new rate limit set successfully"}`},
		{"registered", `{}`, `["block [rate_limit=7]", "typed"]`},
		{"rate_limit", `{"task_name": "block", "rate_limit": "0"}`, `{"ok": "rate limit disabled successfully"}`},
		{"rate_limit", `{"task_name": "block", "rate_limit": null}`, `{"ok": "rate limit disabled successfully"}`},
		{"rate_limit", `{"task_name": "nope", "rate_limit": "5"}`, `{"error": "unknown task"}`},
		{"rate_limit", `{"task_name": "x"}`, `{"error": "TypeError(\"rate_limit() missing 1 required positional argument: 'rate_limit'\")"}`},
		{"time_limit", `{"task_name": "block", "hard": 60, "soft": 30}`, `{"ok": "time limits set successfully"}`},
		{"registered", `{"taskinfoitems": ["soft_time_limit", "time_limit"]}`, `["block [soft_time_limit=30 time_limit=60]", "typed"]`},
		{"time_limit", `{"task_name": "nope", "hard": 60}`, `{"error": "unknown task"}`},
		{"pool_grow", `{"n": 2}`, `{"ok": "pool will grow"}`},
		{"pool_shrink", `{}`, `{"ok": "pool will shrink"}`},
		{"pool_shrink", `{"n": 2}`, `{"error": "ValueError('pool_shrink: the pool has 2 slots, and one must stay')"}`},
		{"pool_restart", `{"modules": null, "reload": false, "reloader": null}`, `{"error": "ValueError('Pool restarts not enabled')"}`},
		{"autoscale", `{"max": 5, "min": 2}`, `{"error": "ValueError('Autoscale not enabled')"}`},
		{"enable_events", "{}", `{"ok": "task events enabled"}`},
		{"enable_events", "{}", `{"ok": "task events already enabled"}`},
		{"disable_events", "{}", `{"ok": "task events disabled"}`},
		{"disable_events", "{}", `{"ok": "task events already disabled"}`},
		{"heartbeat", "{}", "null"},
		{"election", `{"id": "e", "topic": "task", "action": null}`, "null"},
		{"hello", `{"from_node": "w@h", "revoked": {}}`, "null"},
		{"add_consumer", `{"queue": "more"}`, `{"ok": "add consumer more"}`},
		{"add_consumer", `{"queue": "` + "a\\u0006b" + `"}`, `{"error": "ValueError('want the name of a queue, without control characters')"}`},
		{"cancel_consumer", `{"queue": "more"}`, `{"ok": "no longer consuming from more"}`},
	} {
		if got := b.ask(t, tc.method, tc.arguments); got != tc.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", tc.method, tc.arguments, got, tc.want)
		}
	}
}

// A bad rate limit is told as Python tells it: a ValueError inside of the text.
func TestBadRateLimit(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	got := b.ask(t, "rate_limit", `{"task_name": "t", "rate_limit": "ten"}`)
	if !strings.HasPrefix(got, `{"error": "Invalid rate limit string: ValueError(`) {
		t.Errorf("got %s", got)
	}
}

func TestWhoIsMeant(t *testing.T) {
	b := start(t, worker.Config{Name: "mail-1@host.example", Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	for name, tc := range map[string]struct {
		change func(*protocol.ControlRequest)
		meant  bool
	}{
		"all":                    {func(*protocol.ControlRequest) {}, true},
		"by name":                {func(q *protocol.ControlRequest) { q.Destination = []string{"x@y", "mail-1@host.example"} }, true},
		"another":                {func(q *protocol.ControlRequest) { q.Destination = []string{"x@y"} }, false},
		"glob":                   {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = "mail-*@host.*", "glob" }, true},
		"glob of others":         {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = "web-*", "glob" }, false},
		"pcre at the beginning":  {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = `mail-\d`, "pcre" }, true},
		"pcre in the middle":     {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = `host`, "pcre" }, false},
		"pcre that cannot be":    {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = `(`, "pcre" }, false},
		"matcher of another":     {func(q *protocol.ControlRequest) { q.Pattern, q.Matcher = `*`, "sql" }, false},
		"destination before all": {func(q *protocol.ControlRequest) { q.Destination, q.Pattern, q.Matcher = []string{"x@y"}, "*", "glob" }, false},
	} {
		if got := b.ask(t, "clock", "{}", tc.change); (got != "") != tc.meant {
			t.Errorf("%s: answer %q", name, got)
		}
	}
}

func TestInspectedTasks(t *testing.T) {
	tasks, release := blocking()
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, Concurrency: 1, PrefetchMultiplier: 4})
	hidden := func(m *protocol.Message) {
		m.ID, m.Args = "first", protocol.Raw(`["ann@example.org", "123456"]`)
		m.ArgsRepr, m.KwargsRepr = "['ann@example.org', '123456']", "{}"
		m.Priority = 3
	}
	b.send(t, "typed", hidden)
	b.eventually(t, "it runs", func() bool { return b.w.Status().Running == 1 })
	b.send(t, "block", func(m *protocol.Message) { m.ID, m.Kwargs = "second", protocol.Raw(`{"token": "s3cret", "n": 1}`) })
	eta := time.Now().Add(time.Hour)
	b.send(t, "block", func(m *protocol.Message) { m.ID, m.ETA, m.Args = "third", eta, protocol.Raw(`[{"otp": "9"}]`) })
	b.eventually(t, "all are here", func() bool { s := b.w.Status(); return s.Reserved == 1 && s.Scheduled == 1 })

	started := func(text string) string { // with a time that varies
		var tasks []map[string]any
		if err := json.Unmarshal([]byte(text), &tasks); err != nil || len(tasks) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		if s, ok := tasks[0]["time_start"].(float64); !ok || time.Since(time.UnixMicro(int64(s*1e6))) > time.Minute {
			t.Errorf("time_start is %v", tasks[0]["time_start"])
		}
		before, rest, _ := strings.Cut(text, `"time_start": `)
		_, after, _ := strings.Cut(rest, ",")
		return before + `"time_start": T,` + after
	}
	pid := fmt.Sprint(os.Getpid())
	info := func(id, name, args, kwargs, start, pid string, priority int) string {
		return fmt.Sprintf(`{"id": "%s", "name": "%s", "args": %s, "kwargs": %s, "type": "%s", "hostname": "w@h", "time_start": %s, `+
			`"acknowledged": false, "delivery_info": {"exchange": "", "routing_key": "q", "priority": %d, "redelivered": false}, "worker_pid": %s}`,
			id, name, args, kwargs, name, start, priority, pid)
	}
	first := info("first", "typed", `["a***@example.org", "[redacted]"]`, "{}", "T", pid, 3)
	if got := started(b.ask(t, "active", "{}")); got != "["+first+"]" {
		t.Errorf("active:\ngot  %s\nwant [%s]", got, first)
	}
	safe := info("first", "typed", `"['a***@example.org', '[redacted]']"`, `"{}"`, "T", pid, 3)
	if got := started(b.ask(t, "active", `{"safe": true}`)); got != "["+safe+"]" {
		t.Errorf("active, safe:\ngot  %s\nwant [%s]", got, safe)
	}
	second := info("second", "block", "[]", `{"token": "[redacted]", "n": 1}`, "null", "null", 0)
	if got := b.ask(t, "reserved", "{}"); got != "["+second+"]" {
		t.Errorf("reserved:\ngot  %s\nwant [%s]", got, second)
	}
	third := info("third", "block", `[{"otp": "[redacted]"}]`, "{}", "null", "null", 0)
	want := fmt.Sprintf(`[{"eta": "%s", "priority": 6, "request": %s}]`, protocol.FormatTime(eta), third)
	if got := b.ask(t, "scheduled", "{}"); got != want {
		t.Errorf("scheduled:\ngot  %s\nwant %s", got, want)
	}
	if got := b.ask(t, "query_task", `{"ids": ["second", "nobody"]}`); got != `{"second": ["reserved", `+second+`]}` {
		t.Errorf("query_task:\n%s", got)
	}
	if got := b.ask(t, "query_task", `{"ids": ["third"]}`); got != `{"third": ["scheduled", `+third+`]}` {
		t.Errorf("query_task:\n%s", got)
	}
	if got := b.ask(t, "query_task", `{"ids": ["first"]}`); !strings.HasPrefix(got, `{"first": ["active", {"id": "first"`) {
		t.Errorf("query_task:\n%s", got)
	}
	release()
	b.eventually(t, "done", func() bool { return b.status("second") == "SUCCESS" })
}

func TestStats(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Concurrency: 3, PrefetchMultiplier: 2, TaskTimeLimit: time.Minute, SoftwareVersion: "1.2",
		Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	id := b.send(t, "t")
	b.eventually(t, "done", func() bool { return b.status(id) == "SUCCESS" })
	var s struct {
		Total  map[string]int
		PID    int
		Clock  string
		Uptime int
		Pool   struct {
			Implementation string
			MaxConcurrency int `json:"max-concurrency"`
			Processes      []int
			MaxTasks       any `json:"max-tasks-per-child"`
			Timeouts       []float64
		}
		Broker struct {
			Hostname, Transport string
			VirtualHost         string `json:"virtual_host"`
		}
		PrefetchCount int `json:"prefetch_count"`
		Rusage        any
		Autoscaler    any
		Software      string
	}
	text := b.ask(t, "stats", "{}")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	if s.Total["t"] != 1 || s.PID != os.Getpid() || s.Clock == "" || s.Uptime < 1 || s.Pool.MaxConcurrency != 3 || len(s.Pool.Processes) != 1 ||
		s.Pool.MaxTasks != "N/A" || s.Pool.Timeouts[1] != 60 || s.Broker.Transport != "memory" || s.PrefetchCount != 6 || s.Rusage == nil ||
		s.Autoscaler != nil || s.Software != "github.com/evently/workers/worker 1.2" {
		t.Errorf("stats are %s", text)
	}
	for method, part := range map[string]string{
		"report": "software -> celery:", "conf": `"worker_concurrency": 3`, "memsample": "MB", "memdump": "goroutines: ", "objgraph": "ImportError",
		"active_queues": `[{"name": "q", "exchange": {"name": "q", "type": "direct", "arguments": null, "durable": true,`,
	} {
		if got := b.ask(t, method, "{}"); !strings.Contains(got, part) {
			t.Errorf("%s is %s, want %s in it", method, got, part)
		}
	}
}

func TestControlModes(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Control: worker.ControlHarmless, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	for _, method := range []string{"revoke", "terminate", "revoke_by_stamped_headers", "rate_limit", "time_limit", "pool_grow", "pool_shrink",
		"pool_restart", "autoscale", "add_consumer", "cancel_consumer"} {
		if got := b.ask(t, method, `{"task_id": "x", "queue": "q", "headers": {}, "task_name": "t", "rate_limit": "1"}`); !strings.Contains(got, "inspect commands only") {
			t.Errorf("%s: %s", method, got)
		}
	}
	if got := b.ask(t, "shutdown", "{}"); got != "" {
		t.Errorf("shutdown was answered: %s", got)
	}
	if s := b.w.Status().State; s != worker.StateRunning {
		t.Errorf("the worker is %v", s)
	}
	if got := b.ask(t, "enable_events", "{}"); got != `{"ok": "task events enabled"}` {
		t.Errorf("enable_events: %s", got)
	}

	off := start(t, worker.Config{Name: "w@h", Control: worker.ControlOff, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	id := off.send(t, "t")
	off.eventually(t, "done", func() bool { return off.status(id) == "SUCCESS" })
	q := &protocol.ControlRequest{Method: "shutdown"}
	raw, err := protocol.EncodeControl(q, "tag", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := off.Broadcast(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	id = off.send(t, "t")
	off.eventually(t, "done", func() bool { return off.status(id) == "SUCCESS" })
}

// A mode for inspection does not accept revocations.
func TestHarmlessHello(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Control: worker.ControlHarmless, Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	if got := b.ask(t, "hello", `{"from_node": "x@y", "revoked": {"victim": [1.0, "victim"]}}`); !strings.HasPrefix(got, `{"revoked": []`) {
		t.Errorf("hello: %s", got)
	}
	id := b.send(t, "t", func(m *protocol.Message) { m.ID = "victim" })
	b.eventually(t, "it runs", func() bool { return b.status(id) == "SUCCESS" })
}

// Revocations of strangers take bounded memory.
func TestRevokedAreBounded(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic()})
	for i := range 30 {
		ids := make([]string, 4000)
		for j := range ids {
			ids[j] = fmt.Sprintf("%d-%d", i, j)
		}
		raw, err := protocol.Marshal(map[string]any{"from_node": "x@y", "revoked": ids})
		if err != nil {
			t.Fatal(err)
		}
		b.ask(t, "hello", string(raw))
	}
	var revoked []string
	if err := json.Unmarshal([]byte(b.ask(t, "revoked", "{}")), &revoked); err != nil {
		t.Fatal(err)
	}
	if len(revoked) != 50_000 || revoked[len(revoked)-1] != "29-3999" {
		t.Errorf("%d are remembered, the last one %s", len(revoked), revoked[len(revoked)-1])
	}
}

// A received task that has not begun obeys commands.
func TestReservedTasksHeedCommands(t *testing.T) {
	tasks, release := blocking()
	defer release()
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, Concurrency: 1, PrefetchMultiplier: 4})
	first := b.send(t, "block")
	second := b.send(t, "block")
	waiting := b.send(t, "block", func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour) })
	b.eventually(t, "one runs, one is reserved, one is scheduled", func() bool {
		s := b.w.Status()
		return s.Running == 1 && s.Reserved == 1 && s.Scheduled == 1
	})
	b.ask(t, "time_limit", `{"task_name": "block", "hard": 0.1}`)
	if got := b.ask(t, "terminate", `{"task_id": "`+first+`"}`); got != `{"ok": "terminate: `+first+`"}` {
		t.Errorf("terminate: %s", got)
	}
	b.eventually(t, "the new time limit ends it", func() bool { return b.status(second) == "FAILURE" })
	if got := b.ask(t, "terminate", `{"task_id": "`+waiting+`"}`); got != `{"ok": "terminate: `+waiting+`"}` {
		t.Errorf("terminate of one that waits for its time: %s", got)
	}
	for _, arguments := range []string{`{"queue": "other", "exchange": "x"}`, `{"queue": "other", "exchange": "other", "exchange_type": "topic"}`, `{"queue": "other", "routing_key": "k"}`} {
		if got := b.ask(t, "add_consumer", arguments); !strings.HasPrefix(got, `{"error": `) {
			t.Errorf("add_consumer %s: %s", arguments, got)
		}
	}
	if got := b.ask(t, "add_consumer", `{"queue": "other", "exchange": null, "exchange_type": "direct", "routing_key": null}`); got != `{"ok": "add consumer other"}` {
		t.Errorf("add_consumer: %s", got)
	}
}

func TestShutdownByRemoteControl(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	raw, err := protocol.EncodeControl(&protocol.ControlRequest{Method: "shutdown", Ticket: "t",
		ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "r"}}, "tag", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b.mustListen(t)
	if err := b.Broadcast(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-b.done:
		b.done = nil
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not end")
	}
	if len(b.Replies("r")) > 0 {
		t.Error("shutdown was answered")
	}
	last := b.Events()[len(b.Events())-1]
	if last.RoutingKey != "worker.offline" {
		t.Errorf("the last event is %s", last.RoutingKey)
	}
}

// Commands that change what the worker does really do.
func TestCommandsAct(t *testing.T) {
	tasks, release := blocking()
	defer release()
	restarted := make(chan struct{}, 1)
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, Concurrency: 1, PrefetchMultiplier: 1,
		PoolRestart: func(context.Context) error { restarted <- struct{}{}; return nil }})
	for range 3 {
		b.send(t, "block")
	}
	b.eventually(t, "one runs", func() bool { return b.w.Status().Running == 1 })
	b.ask(t, "pool_grow", `{"n": 2}`)
	b.eventually(t, "three run", func() bool { return b.w.Status().Running == 3 })
	b.ask(t, "pool_shrink", `{"n": 2}`)
	if s := b.w.Status(); s.Running != 3 || s.Concurrency != 1 {
		t.Errorf("%d of %d run: fewer slots must cut off nothing", s.Running, s.Concurrency)
	}
	b.ask(t, "pool_restart", "{}")
	<-restarted

	// terminate frees a slot each; one is left.
	var running []map[string]any
	if err := json.Unmarshal([]byte(b.ask(t, "active", "{}")), &running); err != nil || len(running) != 3 {
		t.Fatalf("active: %v, %v", running, err)
	}
	for _, r := range running[:2] {
		id := r["id"].(string)
		if got := b.ask(t, "terminate", `{"task_id": "`+id+`", "signal": "SIGKILL"}`); got != `{"ok": "terminate: `+id+`"}` {
			t.Errorf("terminate: %s", got)
		}
		b.eventually(t, "it is revoked", func() bool { return b.status(id) == "REVOKED" })
	}
	b.eventually(t, "one runs", func() bool { return b.w.Status().Running == 1 })

	b.ask(t, "pool_grow", `{"n": 1}`)
	b.ask(t, "time_limit", `{"task_name": "block", "hard": 0.1}`)
	id := b.send(t, "block")
	b.eventually(t, "its new time limit ends it", func() bool { return b.status(id) == "FAILURE" })
	b.ask(t, "time_limit", `{"task_name": "block"}`)

	b.ask(t, "add_consumer", `{"queue": "other"}`)
	other := b.send(t, "block", func(m *protocol.Message) { m.RoutingKey = "other" })
	b.eventually(t, "a task of the new queue runs", func() bool { return strings.Contains(b.ask(t, "active", "{}"), other) })
	b.ask(t, "cancel_consumer", `{"queue": "other"}`)
	b.ask(t, "pool_grow", `{"n": 5}`)
	b.send(t, "block", func(m *protocol.Message) { m.RoutingKey = "other" })
	last := b.send(t, "block")
	b.eventually(t, "a task of the old queue runs", func() bool { return strings.Contains(b.ask(t, "active", "{}"), last) })
	if n := len(b.Queued("other")); n != 1 {
		t.Errorf("%d messages in the cancelled queue, want one", n)
	}
	if got := b.ask(t, "active_queues", "{}"); strings.Contains(got, "other") || !strings.Contains(got, `"q"`) {
		t.Errorf("active queues are %s", got)
	}
}

func TestRevokedTasksDoNotRun(t *testing.T) {
	ran := make(chan string, 10)
	b := start(t, worker.Config{Name: "w@h", Tasks: map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(
		func(_ context.Context, task *worker.Task) (any, error) { ran <- task.ID; return nil, nil })}}})
	b.ask(t, "revoke", `{"task_id": ["gone"]}`)
	b.ask(t, "revoke_by_stamped_headers", `{"headers": {"tenant": ["7"]}}`)
	b.ask(t, "hello", `{"from_node": "py@h", "revoked": {"told": [12345.5, "told"]}}`)
	if got := b.ask(t, "hello", `{"from_node": "py@h", "revoked": ["told too"]}`); !strings.HasPrefix(got, `{"revoked": ["gone", "told", "told too"], "clock": `) {
		t.Errorf("hello: %s", got)
	}
	for _, id := range []string{"gone", "told", "told too", "stamped", "fine"} {
		b.send(t, "t", func(m *protocol.Message) {
			m.ID = id
			if id == "stamped" {
				m.StampedHeaders, m.Stamps = []string{"tenant"}, protocol.Raw(`{"tenant": ["7"]}`)
				m.Headers = append(m.Headers, protocol.Header{Name: "tenant", Value: protocol.Raw(`["7"]`)})
			}
		})
	}
	b.eventually(t, "all have ended", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
	if id := <-ran; id != "fine" || len(ran) > 0 {
		t.Errorf("%s ran, and %d more", id, len(ran))
	}
}

// Malformed broadcasts do not stop the worker.
func TestMalformedRequestsDoNoHarm(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: one(func(context.Context) (any, error) { return 1, nil })})
	b.mustListen(t)
	good, err := protocol.EncodeControl(&protocol.ControlRequest{Method: "ping", Ticket: "t",
		ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "r"}}, "tag", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		raw := []byte(good[:i%len(good)])
		switch i % 4 {
		case 1:
			raw = []byte(strings.Repeat("[", i%500))
		case 2:
			raw = slices.Clone(good)
			raw[i%len(raw)] ^= byte(i)
		case 3:
			raw = fmt.Appendf(nil, `{"body": "{\"method\": \"revoke\", \"arguments\": {\"task_id\": [[%d]]}}", "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": ""}}}`, i)
		}
		if err := b.Broadcast(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			if got := b.ask(t, "ping", "{}"); got != `{"ok": "pong"}` {
				t.Fatalf("ping: %s", got)
			}
		}
	}
	b.eventually(t, "it answers", func() bool { return b.ask(t, "ping", "{}") == `{"ok": "pong"}` })
	id := b.send(t, "t")
	b.eventually(t, "it works", func() bool { return b.status(id) == "SUCCESS" })
}

// failingBackend refuses to store.
type failingBackend struct{ *workertest.Broker }

func (failingBackend) Revoke(context.Context, broker.Revocation) error {
	return errors.New("no connection")
}

func TestClientRevokesEverywhere(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: arithmetic()})
	c := b.client(t)
	if err := c.Terminate(t.Context(), "one", "two"); err != nil {
		t.Fatal(err)
	}
	if err := c.RevokeByStamps(t.Context(), map[string][]any{"tenant": {7}}); err != nil {
		t.Fatal(err)
	}
	var d protocol.Decoder
	var got []string
	for _, raw := range b.Broadcasts() {
		q, err := d.DecodeControl(raw)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, q.Method+" "+string(q.Arguments))
	}
	want := []string{
		`revoke {"signal": "SIGTERM", "task_id": ["one", "two"], "terminate": true}`,
		`revoke_by_stamped_headers {"headers": {"tenant": [7]}, "signal": "SIGTERM", "terminate": false}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	refused, err := worker.NewClient(worker.ClientConfig{Backend: failingBackend{b.Broker}})
	if err != nil {
		t.Fatal(err)
	}
	if err := refused.Revoke(t.Context(), "x"); err == nil {
		t.Error("a revocation that nobody has stored is no error")
	}
}

// A flood of questions gets a bounded number of answers, and the worker obeys meanwhile.
func TestAnswersAreFew(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", Tasks: one(func(context.Context) (any, error) { return nil, nil })})
	b.ask(t, "ping", "{}")
	to := protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()}
	send := func(method, arguments string) {
		t.Helper()
		raw, err := protocol.EncodeControl(&protocol.ControlRequest{Method: method, Arguments: protocol.Raw(arguments), Clock: 1, Ticket: uuid.NewString(), ReplyTo: to}, uuid.NewString(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Broadcast(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for i := range 4000 {
		send("clock", "{}")
		if i%500 == 499 { // so that none is dropped before it is looked at
			b.eventually(t, "the flood is worked off", func() bool { return len(b.Replies(to.RoutingKey)) > min(i/2, 900) })
		}
	}
	before := b.w.Status().Concurrency
	b.eventually(t, "the worker obeys", func() bool {
		send("pool_grow", `{"n": 3}`)
		return b.w.Status().Concurrency > before
	})
	n := len(b.Replies(to.RoutingKey))
	most := 1001 + int(110*time.Since(began).Seconds()) // one more in each further 10 ms
	if n < 900 || n > most {
		t.Errorf("%d answers, want about 1000 and not above %d", n, most)
	}
}
