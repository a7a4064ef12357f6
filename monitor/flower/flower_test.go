package flower_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// serve serves an API whose requests are of the given role.
func serve(t *testing.T, cfg flower.Config, role web.Role) (base string) {
	t.Helper()
	api, err := flower.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), web.Actor{Name: "test", Role: role})))
		})
	}
	site, err := web.New(web.Config{Groups: []web.Group{api}, Guard: guard, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)
	return server.URL
}

func newFleet(t *testing.T, observers ...fleet.Observer) *fleet.State {
	t.Helper()
	s, err := fleet.New(fleet.Config{Observers: observers, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// take gives events to s.
func take(t testing.TB, s *fleet.State, events ...event) {
	t.Helper()
	for _, e := range events {
		e["clock"], e["timestamp"] = 1, float64(time.Now().Unix())
		if e["hostname"] == nil {
			e["hostname"] = "w@h"
		}
	}
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.AppendEvents(nil, "task.multi", "w@h", "tag", body)
	if err != nil {
		t.Fatal(err)
	}
	s.Take(raw)
}

func ask(t *testing.T, method, url, body string) (status int, kind, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, reply.Header.Get("Content-Type"), string(b)
}

// Only an admin may call tasks, only an operator may command workers, and read-only mode
// refuses all. Refusals are text, as Flower's.
func TestRoles(t *testing.T) {
	remote := broker.CapabilitiesOf(workertest.NewBroker()).Remote
	for _, test := range []struct {
		role     web.Role
		readOnly bool
		path     string
		status   int
	}{
		{web.RoleViewer, false, "/api/task/revoke/x", 403},
		{web.RoleViewer, false, "/api/worker/pool/grow/x", 403},
		{web.RoleOperator, false, "/api/worker/pool/grow/x", 404},
		{web.RoleOperator, false, "/api/task/send-task/x", 403},
		{web.RoleOperator, false, "/api/task/apply/x", 403},
		{web.RoleOperator, false, "/api/task/async-apply/x", 403},
		{web.RoleAdmin, false, "/api/task/send-task/x", 503}, // without a client
		{web.RoleAdmin, true, "/api/task/send-task/x", 403},
		{web.RoleAdmin, true, "/api/worker/shutdown/x", 403},
	} {
		t.Run(fmt.Sprint(test.role, test.readOnly, test.path), func(t *testing.T) {
			base := serve(t, flower.Config{Fleet: newFleet(t), Remote: remote, ReadOnly: test.readOnly, Logger: quiet()}, test.role)
			status, kind, text := ask(t, "POST", base+test.path, "")
			if status != test.status || kind != "text/plain; charset=UTF-8" {
				t.Errorf("status %d, %s, %q; want %d", status, kind, text, test.status)
			}
			if test.readOnly && text != "Read only mode is enabled" {
				t.Errorf("text %q", text)
			}
		})
	}
}

// A command is in the audit trail with its subject and without what was sent.
func TestAudit(t *testing.T) {
	var entries []web.AuditEntry
	cfg := flower.Config{Fleet: newFleet(t), Logger: quiet(), Audit: func(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
		entries = append(entries, e)
		return do(ctx)
	}}
	base := serve(t, cfg, web.RoleAdmin)
	ask(t, "POST", base+"/api/task/send-task/shop.add", `{"args": ["s3cret"]}`)
	ask(t, "POST", base+"/api/task/revoke/an-id", "")
	text, _ := json.Marshal(entries)
	if len(entries) != 2 || entries[0].Subjects[0] != "shop.add" || entries[1].Action != "task revoke" || strings.Contains(string(text), "s3cret") {
		t.Errorf("entries %s", text)
	}
}

// Events and answers of workers are shown without secrets.
func TestRedaction(t *testing.T) {
	state := newFleet(t)
	b := workertest.NewBroker()
	base := serve(t, flower.Config{Fleet: state, Remote: answering{broker.CapabilitiesOf(b).Remote}, Logger: quiet()}, web.RoleViewer)
	take(t, state,
		event{"type": "task-received", "uuid": "a", "name": "n", "args": "('482913',)", "kwargs": "{'password': 'hunter-sesame', 'to': 'ada@mail.example'}"},
		event{"type": "task-failed", "uuid": "a", "exception": "E('482913')", "traceback": "x\nhunter sesame"})
	for path, want := range map[string]string{
		"/api/task/info/a": "[redacted]", "/api/tasks": "[redacted]", "/api/tasks?search=482913": "{}",
		"/api/workers?refresh=1&workername=w@h": `"kwargs":{"otp":"[redacted]"}`,
	} {
		status, _, text := ask(t, "GET", base+path, "")
		if status != http.StatusOK || !strings.Contains(strings.ReplaceAll(text, `": "`, `":"`), want) {
			t.Errorf("%s: status %d, %s", path, status, text)
		}
		for _, secret := range []string{"482913", "hunter", "ada@", "sesame"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s: %s", path, secret, text)
			}
		}
	}
}

// answering is a Remote with a worker that tells of its running tasks.
type answering struct{ broker.Remote }

func (answering) Ask(_ context.Context, request []byte, _ string, receive func([]byte)) error {
	r, err := (&protocol.Decoder{}).DecodeControl(request)
	if err != nil {
		return err
	}
	values := map[string]string{
		"stats":  `{"pid": 7, "broker": {"hostname": "h", "alternates": ["redis://:482913@h"]}, "pool": {"processes": [1, 2]}}`,
		"active": `[{"id": "x", "name": "n", "args": ["482913", "ada@mail.example"], "kwargs": {"otp": "482913"}}, {"id": "y", "name": "n", "args": "('482913',)", "kwargs": "{}"}]`,
		"conf":   `{"broker_password": "482913", "timezone": "UTC"}`, "registered": `["n"]`, "active_queues": `[{"name": "q"}]`,
		"scheduled": `[{"eta": "x", "request": {"id": "z", "args": ["482913"], "kwargs": {"password": "hunter"}}}]`, "reserved": `[]`, "revoked": `["a"]`,
	}
	raw, err := protocol.EncodeReply(r, protocol.ControlReply{Ticket: r.Ticket, Node: "w@h", Value: protocol.Raw(values[r.Method])}, "tag")
	if err != nil {
		return err
	}
	receive(raw)
	return nil
}

// falters is answering until it is told to fail, or to find no worker.
type falters struct {
	answering
	gone, away atomic.Bool
}

func (f *falters) Ask(ctx context.Context, request []byte, queue string, receive func([]byte)) error {
	switch {
	case f.away.Load():
		return errors.New("no connection to Redis")
	case f.gone.Load():
		return nil
	}
	return f.answering.Ask(ctx, request, queue, receive)
}

// A worker that has died does not count as a consumer of its queue. A broker that is unavailable is
// no death of workers.
func TestSilentConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &falters{answering: answering{broker.CapabilitiesOf(workertest.NewBroker()).Remote}}
		api, err := flower.New(flower.Config{Fleet: newFleet(t), Remote: remote, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- api.Run(ctx) }()
		want := func(when string, silent bool) {
			t.Helper()
			if got := api.Consumers(); len(got) != 1 || got[0].Node != "w@h" || got[0].Processes != 2 || got[0].Silent != silent {
				t.Errorf("%s: %+v", when, got)
			}
		}
		time.Sleep(20 * time.Second)
		want("it answers", false)
		remote.away.Store(true)
		time.Sleep(10 * time.Minute)
		want("the broker is unavailable", false)
		remote.gone.Store(true) // no worker has come back when the broker answers again
		remote.away.Store(false)
		time.Sleep(20 * time.Second)
		want("the broker has just come back", false)
		remote.gone.Store(false)
		time.Sleep(20 * time.Second)
		remote.gone.Store(true)
		time.Sleep(50 * time.Second)
		want("it is gone", true)
		remote.gone.Store(false)
		time.Sleep(20 * time.Second)
		want("it is back", false)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Hostile names do not make series without end, and cannot break the format.
func TestMetricsAreBounded(t *testing.T) {
	m := flower.NewMetrics(nil)
	state := newFleet(t, m)
	for i := range 120 {
		var batch []event
		for j := range 100 {
			n := i*100 + j
			batch = append(batch, event{"type": "task-received", "uuid": fmt.Sprint(n), "name": fmt.Sprintf("evil\"}\n%d", n), "hostname": fmt.Sprintf("w@h%d", n)})
		}
		take(t, state, batch...)
	}
	base := serve(t, flower.Config{Fleet: state, Metrics: m, Logger: quiet()}, web.RoleViewer)
	status, kind, text := ask(t, "GET", base+"/metrics", "")
	if status != http.StatusOK || kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("status %d, %s", status, kind)
	}
	if n := strings.Count(text, "\n"); n > 30_000 || !strings.Contains(text, "evently_flower_folded_events_total 2000.0\n") {
		t.Errorf("%d lines, %s", n, text[max(0, len(text)-200):])
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "flower_") && !strings.HasPrefix(line, "evently_") {
			t.Fatalf("line %q", line)
		}
	}
}

// FuzzSearch gives hostile searches to the interface.
func FuzzSearch(f *testing.F) {
	for _, seed := range []string{"abc", `"a b" AND (name:x OR kwargs:a=1)`, `\"`, "((((", "state:", "-", "NOT x", "kwargs:=", "\x00", "ß:ẞß"} {
		f.Add(seed)
	}
	state, err := fleet.New(fleet.Config{Logger: quiet()})
	if err != nil {
		f.Fatal(err)
	}
	take(f, state, event{"type": "task-received", "uuid": "a", "name": "n", "args": "()", "kwargs": "{'a': {'b': 1}, 'c"})
	api, err := flower.New(flower.Config{Fleet: state, Logger: quiet()})
	if err != nil {
		f.Fatal(err)
	}
	site, err := web.New(web.Config{Groups: []web.Group{api}, Logger: quiet()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, search string) {
		r := httptest.NewRequest("GET", "http://localhost/api/tasks", nil)
		query := r.URL.Query()
		query.Set("search", search)
		r.URL.RawQuery = query.Encode()
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		isJSON := strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") // else the site has refused it
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest || isJSON && !json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
