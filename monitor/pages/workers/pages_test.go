package workers_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/pages/queues"
	"github.com/evently/workers/monitor/pages/schedule"
	"github.com/evently/workers/monitor/pages/workers"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
	"github.com/evently/workers/worker/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// marker is a secret that no page may show.
const marker = "SECRET-83214"

// hostile is the name of a queue.
const hostile = `"><script>alert(1)</script>'{{.}} ü`

const shop = `
import time
from celery import Celery
app = Celery("shop", broker=%[1]q, backend=%[1]q)

@app.task(name="shop.wait")
def wait(**kwargs):
    time.sleep(60)
`

// stage is a monitor with the pages, beside workers of both kinds.
type stage struct {
	t      *testing.T
	server *testkit.Redis
	broker *redis.Broker
	base   string
	client *http.Client
	ran    atomic.Int64
	audit  audit
}

// audit keeps what was audited.
type audit struct {
	mu      sync.Mutex
	entries []web.AuditEntry
}

func (a *audit) add(e web.AuditEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
}

// subjects returns what the actions of these names were done to.
func (a *audit) subjects(actions ...string) (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.entries {
		if slices.Contains(actions, e.Action) {
			all = append(all, e.Subjects...)
		}
	}
	return all
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *stage) open() *redis.Broker {
	s.t.Helper()
	b, err := redis.New(redis.Config{URL: s.server.URL(), Logger: quiet()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { b.Close() })
	return b
}

// background runs fn until the test ends.
func (s *stage) background(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, server: testkit.StartRedis(t)}
	s.broker = s.open()
	operator := inspect.NewOperator(s.broker)
	looks := watch.New(watch.Config{
		Source: s.broker.Queues(), Queues: []string{"mails"}, Consumers: operator.Consumers, Pauses: operator.Paused, Declared: true, Logger: quiet(),
	})
	state, err := fleet.New(fleet.Config{Remote: s.broker, Redactor: redact.New(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	presenter := inspect.NewPresenter(nil, func(task string) (secret, known bool) { return false, strings.HasPrefix(task, "shop.") })
	people := workers.New(workers.Config{Operator: operator, Fleet: state, JSON: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"data":[]}`) })})
	site, err := web.New(web.Config{
		Groups: []web.Group{
			queues.New(queues.Config{Looks: looks, Store: s.broker.Queues(), Presenter: presenter, Operator: operator}),
			people,
			schedule.New(schedule.Config{Schedule: inspect.NewSchedule(inspect.ScheduleConfig{Source: s.broker.Queues(), Presenter: presenter, Operator: operator, Results: s.broker.Results})}),
		},
		Audit: func(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
			s.audit.add(e)
			return do(ctx)
		},
		Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(site)
	t.Cleanup(func() { site.EndStreams(); listener.Close() })
	jar, _ := cookiejar.New(nil)
	s.base, s.client = listener.URL, &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(s.client.CloseIdleConnections)
	s.background(looks.Run)
	s.background(people.Run)
	s.background(state.Run)
	return s
}

// work runs a worker of this library.
func (s *stage) work(name string, queues ...string) {
	w, err := worker.New(worker.Config{
		Broker: s.open(), Name: name, Queues: queues, Concurrency: 2, WithoutMingle: true, SendTaskEvents: true, Software: "shop-workers", SoftwareVersion: "1.2.3", Logger: quiet(),
		Tasks: map[string]worker.Definition{
			"shop.go":   {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { s.ran.Add(1); return nil, nil })},
			"shop.wait": {Handler: worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) { <-ctx.Done(); return nil, ctx.Err() })},
			"shop.retry": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
				return nil, &worker.RetryError{Err: fmt.Errorf("451 4.7.1 the relay asks to try later"), Countdown: time.Hour}
			}), MaxRetries: 3},
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.background(w.Run)
}

func (s *stage) python() {
	dir := s.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(fmt.Sprintf(shop, s.server.URL())), 0o644); err != nil {
		s.t.Fatal(err)
	}
	env := append(testkit.PythonEnv(), "PYTHONPATH="+dir)
	testkit.Start(s.t, "celery", env, testkit.Python(s.t, testkit.CeleryNew), "-m", "celery", "-A", "shop", "worker",
		"-n", "python@h", "-Q", "py", "-c", "2", "-E", "--without-mingle", "--without-gossip")
}

func (s *stage) publish(queue, task string, change func(*protocol.Message)) string {
	s.t.Helper()
	m := &protocol.Message{
		ID: uuid.NewString(), Task: task, DeliveryTag: uuid.NewString(), RoutingKey: queue,
		Args: protocol.Raw("[]"), Kwargs: protocol.Raw(`{"otp": "` + marker + `", "booking": {"id": 42, "email": "ada@example.com"}}`),
	}
	if change != nil {
		change(m)
	}
	raw, err := protocol.Encode(m)
	if err == nil {
		err = s.broker.Publish(s.t.Context(), broker.Changes{Publish: []broker.Publication{{Queue: queue, Raw: raw, Priority: m.Priority}}})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return m.ID
}

// get returns a page. No page shows a secret, or markup of a name.
func (s *stage) get(path string) string {
	s.t.Helper()
	answer, err := s.client.Get(s.base + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 {
		s.t.Fatalf("%s: %d %v\n%s", path, answer.StatusCode, err, text)
	}
	if strings.Contains(string(text), marker) || strings.Contains(string(text), "ada@") || strings.Contains(string(text), "<script>alert") {
		s.t.Errorf("%s shows a secret or the markup of a name:\n%s", path, text)
	}
	return string(text)
}

// post sends a form and returns the page that follows, with its notice.
func (s *stage) post(path string, form url.Values) string {
	s.t.Helper()
	answer, err := s.client.PostForm(s.base+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode >= 500 {
		s.t.Fatalf("%s: %d\n%s", path, answer.StatusCode, text)
	}
	return string(text)
}

// until waits for a page that has all parts, but none that begins with "!".
func (s *stage) until(what, path string, parts ...string) {
	s.t.Helper()
	var text string
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", path, content(text))
		}
	}()
	testkit.Eventually(s.t, 60*time.Second, what, func() bool {
		text = s.get(path)
		for _, p := range parts {
			p, without := strings.CutPrefix(p, "!")
			if strings.Contains(text, p) == without {
				return false
			}
		}
		return true
	})
}

// content returns the words of a page.
func content(page string) string {
	_, page, _ = strings.Cut(page, "<main")
	page, _, _ = strings.Cut(page, "</main>")
	page = regexp.MustCompile(`<[^>]*>|\s+`).ReplaceAllString(page, " ")
	return regexp.MustCompile(`\s+`).ReplaceAllString(page, " ")
}

func (s *stage) has(what, text string, parts ...string) {
	s.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			s.t.Errorf("%s lacks %q:\n%s", what, p, content(text))
		}
	}
}

// An operator does everything that the pages offer, with plain forms, to real workers of both
// kinds. Then Chromium looks at all pages, and clicks once through them.
func TestPages(t *testing.T) {
	s := newStage(t)
	path := "/queues/" + url.PathEscape(hostile)
	for range 7 {
		s.publish(hostile, "shop.go", nil)
	}
	s.publish(hostile, "strange.task", func(m *protocol.Message) {
		m.Priority, m.Args, m.Kwargs = 9, protocol.Raw(`["`+marker+`"]`), protocol.Raw("{}")
	})
	s.server.Do("LPUSH", hostile, "no message")
	s.server.Do("SADD", "_kombu.binding."+hostile, hostile+"\x06\x16\x06\x16"+hostile)
	s.work("one@h", "mails", "bulk")
	s.python()
	s.until("workers of both kinds are seen", "/workers", "one@h", "python@h", "shop-workers 1.2.3", ">Go<", ">Python<", "online")
	s.until("all queues are seen", "/queues", ">mails<", ">bulk<", ">py<", "no consumer", "priority 9: 1")

	s.queues(path)
	s.workers()
	s.scheduled()
	for _, e := range s.audit.entries {
		if e.Action == "" || len(e.Subjects) == 0 {
			t.Errorf("audited without an action or subjects: %+v", e)
		}
	}
	if s.get("/workers?json=1") != `{"data":[]}` {
		t.Error("no JSON of the workers")
	}
	s.chromium(path)
}

// queues pauses, peeks into and purges queues.
func (s *stage) queues(path string) {
	s.has("peek", s.get(path+"?messages=all"), "shop.go", "[redacted]", "unreadable", "strange.task", "≥ ")
	s.has("pause", s.post("/queues/mails/pause", url.Values{"note": {"the relay refuses us"}}), "The queue is paused.")
	s.until("the pause is shown", "/queues/mails", "the relay refuses us", "paused")
	s.until("the worker has stopped", "/workers/one%40h", "Stop consuming bulk", "!Stop consuming mails")
	id := s.publish("mails", "shop.go", nil)
	s.until("the message waits", "/queues/mails", id)
	s.has("resume", s.post("/queues/mails/resume", nil), "consumed again")
	testkit.Eventually(s.t, 60*time.Second, "the message has run", func() bool { return s.ran.Load() == 1 })
	s.has("pause of Python", s.post("/queues/py/pause", nil), "1 Python worker.")
	s.until("no worker consumes", "/workers/python%40h", "It consumes no queue.")
	s.has("resume of Python", s.post("/queues/py/resume", nil), "consumed again")
	s.until("the worker consumes", "/workers/python%40h", "Stop consuming py")

	s.has("purge without the name", s.post(path+"/purge", url.Values{"word": {"hostile"}}), "Nothing was deleted")
	s.has("purge page", s.get(path+"/purge"), "9 messages", "Priority 9")
	s.has("purge", s.post(path+"/purge", url.Values{"word": {hostile}}), "Deleted: 9 messages.")
	s.has("peek of an empty queue", s.get(path), "No message waits.")
	for _, gone := range []string{"/queues/unacked", "/queues/no-such", "/workers/no-such", "/scheduled/nothing"} {
		if answer, err := s.client.Get(s.base + gone); err != nil || answer.StatusCode != 404 {
			s.t.Errorf("%s: %v, %v", gone, answer.StatusCode, err)
		} else {
			answer.Body.Close()
		}
	}
}

// workers drains, resizes and limits workers.
func (s *stage) workers() {
	s.has("grow", s.post("/workers/one@h/grow", url.Values{"n": {"2"}}), "2 more slots", "of 4 slots")
	s.has("shrink", s.post("/workers/one@h/shrink", url.Values{"n": {"1"}}), "of 3 slots")
	s.has("shrink too far", s.post("/workers/one@h/shrink", url.Values{"n": {"9"}}), "one must stay", "drain or stop")
	s.has("grow by nothing", s.post("/workers/one@h/grow", url.Values{"n": {"x"}}), "whole number")
	s.has("grow Python", s.post("/workers/python@h/grow", url.Values{"n": {"1"}}), "1 more slots")
	s.has("drain", s.post("/workers/one@h/drain", nil), "takes nothing more", "drained", "It consumed")
	s.has("fill", s.post("/workers/one@h/fill", nil), "consumes its queues again", "Stop consuming mails")
	s.has("fill twice", s.post("/workers/one@h/fill", nil), "not drained")
	s.has("add", s.post("/workers/one@h/add-consumer", url.Values{"queue": {"extra"}}), "Stop consuming extra")
	s.has("cancel", s.post("/workers/one@h/cancel-consumer", url.Values{"queue": {"extra"}}), "consumes extra no more")
	s.has("rate limit", s.post("/workers/one@h/rate-limit", url.Values{"task": {"shop.go"}, "limit": {"often"}}), "write a rate")
	s.has("rate limit", s.post("/workers/one@h/rate-limit", url.Values{"task": {"shop.go"}, "limit": {"1000/s"}}), "is 1000/s")
	s.has("time limit", s.post("/workers/one@h/time-limit", url.Values{"task": {"shop.go"}, "soft": {"10"}, "hard": {"20"}}), "are set")
	s.has("autoscale", s.post("/workers/one@h/autoscale", url.Values{"least": {"1"}, "most": {"3"}}), "with autoscaling (AUTOSCALE")
	s.has("shutdown without the name", s.post("/workers/one@h/shutdown", url.Values{"word": {"x"}}), "Nothing was done")
	s.work("two@h", "mails")
	s.until("the second worker is seen", "/workers", "two@h")
	s.until("the second worker answers", "/workers/two%40h", "Stop consuming mails")
	s.has("shutdown", s.post("/workers/two@h/shutdown", url.Values{"word": {"two@h"}}), "asked to stop")
	s.until("the second worker is gone", "/workers", ">stopped</span>") // the words are always there
}

// scheduled runs and cancels what waits for its time.
func (s *stage) scheduled() {
	later := func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour).UTC() }
	first, second := s.publish("mails", "shop.go", later), s.publish("mails", "shop.go", later)
	var rest []string
	for range 4 {
		rest = append(rest, s.publish("bulk", "shop.go", later))
	}
	retried := s.publish("mails", "shop.retry", nil)
	python := s.publish("py", "shop.wait", func(m *protocol.Message) { later(m); m.Kwargs = protocol.Raw("{}") })
	s.until("all wait", "/scheduled", append(rest, first, second, retried, python, "a Python worker", "one@h", "retry 1", "451 4.7.1")...)
	snap := func() map[string]inspect.Waiting {
		found := map[string]inspect.Waiting{}
		schedule := inspect.NewSchedule(inspect.ScheduleConfig{Source: s.broker.Queues(), Presenter: inspect.NewPresenter(nil, func(string) (bool, bool) { return false, false }), Operator: inspect.NewOperator(s.broker)})
		all, err := schedule.Snapshot(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, w := range all.Waiting {
			found[w.ID] = w
		}
		return found
	}
	waiting := snap()
	ran := s.ran.Load()
	s.has("run now", s.post("/scheduled/run", url.Values{"one": {waiting[first].Claim}}), "front of its queue")
	testkit.Eventually(s.t, 60*time.Second, "the task has run", func() bool { return s.ran.Load() == ran+1 })
	s.has("run now twice", s.post("/scheduled/run", url.Values{"one": {waiting[first].Claim}}), "No worker holds this message any more")
	s.has("run now of Python", s.post("/scheduled/run", url.Values{"one": {waiting[python].Claim}}), "only revoking it is possible")
	s.has("cancel", s.post("/scheduled/cancel", url.Values{"one": {waiting[second].Claim}}), "The task is cancelled")
	s.has("cancel of Python", s.post("/scheduled/cancel", url.Values{"one": {waiting[python].Claim}}), "after its restart")

	s.has("what would run", s.get("/scheduled/bulk?verb=run&task=shop.go&q=bulk"), "Run 4 tasks now?")
	s.has("what would be cancelled", s.get("/scheduled/bulk?verb=cancel&claim="+url.QueryEscape(waiting[rest[0]].Claim)), "Cancel 1 task?")
	s.has("cancel without the word", s.post("/scheduled/bulk", url.Values{"verb": {"cancel"}, "claim": {waiting[rest[0]].Claim}}), "Nothing was done")
	s.has("cancel the chosen one", s.post("/scheduled/bulk", url.Values{"verb": {"cancel"}, "word": {"cancel"}, "claim": {waiting[rest[0]].Claim}}), "Cancelled: 1 task.")
	// The audit trail finds who did it by the id of the task.
	if done := s.audit.subjects("schedule.run_now", "schedule.cancel", "schedule.bulk"); !slices.Contains(done, first) || !slices.Contains(done, second) || !slices.Contains(done, python) || !slices.Contains(done, rest[0]) {
		s.t.Errorf("audited %q, want %q, %q, %q and %q", done, first, second, python, rest[0])
	}
	s.has("run the rest", s.post("/scheduled/bulk", url.Values{"verb": {"run"}, "task": {"shop.go"}, "q": {"bulk"}, "count": {"3"}}), "3 tasks are at the front")
	testkit.Eventually(s.t, 60*time.Second, "the rest has run", func() bool { return s.ran.Load() == ran+4 })
}

// chromium looks at all pages, and clicks once through them.
func (s *stage) chromium(path string) {
	for i := range 30 {
		s.publish(hostile, "shop.go", func(m *protocol.Message) { m.Priority = 3 * (i % 4) })
	}
	for range 2 {
		s.publish("mails", "shop.wait", nil)
		s.publish("bulk", "shop.go", func(m *protocol.Message) {
			m.ETA, m.Expires = time.Now().Add(time.Hour).UTC(), time.Now().Add(2*time.Hour).UTC()
		})
	}
	s.until("tasks run", "/workers/one@h", "shop.wait")
	s.until("messages wait", "/queues", "priority 9: 7")
	tab := browser.Open(s.t, 5*time.Minute)
	browser.Inspect(s.t, tab, browser.Inspection{
		Base: s.base, Shots: os.Getenv("MONITOR_SCREENSHOTS"),
		Paths: []string{path, "/scheduled"},
		Ready: `document.documentElement.hasAttribute('data-js') && (!document.querySelector('figure[data-chart] svg, figure .plot') || document.querySelector('.plot canvas') !== null)`,
	})
	browser.Resize(s.t, tab, 1280, "light")
	open := func(path string) { browser.Step(s.t, tab, "open "+path, chromedp.Navigate(s.base+path)) }
	click := func(selector string) {
		s.t.Helper()
		browser.Click(s.t, tab, selector)
	}
	seen := func(what string) {
		s.t.Helper()
		defer func() {
			if s.t.Failed() {
				s.t.Log(browser.Step(s.t, tab, "read", chromedp.Evaluate[string]("document.querySelector('main').innerText")))
			}
		}()
		browser.Until(s.t, tab, what, "document.body.innerText.includes(`"+what+"`)")
	}
	open("/queues")
	click(`a.row[href="/queues/bulk"]`)
	click(`form[action="/queues/bulk/pause"] button`)
	seen("The queue is paused.")
	browser.Until(s.t, tab, "the page follows by itself", `[...document.querySelectorAll('.chip')].some(c => c.textContent === 'paused')`)
	open("/queues/bulk")
	click(`form[action="/queues/bulk/resume"] button`)
	seen("consumed again")
	open("/workers")
	click(`a.row[href="/workers/one@h"]`)
	click(`form[action="/workers/one@h/drain"] button`)
	seen("It consumed")
	click(`form[action="/workers/one@h/fill"] button`)
	seen("consumes its queues again")
	open("/scheduled?task=shop.go")
	click(`button[formaction="/scheduled/cancel"]`)
	seen("The task is cancelled")
}
