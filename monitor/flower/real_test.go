package flower_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// app is the application of the Python worker, and what Flower is started with.
const app = `
from celery import Celery
app = Celery("shop", broker="%[1]s", backend="%[1]s")
app.conf.task_default_queue = "python"
app.conf.result_extended = False

@app.task(name="shop.add")
def add(x, y):
    return x + y

@app.task(name="shop.fail")
def fail():
    raise ValueError("as asked")

@app.task(name="shop.go")
def go():
    raise NotImplementedError
`

// pair is a real Flower beside an API, on the same events.
type pair struct {
	t          *testing.T
	redis      *testkit.Redis
	real, ours string
	state      *fleet.State
	client     *worker.Client
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openBroker(t *testing.T, url string) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// background runs fn until the test ends, and waits for its end.
func background(t *testing.T, what string, fn func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// startPair starts Redis, a Flower, an API, a worker of Celery and one of this library.
func startPair(t *testing.T) *pair {
	t.Helper()
	r := testkit.StartRedis(t)
	p := &pair{t: t, redis: r}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(fmt.Sprintf(app, r.URL())), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(testkit.PythonEnv(), "PYTHONPATH="+dir, "FLOWER_UNAUTHENTICATED_API=true", "TZ=UTC")
	port := testkit.FreePort(t)
	python := testkit.Python(t, testkit.CeleryNew)
	process := testkit.Start(t, "flower", env, python, "-m", "celery", "-A", "shop", "flower", "--address=127.0.0.1", "--port="+port, "--persistent=False")
	testkit.Start(t, "python worker", env, python, "-m", "celery", "-A", "shop", "worker", "-n", "python@h", "-Q", "python", "-c", "1", "--without-mingle", "--without-gossip")
	p.real = "http://127.0.0.1:" + port

	b := openBroker(t, r.URL())
	can := broker.CapabilitiesOf(b)
	metrics := flower.NewMetrics(nil)
	var err error
	if p.state, err = fleet.New(fleet.Config{Remote: can.Remote, Observers: []fleet.Observer{metrics}, Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	if p.client, err = worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: "python"}}); err != nil {
		t.Fatal(err)
	}
	api, err := flower.New(flower.Config{
		Fleet: p.state, Metrics: metrics, Remote: can.Remote, Backend: can.Backend, Client: p.client, Logger: quiet(),
		Depths: func(_ context.Context, queues []string) (map[string]int, error) {
			depths := map[string]int{}
			for _, q := range queues {
				depths[q] = r.Waiting(q)
			}
			return depths, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	site, err := web.New(web.Config{Groups: []web.Group{api}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/workers" { // the page of the workers does this
			api.ServeWorkers(w, r)
			return
		}
		site.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.ours = server.URL
	background(t, "fleet", p.state.Run)
	background(t, "flower", api.Run)

	testkit.Eventually(t, 90*time.Second, "Flower answers", func() bool {
		if process.Ended() {
			t.Fatalf("Flower has ended:\n%s", testkit.Last(process.Out.String(), 3000))
		}
		reply, err := http.Get(p.real + "/healthcheck")
		if err != nil {
			return false
		}
		reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
	p.startWorker(openBroker(t, r.URL()))
	testkit.Eventually(t, 60*time.Second, "both know both workers", func() bool {
		for _, base := range []string{p.real, p.ours} {
			_, _, body := p.request(base, "GET", "/api/workers?refresh=1", "")
			if !strings.Contains(body, `"python@h"`) || !strings.Contains(body, `"go@g"`) {
				return false
			}
			_, _, body = p.request(base, "GET", "/api/workers?status=1", "")
			if strings.Count(body, "true") != 2 {
				return false
			}
		}
		return true
	})
	return p
}

// startWorker runs a worker of this library.
func (p *pair) startWorker(b *redis.Broker) {
	w, err := worker.New(worker.Config{
		Broker: b, Name: "go@g", Queues: []string{"go"}, Concurrency: 2, WithoutMingle: true, Software: "shop-workers", SoftwareVersion: "1.2.3",
		Tasks:  map[string]worker.Definition{"shop.go": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return "done", nil })}},
		Logger: quiet(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	background(p.t, "worker", w.Run)
}

func (p *pair) request(base, method, path, body string) (status int, kind, text string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply.StatusCode, reply.Header.Get("Content-Type"), string(b)
}

// same compares the answers of both. prepare removes from the JSON what may differ. Questions are
// asked up to three times: a worker may be too late for one of the two.
func (p *pair) same(method, path, body string, prepare func(any) any) {
	p.t.Helper()
	faults := p.differ(method, path, body, prepare)
	for try := 1; len(faults) > 0 && method == "GET" && try < 3; try++ {
		faults = p.differ(method, path, body, prepare)
	}
	for _, f := range faults {
		p.t.Error(f)
	}
}

// differ asks both, and returns how the answers differ.
func (p *pair) differ(method, path, body string, prepare func(any) any) (faults []string) {
	p.t.Helper()
	status, kind, want := p.request(p.real, method, path, body)
	gotStatus, gotKind, got := p.request(p.ours, method, path, body)
	if gotStatus != status {
		return []string{fmt.Sprintf("%s %s %s: status %d %q, Flower %d %q", method, path, body, gotStatus, testkit.Clip(got, 300), status, testkit.Clip(want, 300))}
	}
	if !strings.HasPrefix(kind, "application/json") {
		if got != want {
			faults = append(faults, fmt.Sprintf("%s %s: %q, Flower %q", method, path, got, want))
		}
		return faults
	}
	if gotKind != kind {
		faults = append(faults, fmt.Sprintf("%s %s: %s, Flower %s", method, path, gotKind, kind))
	}
	x, y := p.decode(got), p.decode(want)
	if prepare != nil {
		x, y = prepare(x), prepare(y)
	}
	if !reflect.DeepEqual(x, y) {
		faults = append(faults, fmt.Sprintf("%s %s:\n%s\nFlower:\n%s", method, path, difference(x, y), difference(y, x)))
	}
	if strings.HasPrefix(path, "/api/tasks?") && !slices.Equal(keys(got), keys(want)) {
		faults = append(faults, fmt.Sprintf("%s %s: order %v, Flower %v", method, path, keys(got), keys(want)))
	}
	return faults
}

func (p *pair) decode(text string) (v any) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		p.t.Fatalf("%v: %s", err, testkit.Clip(text, 500))
	}
	return v
}

// keys returns the names of the tasks of a list, in their order.
func keys(text string) (names []string) {
	d := json.NewDecoder(strings.NewReader(text))
	depth := 0
	for {
		t, err := d.Token()
		if err != nil {
			return names
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		default:
			if name, ok := t.(string); ok && depth == 1 && strings.HasPrefix(name, "task-") {
				names = append(names, name)
			}
		}
	}
}

// difference returns the members of x that y does not have.
func difference(x, y any) string {
	a, ok := x.(map[string]any)
	b, ok2 := y.(map[string]any)
	if !ok || !ok2 {
		text, _ := json.Marshal(x)
		return testkit.Clip(string(text), 2000)
	}
	var lines []string
	for name, v := range a {
		if !reflect.DeepEqual(v, b[name]) {
			lines = append(lines, name+": "+difference(v, b[name]))
		}
	}
	slices.Sort(lines)
	return testkit.Clip(strings.Join(lines, "\n"), 3000)
}

// event is one of a list that is published.
type event map[string]any

// publish sends events as a worker does.
func (p *pair) publish(events ...event) {
	p.t.Helper()
	for batch := range slices.Chunk(events, 100) {
		body, err := json.Marshal(batch)
		if err != nil {
			p.t.Fatal(err)
		}
		raw, err := protocol.AppendEvents(nil, protocol.MultiRoutingKey, "x@h", uuid.NewString(), body)
		if err != nil {
			p.t.Fatal(err)
		}
		p.redis.Do("PUBLISH", "/0.celeryev/task.multi", raw)
	}
}

// generate returns events in any order, of tasks that are related, of three nodes.
func generate(chance *rand.Rand) (events []event) {
	at := float64(time.Now().Unix())
	add := func(e event) {
		at += 0.25
		e["timestamp"], e["utcoffset"], e["pid"] = at, 0, 7
		e["clock"] = len(events) + 1
		events = append(events, e)
	}
	states := []string{"sent", "received", "started", "succeeded", "failed", "retried", "rejected", "revoked", "progress"}
	for range 600 {
		n := chance.IntN(50)
		id := fmt.Sprintf("task-%02d", n)
		e := event{"type": "task-" + states[chance.IntN(len(states))], "uuid": id, "hostname": fmt.Sprintf("w%d@alpha", n%3)}
		switch e["type"] {
		case "task-sent", "task-received":
			e["name"] = []string{"shop.Mail", "shop.größe", "other", "<b>x</b>"}[n%4]
			e["args"], e["kwargs"] = fmt.Sprintf("(%d, 'Anna')", n), fmt.Sprintf("{'n': %d, 'city': 'Köln'}", n)
			e["retries"], e["eta"], e["expires"] = n%3, nil, nil
			if n%7 == 0 {
				e["eta"] = "2030-01-01T00:00:00+00:00"
			}
			e["root_id"] = "task-00"
			e["parent_id"] = fmt.Sprintf("task-%02d", n/2)
			if e["type"] == "task-sent" {
				e["hostname"], e["queue"], e["exchange"], e["routing_key"] = "gen9@web", "mail", "", "mail"
			}
		case "task-succeeded":
			e["result"], e["runtime"] = fmt.Sprintf("'done %d'", n), float64(n)/8
		case "task-failed", "task-retried":
			e["exception"], e["traceback"] = fmt.Sprintf("ValueError(%d)", n), "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError"
		case "task-revoked":
			e["terminated"], e["signum"], e["expired"] = false, nil, true
		}
		add(e)
		if chance.IntN(10) == 0 {
			add(event{"type": "worker-heartbeat", "hostname": fmt.Sprintf("w%d@alpha", n%3), "freq": 600.0, "active": n, "processed": n, "loadavg": []float64{0.5, 1, 2}, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"})
		}
	}
	add(event{"type": "worker-offline", "hostname": "w2@alpha"})
	return events
}

// withoutClocks removes the clock of each task: Flower gives a task that was sent its own.
func withoutClocks(v any) any {
	tasks, _ := v.(map[string]any)
	if _, ok := tasks["uuid"]; ok {
		delete(tasks, "clock")
		sortChildren(tasks)
		return v
	}
	for id, task := range tasks {
		if t, ok := task.(map[string]any); ok && strings.HasPrefix(id, "task-") {
			delete(t, "clock")
			sortChildren(t)
		} else {
			delete(tasks, id) // of the workers that run
		}
	}
	return v
}

func sortChildren(task map[string]any) {
	if children, ok := task["children"].([]any); ok {
		slices.SortFunc(children, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
}

// TestBesideFlower compares the answers with those of a real Flower on the same events and
// the same workers.
func TestBesideFlower(t *testing.T) {
	p := startPair(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	events := generate(rand.New(rand.NewPCG(seed, 1)))
	p.publish(events...)
	p.publish(event{"type": "task-received", "uuid": "task-end", "name": "end", "hostname": "w0@alpha", "timestamp": float64(time.Now().Unix()), "clock": 9, "utcoffset": 0, "pid": 7})
	testkit.Eventually(t, 60*time.Second, "both have taken in all events", func() bool {
		a, _, _ := p.request(p.real, "GET", "/api/task/info/task-end", "")
		b, _, _ := p.request(p.ours, "GET", "/api/task/info/task-end", "")
		return a == http.StatusOK && b == http.StatusOK
	})
	t.Run("tasks", p.tasks)
	t.Run("workers", p.workers)
	t.Run("metrics", func(t *testing.T) { p.metrics(t) })
	t.Run("results", p.results)
	t.Run("commands", p.commands)
}

func (p *pair) tasks(t *testing.T) {
	p.t = t
	for n := range 50 {
		p.same("GET", fmt.Sprintf("/api/task/info/task-%02d", n), "", withoutClocks)
	}
	p.same("GET", "/api/task/info/nothing", "", nil)
	p.same("GET", "/api/task/types", "", nil)
	p.same("GET", "/healthcheck", "", nil)
	month := time.Now().UTC()
	for _, query := range []string{
		"", "limit=5", "limit=0", "limit=-1", "offset=3&limit=4", "offset=-1&limit=2", "limit=x", "offset=1.5",
		"sort_by=name", "sort_by=-name", "sort_by=state", "sort_by=received&limit=20", "sort_by=-received", "sort_by=started", "sort_by=-started&offset=10", "sort_by=runtime",
		"state=SUCCESS", "state=failure", "state=PROGRESS", "state=All", "taskname=other", "taskname=OTHER", "workername=w1%40alpha", "workername=All", "taskname=none",
		"received_start=" + url.QueryEscape(month.Format("2006-01-02 15:04")), "received_end=2020-01-01+00:00", "received_start=2020-01-01+00:00", "received_start=yesterday", "received_end=2020-01-01",
		"search=anna", "search=ANNA+AND+task-1", "search=state:success", "search=kwargs:n%3D7", "search=kwargs:city%3Dk%C3%B6ln", "search=(task-01+OR+task-02)+AND+args:anna",
		"search=ab", "search=a:bcd", "search=NOT+abc", "search=-abc", "search=abc+AND", "search=OR+abc", "search=(abc", "search=abc)", "search=()", "search=%22abc", "search=%22%22",
		"search=name:", "search=((((((abc))))))", "search=worker:w0", "search=result:done", "search=%22done+1%22", "search=" + strings.Repeat("abc+", 200), "search=" + strings.Repeat("x", 2100),
		"search=name:gr%C3%B6%C3%9Fe", "search=kwargs:anna", "search=nomatch",
	} {
		// The tasks of the running workers are not compared, so pages must not be shifted by
		// them: there are none yet.
		p.same("GET", "/api/tasks?"+query, "", withoutClocks)
	}
}

func (p *pair) workers(t *testing.T) {
	p.t = t
	rows := func(v any) any {
		byName := map[string]any{}
		for _, row := range v.(map[string]any)["data"].([]any) {
			w := row.(map[string]any)
			name := w["hostname"].(string)
			if strings.HasSuffix(name, "@alpha") {
				w["heartbeats"] = len(w["heartbeats"].([]any)) // our clocks differ
			} else {
				for _, moving := range []string{"heartbeats", "clock", "loadavg", "worker-heartbeat", "worker-online"} {
					delete(w, moving)
				}
			}
			byName[name] = w
		}
		return byName
	}
	p.same("GET", "/workers?json=1", "", rows)
	p.same("GET", "/api/workers?status=1", "", nil)
	p.same("GET", "/api/workers?workername=nothing", "", nil)
	p.same("GET", "/api/workers?refresh=perhaps", "", nil)
	moving := func(v any) any {
		for _, w := range v.(map[string]any) {
			worker := w.(map[string]any)
			if worker["timestamp"].(float64) < 1e9 {
				t.Errorf("timestamp %v", worker["timestamp"])
			}
			delete(worker, "timestamp")
			if conf, ok := worker["conf"].(map[string]any); ok {
				if url, ok := conf["broker_url"].(string); ok { // both hide the password
					conf["broker_url"] = strings.Replace(url, "[redacted]", "********", 1)
				}
			}
			if stats, ok := worker["stats"].(map[string]any); ok {
				for _, name := range []string{"clock", "rusage", "uptime", "goroutines", "memory", "prefetch_count", "heap"} {
					delete(stats, name)
				}
				if pool, ok := stats["pool"].(map[string]any); ok {
					delete(pool, "writes")
				}
				for name := range stats {
					if !slices.Contains([]string{"broker", "pid", "pool", "total", "consumer", "software", "state"}, name) {
						delete(stats, name)
					}
				}
			}
		}
		return v
	}
	p.same("GET", "/api/workers?refresh=1&workername=python%40h", "", moving)
	p.same("GET", "/api/workers?refresh=1&workername=go%40g", "", moving)
	p.same("GET", "/api/workers?refresh=true", "", moving)
	p.same("GET", "/api/queues/length", "", nil)
}

// metrics compares the series.
func (p *pair) metrics(t *testing.T) {
	p.t = t
	series := func(base string) (lines []string) {
		_, _, text := p.request(base, "GET", "/metrics", "")
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "flower_") && strings.Contains(line, "@alpha") && !strings.Contains(line, "_created") || strings.HasPrefix(line, "# HELP flower_") && !strings.Contains(line, "_created") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return lines
	}
	got, want := series(p.ours), series(p.real)
	if len(want) < 100 || !slices.Equal(got, want) {
		missing := slices.DeleteFunc(slices.Clone(want), func(l string) bool { return slices.Contains(got, l) })
		added := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return slices.Contains(want, l) })
		t.Errorf("%d series, Flower %d; missing:\n%s\nadded:\n%s", len(got), len(want), testkit.Clip(strings.Join(missing, "\n"), 2000), testkit.Clip(strings.Join(added, "\n"), 2000))
	}
}

// results compares the results of real tasks.
func (p *pair) results(t *testing.T) {
	p.t = t
	for _, s := range []*canvas.Signature{
		canvas.New("shop.add", 1, 2).Set(canvas.Options{TaskID: "added", Queue: "python"}),
		canvas.New("shop.fail").Set(canvas.Options{TaskID: "failed", Queue: "python"}),
		canvas.New("shop.go").Set(canvas.Options{TaskID: "gone", Queue: "go"}),
	} {
		if _, err := p.client.Send(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"added", "failed", "gone"} {
		testkit.Eventually(t, 60*time.Second, id+" ends", func() bool {
			_, _, body := p.request(p.real, "GET", "/api/task/result/"+id, "")
			return strings.Contains(body, `"result"`)
		})
		p.same("GET", "/api/task/result/"+id, "", nil)
	}
	p.same("GET", "/api/task/result/nothing", "", nil)
	p.same("GET", "/api/task/result/nothing?timeout=0.1", "", nil)
	p.same("GET", "/api/task/result/nothing?timeout=soon", "", nil)
	p.same("GET", "/api/task/result/added?timeout=5", "", nil)
	testkit.Eventually(t, 30*time.Second, "both have heard of them", func() bool {
		_, _, body := p.request(p.ours, "GET", "/api/task/info/gone", "")
		_, _, real := p.request(p.real, "GET", "/api/task/info/gone", "")
		return strings.Contains(body, "SUCCESS") && strings.Contains(real, "SUCCESS")
	})
	for _, id := range []string{"added", "failed", "gone"} {
		p.same("GET", "/api/task/info/"+id, "", withoutClocks)
	}
}

// commands compares what both do with the same workers.
func (p *pair) commands(t *testing.T) {
	p.t = t
	calls := func(v any) any {
		answer := v.(map[string]any)
		if id, ok := answer["task-id"].(string); !ok || len(id) != 36 {
			t.Errorf("task-id %v", answer["task-id"])
		}
		delete(answer, "task-id")
		return v
	}
	for _, c := range []struct{ path, body string }{
		{"/api/worker/pool/grow/go%40g", "n=2"}, {"/api/worker/pool/grow/python%40h?n=1", ""}, {"/api/worker/pool/grow/go%40g", "n=x"}, {"/api/worker/pool/grow/nothing", ""},
		{"/api/worker/pool/shrink/python%40h", ""}, {"/api/worker/pool/shrink/go%40g", ""}, {"/api/worker/pool/autoscale/go%40g", "min=1"}, {"/api/worker/pool/autoscale/python%40h", "min=1&max=2"},
		{"/api/worker/pool/restart/python%40h", ""},
		{"/api/worker/queue/add-consumer/go%40g", "queue=more"}, {"/api/worker/queue/add-consumer/python%40h", "queue=more"}, {"/api/worker/queue/add-consumer/python%40h", ""},
		{"/api/worker/queue/cancel-consumer/go%40g", "queue=more"}, {"/api/worker/queue/cancel-consumer/python%40h", "queue=more"}, {"/api/worker/queue/cancel-consumer/nothing", "queue=x"},
		{"/api/task/rate-limit/shop.add", "workername=python%40h&ratelimit=5/s"}, {"/api/task/rate-limit/shop.add", "workername=python%40h&ratelimit=often"},
		{"/api/task/rate-limit/shop.go", "workername=go%40g&ratelimit=5/s"}, {"/api/task/rate-limit/none", "workername=go%40g&ratelimit=5/s"}, {"/api/task/rate-limit/shop.add", "ratelimit=5/s"},
		{"/api/task/rate-limit/shop.add", "workername=nothing&ratelimit=5/s"},
		{"/api/task/timeout/shop.add", "workername=python%40h&hard=60&soft=50"}, {"/api/task/timeout/shop.go", "workername=go%40g&hard=60"}, {"/api/task/timeout/shop.go", "workername=go%40g&hard=x"},
		{"/api/task/timeout/none", "workername=go%40g"},
		{"/api/task/revoke/some-id", ""}, {"/api/task/revoke/some-id", "terminate=true&signal=SIGKILL"}, {"/api/task/revoke/some-id", "terminate=perhaps"}, {"/api/task/abort/some-id", ""},
		{"/api/worker/shutdown/nothing", ""},
		{"/api/task/send-task/shop.add", `[]`}, {"/api/task/send-task/shop.add", `{"args": 7}`}, {"/api/task/apply/none", `{}`}, {"/api/task/async-apply/none", `{}`},
		{"/api/task/async-apply/shop.add", `{"args": [1, 2], "countdown": "soon"}`}, {"/api/task/apply/shop.add", `{"args": [1, 2], "timeout": "x"}`}, {"/api/task/async-apply/shop.add", `{"args": [1, 2], "eta": "tomorrow"}`},
	} {
		p.same("POST", c.path, c.body, nil)
	}
	for _, c := range []struct{ path, body string }{
		{"/api/task/apply/shop.add", `{"args": [1, 2], "queue": "python"}`}, {"/api/task/apply/shop.fail", `{}`},
		{"/api/task/apply/shop.add", `{"args": [1], "kwargs": {"y": 4}}`},
		{"/api/task/async-apply/shop.add", `{"args": [1, 2], "countdown": 300}`}, {"/api/task/async-apply/shop.add", `{"args": [1, 2], "eta": "2099-01-01 00:00:00.0", "expires": "2099-01-02 00:00:00.5"}`},
		{"/api/task/send-task/unknown.task", `{"args": [{"x": null}], "queue": "empty"}`},
	} {
		p.same("POST", c.path, c.body, calls)
	}
	p.same("POST", "/api/worker/shutdown/go%40g", "", nil)
}
