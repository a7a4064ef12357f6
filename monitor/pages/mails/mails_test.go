package mails_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/monitor/pages/internal/pagestest"
	"github.com/evently/workers/monitor/pages/mails"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// newSite returns a site with the pages of mails.
func newSite(t testing.TB, cfg mails.Config) *httptest.Server {
	t.Helper()
	site, err := web.New(web.Config{Groups: []web.Group{mails.New(cfg, pagestest.Kinds())}, Logger: slog.New(slog.DiscardHandler), Audit: func(ctx context.Context, _ web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
		return do(ctx)
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(site)
	t.Cleanup(s.Close)
	return s
}

// fetch returns a document.
func fetch(t testing.TB, address string) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func sampleConfig(t testing.TB) mails.Config {
	t.Helper()
	h := pagestest.New(t)
	h.Samples(t, time.Now())
	data := protocol.Raw(`[{"email": "grace@example.org", "otp": "481516", "user_data": {"full_name": "Grace Hopper"}}]`)
	return mails.Config{History: h, Unmask: true, Preview: pagestest.Maker(t, func(id string) (args, kwargs protocol.Raw) {
		if id == "task-dead" {
			return data, nil
		}
		return nil, nil
	})}
}

// Each page tells what it must, masks what it must, and survives hostile names.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, sampleConfig(t))
	hostile := url.PathEscape("task-" + pagestest.Hostile)
	for path, c := range map[string]struct {
		status int
		has    []string
	}{
		"/was-it-sent":                          {200, []string{"relay's queue"}},
		"/was-it-sent?q=ada%40example.com":      {200, []string{"No. The mail server", "it came back", "5.1.1", "User unknown", "ada@example.com (user 42", "Attempt 1", "Greylisted", "connect", "41 ms", "Not known any more"}},
		"/was-it-sent?q=42":                     {200, []string{"a***@example.com", "BK-42"}},
		"/was-it-sent?q=4FzQdeferred":           {200, []string{"task-deferred"}},
		"/was-it-sent?q=BK-42":                  {200, []string{"task-deferred"}},
		"/was-it-sent?q=task-dead":              {200, []string{"became a dead letter", "account refused", "is that of the task"}},
		"/was-it-sent?q=nobody":                 {200, []string{"Not known: the history has no mail of"}},
		"/was-it-sent?q=1":                      {200, []string{"Before that"}},
		"/deliveries":                           {200, []string{"50 of 63", "accepted", "<svg", "after="}},
		"/deliveries?state=dead":                {200, []string{"1 of 1", "task-dead"}},
		"/deliveries?q=kind%3Aotp":              {200, []string{"12 of 12"}},
		"/deliveries?q=class%3Aaccount":         {200, []string{"1 of 1"}},
		"/deliveries?q=domain%3Anone.example":   {200, []string{"No mail of the history meets"}},
		"/deliveries?q=class%3Agreylisted":      {200, []string{"No mail of the history meets", "a mail that was accepted after failures has none"}},
		"/deliveries?q=user%3Ax":                {400, []string{"is not the id of a user"}},
		"/deliveries?since=soon":                {400, []string{"is not a time"}},
		"/deliveries?after=x":                   {400, []string{"no place in the list"}},
		"/deliveries/task-deferred":             {200, []string{"Attempt 2", "smtp.relay.example:587", "TLS 1.3", "Show the address", "<iframe"}},
		"/deliveries/task-deferred?tab=text":    {200, []string{"[event not kept]", "BK-42"}},
		"/deliveries/task-deferred?tab=headers": {200, []string{"Message-ID", "a***@example.com", "auto-generated"}},
		"/deliveries/task-deferred?tab=parts":   {200, []string{"multipart/alternative", "text/html", "quoted-printable"}},
		"/deliveries/" + hostile:                {200, []string{"&lt;script&gt;"}},
		"/deliveries/none":                      {404, []string{"has no mail of the task none"}},
	} {
		status, _, text := fetch(t, s.URL+path)
		if status != c.status {
			t.Errorf("%s: status %d", path, status)
		}
		plain := strings.NewReplacer("&#39;", "'", "&#43;", "+", "&#34;", `"`).Replace(text)
		for _, has := range c.has {
			if !strings.Contains(plain, has) {
				t.Errorf("%s: no %q in\n%s", path, has, text)
			}
		}
		for _, never := range []string{"grace@example.org", "481516", "<script>alert", "mallory@"} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %q", path, never)
			}
		}
	}
}

