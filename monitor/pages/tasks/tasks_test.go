package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/pages/internal/pagestest"
	"github.com/evently/workers/monitor/pages/mails"
	"github.com/evently/workers/monitor/pages/tasks"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/protocol"
)

// desk has one dead letter, and notes what is done.
type desk struct {
	mu   sync.Mutex
	done []string
}

func (d *desk) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, what)
}

func (d *desk) all() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.done, "; ")
}

func (d *desk) List(context.Context, int, int) ([]broker.DeadLetter, int, error) {
	return []broker.DeadLetter{{ID: "0123456789abcdef", TaskID: "task-dead", Reason: "account refused", At: time.Now().Add(-time.Minute)}}, 1, nil
}

func (d *desk) RetryMany(_ context.Context, ids []string, by, _ string) []error {
	if ids[0] != "0123456789abcdef" {
		return []error{errors.New("no such dead letter")}
	}
	d.note("retry " + ids[0] + " by " + by)
	return []error{nil}
}

func (d *desk) revoke(_ context.Context, id string, terminate bool) error {
	word := "revoke "
	if terminate {
		word = "terminate "
	}
	d.note(word + id)
	return nil
}

// told returns what the events of some tasks tell.
func told(t testing.TB, now time.Time) *fleet.State {
	t.Helper()
	s, err := fleet.New(fleet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	clock := 0
	tell := func(age time.Duration, kind, id string, more map[string]any) {
		clock++
		event := map[string]any{"type": kind, "uuid": id, "hostname": "celery@worker-1", "utcoffset": 0, "pid": 7, "clock": clock, "timestamp": float64(now.Add(-age).UnixMicro()) / 1e6}
		for k, v := range more {
			event[k] = v
		}
		body, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := protocol.AppendEvents(nil, protocol.MultiRoutingKey, "celery@worker-1", fmt.Sprint("tag-", clock), []byte("["+string(body)+"]"))
		if err != nil {
			t.Fatal(err)
		}
		s.Take(raw)
	}
	const module = "app.tasks."
	tell(5*time.Minute, "task-sent", "task-deferred", map[string]any{"name": module + "send_booking_confirmation", "queue": "email_notifications", "args": "(42, {'event_name': 'Nordic Jazz Night', 'booking_id': 'BK-42'})", "kwargs": "{}", "retries": 0, "hostname": "gen1@shop"})
	tell(5*time.Minute-time.Second, "task-received", "task-deferred", map[string]any{"name": module + "send_booking_confirmation", "args": "(42, {'event_name': 'Nordic Jazz Night', 'booking_id': 'BK-42'})", "kwargs": "{}", "retries": 0})
	tell(5*time.Minute-time.Second, "task-started", "task-deferred", nil)
	tell(5*time.Minute-2*time.Second, "task-retried", "task-deferred", map[string]any{"exception": "Retry(Greylisted)", "traceback": "Traceback (most recent call last):\n  File \"x.py\", line 1\nRetry\x1b[31m: Greylisted\n"})
	tell(4*time.Minute+time.Second, "task-received", "task-deferred", map[string]any{"name": module + "send_booking_confirmation", "args": "(42, {'event_name': 'Nordic Jazz Night', 'booking_id': 'BK-42'})", "kwargs": "{}", "retries": 1})
	tell(4*time.Minute+time.Second, "task-started", "task-deferred", nil)
	tell(4*time.Minute, "task-succeeded", "task-deferred", map[string]any{"runtime": 0.913, "result": "{'success': True}"})
	tell(2*time.Minute, "task-received", "task-dead", map[string]any{"name": module + "send_otp_verification_email", "args": "({'email': 'grace@example.org', 'otp': '481516'},)", "kwargs": "{}", "retries": 3})
	tell(2*time.Minute, "task-failed", "task-dead", map[string]any{"exception": "SendError('535 for grace@example.org 481516')", "traceback": "Traceback\n"})
	hostile := "task-" + pagestest.Hostile
	tell(time.Minute, "task-received", hostile, map[string]any{"name": pagestest.Hostile, "args": "('" + pagestest.Hostile + "',)", "kwargs": "{}", "root_id": "task-deferred", "parent_id": "task-deferred"})
	tell(time.Second, "task-received", "waiting-1", map[string]any{"name": module + "send_welcome_email", "args": "()", "kwargs": "{}", "eta": now.Add(time.Hour).Format(time.RFC3339)})
	for i := range 70 {
		id := "8f14e45f-ceea-467f-a1de-" + strings.Repeat("0", 10) + string(rune('0'+i/10)) + string(rune('0'+i%10))
		tell(time.Duration(i)*7*time.Second+10*time.Minute, "task-received", id, map[string]any{"name": module + "send_welcome_email", "args": "()", "kwargs": "{}", "hostname": "celery@worker-2"})
		tell(time.Duration(i)*7*time.Second+10*time.Minute-time.Second, "task-succeeded", id, map[string]any{"runtime": 0.1, "result": "None", "hostname": "celery@worker-2"})
	}
	return s
}

type fixture struct {
	*httptest.Server
	desk *desk
	page *http.Client
}

func newSite(t testing.TB, change func(*tasks.Config)) *fixture {
	t.Helper()
	now := time.Now()
	h := pagestest.New(t)
	h.Samples(t, now)
	d := &desk{}
	cfg := tasks.Config{Fleet: told(t, now), History: h, Letters: d, Revoke: d.revoke}
	if change != nil {
		change(&cfg)
	}
	groups := []web.Group{tasks.New(cfg)}
	if cfg.History != nil {
		groups = append(groups, mails.New(mails.Config{History: h, Unmask: true, Preview: pagestest.Maker(t, nil)}, pagestest.Kinds()))
	}
	site, err := web.New(web.Config{Groups: groups, Logger: slog.New(slog.DiscardHandler), Audit: func(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
		d.note("audit " + e.Action)
		return do(ctx)
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(site)
	t.Cleanup(s.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{s, d, &http.Client{Jar: jar}}
}

func (f *fixture) get(t testing.TB, path string) (int, string) {
	t.Helper()
	return f.send(t, http.MethodGet, path, nil)
}

func (f *fixture) send(t testing.TB, method, path string, form url.Values) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := f.page.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newSite(t, nil)
	hostile := url.PathEscape("task-" + pagestest.Hostile)
	for path, c := range map[string]struct {
		status int
		has    []string
	}{
		"/tasks":                              {200, []string{"50 of 74", "SUCCESS", "send_booking_confirmation", "bounced", "535 5.7.8", "Older mails"}},
		"/tasks?state=FAILURE":                {200, []string{"1 of 1", "task-dead", "/tasks?error=SendError&amp;state=FAILURE"}},
		"/tasks?error=SendError":              {200, []string{"1 of 1", "task-dead", `name="error" value="SendError"`}},
		"/tasks?error=KeyError":               {200, []string{"No task meets these conditions", "KeyError"}},
		"/tasks?error=KeyError&q=user%3A42":   {200, []string{"1 of 1 mails"}},
		"/tasks?q=worker%3Acelery%40worker-2": {200, []string{"50 of 70", "after="}},
		"/tasks?q=send_otp":                   {200, []string{"1 of 1"}},
		"/tasks?q=user%3A42":                  {200, []string{"by the history of mails", "task-deferred", "1 of 1 mails", "send_booking_confirmation"}},
		"/tasks?q=ada%40example.com":          {200, []string{"task-deferred"}},
		"/tasks?q=class%3Aaccount":            {200, []string{"task-dead", "FAILURE"}},
		"/tasks?q=user%3A42+worker%3Ax":       {400, []string{"A search may have one of both"}},
		"/tasks?q=8f14e45f-ceea-467f-a1de-000000000059&source=history": {200, []string{"1 of 1 mails"}},
		"/tasks?source=history":                       {200, []string{"50 of 63 mails"}},
		"/tasks?after=x":                              {400, []string{"no place in the list"}},
		"/tasks?q=nothing-like-it":                    {200, []string{"No task meets these conditions"}},
		"/tasks/task-deferred":                        {200, []string{"Published", "gen1@shop", "Attempt 1", "RETRY", "Greylisted", "Attempt 2", "41 ms", "Report about the mail", "User unknown", "apply_async", "Nordic Jazz Night", "/api/task/send-task/", "child"}},
		"/tasks/task-dead":                            {200, []string{"Dead letter", "Retry from the dead letter", "/dead-letters/0123456789abcdef", "[redacted]"}},
		"/tasks/waiting-1":                            {200, []string{"RECEIVED", "Revoke"}},
		"/tasks/waiting-1/revoke":                     {200, []string{"Stop it if it runs"}},
		"/tasks/8f14e45f-ceea-467f-a1de-000000000005": {200, []string{"SUCCESS"}},
		"/tasks/" + hostile:                           {200, []string{"&lt;script&gt;", "root"}},
		"/tasks/none":                                 {404, []string{"No task none is known", `href="/queues"`}},
	} {
		status, text := f.get(t, path)
		if status != c.status {
			t.Errorf("%s: status %d", path, status)
		}
		for _, has := range c.has {
			if !strings.Contains(text, has) {
				t.Errorf("%s: no %q in\n%s", path, has, text)
			}
		}
		for _, never := range []string{"grace@example.org", "481516", "<script>alert", "\x1b"} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %q", path, never)
			}
		}
	}
}

// Every action answers with a page, and is audited. Without JavaScript it is a form.
func TestActions(t *testing.T) {
	t.Parallel()
	f := newSite(t, nil)
	for _, c := range []struct {
		path string
		form url.Values
		has  string
		done string
	}{
		{"/tasks/waiting-1/revoke", url.Values{}, "told not to run the task", "revoke waiting-1"},
		{"/tasks/waiting-1/revoke", url.Values{"terminate": {"yes"}}, "told to stop the task", "terminate waiting-1"},
		{"/tasks/task-dead/retry", url.Values{"letter": {"0123456789abcdef"}}, "in its queue again", "retry 0123456789abcdef by local"},
		{"/tasks/task-dead/retry", url.Values{"letter": {"none"}}, "no such dead letter", ""},
		{"/tasks/task-dead/retry", url.Values{}, "names no dead letter", ""},
		{"/deliveries/task-deferred/unmask", url.Values{}, "The mail is to ada@example.com", "audit deliveries.unmask"},
	} {
		status, text := f.send(t, http.MethodPost, c.path, c.form)
		if !strings.Contains(text, c.has) || c.done != "" && status != 200 {
			t.Errorf("%s %v: %d, no %q in\n%s", c.path, c.form, status, c.has, text)
		}
		if !strings.Contains(f.desk.all(), c.done) {
			t.Errorf("%s: done is %s, want %s", c.path, f.desk.all(), c.done)
		}
	}
}

// A search that the history cannot answer has no link to it.
func TestOlderMails(t *testing.T) {
	t.Parallel()
	f := newSite(t, nil)
	for query, want := range map[string]bool{"": true, "send_welcome": true, "worker:celery@worker-2": false, "name:send_welcome": false, "state:SUCCESS": false, "send welcome": false} {
		status, text := f.get(t, "/tasks?q="+url.QueryEscape(query))
		if got := strings.Contains(text, "Older mails"); status != 200 || got != want {
			t.Errorf("%q: status %d, link to the history: %t", query, status, got)
		}
	}
}

// Without a database, and without events, the pages say what is missing.
func TestMissing(t *testing.T) {
	t.Parallel()
	f := newSite(t, func(cfg *tasks.Config) { cfg.History = nil })
	if status, text := f.get(t, "/tasks"); status != 200 || !strings.Contains(text, "Only what was seen since the start") || !strings.Contains(text, "task-deferred") {
		t.Errorf("%d\n%s", status, text)
	}
	if _, text := f.get(t, "/tasks?q=user%3A42"); !strings.Contains(text, "No history of mails") {
		t.Error(text)
	}
	f = newSite(t, func(cfg *tasks.Config) { cfg.Fleet = nil })
	if _, text := f.get(t, "/tasks"); !strings.Contains(text, "50 of 63 mails") {
		t.Error(text)
	}
	f = newSite(t, func(cfg *tasks.Config) { cfg.Fleet, cfg.History = nil, nil })
	if _, text := f.get(t, "/tasks"); !strings.Contains(text, "No tasks are known") {
		t.Error(text)
	}
}

// A task whose events were not heard, and that has no mail yet, is known by the message that a
// worker holds until its time.
func TestHeldTask(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *tasks.Config) {
		c.Held = func(_ context.Context, id string) (*inspect.Waiting, error) {
			if id != "held-1" {
				return nil, nil
			}
			return &inspect.Waiting{Message: inspect.Message{ID: id, Task: "app.tasks.send_welcome_email", Queue: "email_notifications", ETA: time.Now().Add(time.Hour), Args: "({'email': 'a***@mail.example'},)"}, Node: "email-worker@one"}, nil
		}
	})
	status, body := s.get(t, "/tasks/held-1")
	if status != http.StatusOK || !strings.Contains(body, "scheduled") || !strings.Contains(body, "Due") || !strings.Contains(body, "/workers/email-worker@one") || !strings.Contains(body, "/tasks/held-1/revoke") {
		t.Errorf("status %d:\n%s", status, body)
	}
	if status, _ := s.get(t, "/tasks/held-2"); status != http.StatusNotFound {
		t.Errorf("a task that is not held: status %d", status)
	}
}

// A task that was revoked before its time says so, and is not offered to be revoked again: its
// event comes at that time only.
func TestCancelledTask(t *testing.T) {
	t.Parallel()
	var revoked atomic.Bool
	s := newSite(t, func(c *tasks.Config) {
		c.Held = func(_ context.Context, id string) (*inspect.Waiting, error) {
			return &inspect.Waiting{Message: inspect.Message{ID: id, Task: "app.tasks.send_welcome_email", ETA: time.Now().Add(time.Hour)}, Revoked: revoked.Load()}, nil
		}
	})
	for _, cancelled := range []bool{false, true} {
		revoked.Store(cancelled)
		for _, id := range []string{"waiting-1", "held-1"} {
			_, body := s.get(t, "/tasks/"+id)
			if strings.Contains(body, ">cancelled<") != cancelled || strings.Contains(body, "/tasks/"+id+"/revoke") == cancelled {
				t.Errorf("%s, cancelled %t:\n%s", id, cancelled, body)
			}
		}
	}
}