// The frame has the mail, without its secrets, and runs and loads nothing.
func TestPreview(t *testing.T) {
	t.Parallel()
	s := newSite(t, sampleConfig(t))
	status, header, text := fetch(t, s.URL+"/deliveries/task-dead/preview?look=dark")
	if policy := header.Get("Content-Security-Policy"); status != 200 || !strings.HasPrefix(policy, "sandbox; default-src 'none'") || strings.Contains(policy, "script") {
		t.Errorf("%d, policy %q", status, policy)
	}
	if !strings.Contains(text, "Grace") || strings.Contains(text, "grace@") || strings.Contains(text, "prefers-color-scheme:dark)") {
		t.Error(text)
	}
	if status, _, _ := fetch(t, s.URL+"/deliveries/none/preview"); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}

// While the history cannot be read, Redis answers about a task, and the page says what is missing.
func TestRedisAlone(t *testing.T) {
	t.Parallel()
	h := pagestest.New(t)
	h.Samples(t, time.Now())
	_ = h.DB.Close()
	yes := true
	cfg := mails.Config{History: down{h}, Redis: func(_ context.Context, id string) verdict.Traces {
		switch id {
		case "sent":
			return verdict.Traces{Status: "SUCCESS", Success: &yes}
		case "dead":
			return verdict.Traces{DeadLetter: &broker.DeadLetter{ID: "0123456789abcdef", Reason: "mail refused: 550"}}
		case "unsure":
			return verdict.Traces{DeadLetter: &broker.DeadLetter{ID: "0123456789abcdef", Reason: "delivery unsure: no answer"}}
		case "revoked":
			return verdict.Traces{Status: "REVOKED"}
		case "terminated":
			return verdict.Traces{Status: "REVOKED", Begun: true}
		case "revoked and unsure":
			return verdict.Traces{Status: "REVOKED", DeadLetter: &broker.DeadLetter{ID: "0123456789abcdef", Reason: "delivery unsure: no answer"}}
		case "away":
			return verdict.Traces{Error: "no answer"}
		}
		return verdict.Traces{Waiting: 7}
	}}
	s := newSite(t, cfg)
	for path, has := range map[string][]string{
		"sent":            {"Yes, by the result of the task", "could not be asked", "refuses connections", "are missing", "/tasks/sent"},
		"dead":            {"No. The task became a dead letter", "mail refused: 550"},
		"revoked":         {"Not known: "}, // a run may have been stopped
		"unsure":          {"Not known. The task became a dead letter"},
		"none":            {"Not known: Redis has neither", "wait in the queues: 7"},
		"away":            {"The history of mails cannot be read", "refuses connections"},
		"ada@example.com": {"The history of mails cannot be read", "refuses connections"},
	} {
		status, _, text := fetch(t, s.URL+"/was-it-sent?q="+url.QueryEscape(path))
		for _, want := range has {
			if status != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%s: %d, no %q in\n%s", path, status, want, text)
			}
		}
	}
	known := pagestest.New(t)
	known.Samples(t, time.Now())
	asked := newSite(t, mails.Config{History: known, Redis: cfg.Redis})
	if _, _, text := fetch(t, asked.URL+"/was-it-sent?q=revoked"); !strings.Contains(text, "No, by the result of the task: it was revoked.") {
		t.Errorf("a revoked task:\n%s", text)
	}
	for _, id := range []string{"terminated", "revoked and unsure"} {
		if _, _, text := fetch(t, asked.URL+"/was-it-sent?q="+url.QueryEscape(id)); !strings.Contains(text, "Not known") || strings.Contains(text, "No, by the result") {
			t.Errorf("%s:\n%s", id, text)
		}
	}
	without := newSite(t, mails.Config{Off: "Set LEDGER_DATABASE_URL of this test.", Redis: cfg.Redis})
	if _, _, text := fetch(t, without.URL+"/was-it-sent?q=sent"); !strings.Contains(text, "Yes, by the result") || !strings.Contains(text, "of this test") {
		t.Errorf("without a database:\n%s", text)
	}
}

// down is a history whose database refuses connections.
type down struct{ *pagestest.History }

// Find implements [mails.History].
func (down) Find(context.Context, string, int) ([]ledger.Mail, error) {
	return nil, fmt.Errorf("look for mails: %w", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
}

// Without a history the pages say what is missing.
func TestMissing(t *testing.T) {
	t.Parallel()
	s := newSite(t, mails.Config{Off: "Set LEDGER_DATABASE_URL of this test."})
	for _, path := range []string{"/was-it-sent", "/deliveries", "/deliveries/x"} {
		if status, _, text := fetch(t, s.URL+path); status != http.StatusOK || !strings.Contains(text, "of this test") {
			t.Errorf("%s: %d\n%s", path, status, text)
		}
	}
	empty := newSite(t, mails.Config{History: pagestest.New(t)})
	if status, _, text := fetch(t, empty.URL+"/deliveries"); status != http.StatusOK || !strings.Contains(text, "no tables of mails yet") {
		t.Errorf("%d\n%s", status, text)
	}
}
