package site

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// trail keeps the audit trail in memory.
type trail struct {
	mu   sync.Mutex
	text string
}

func (t *trail) add(e web.AuditEntry, outcome string, details map[string]any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text += fmt.Sprintf("%s by %s from %s %v: %s %v\n", e.Action, e.Actor.Name, e.From, e.Subjects, outcome, details)
}

func (t *trail) Do(ctx context.Context, e web.AuditEntry, do func(context.Context) (map[string]any, error)) error {
	details, err := do(ctx)
	t.add(e, fmt.Sprint("done ", err), details)
	return err
}

func (t *trail) Note(_ context.Context, e web.AuditEntry, refused string, details map[string]any) error {
	t.add(e, "refused "+refused, details)
	return nil
}

func (t *trail) has(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Contains(t.text, text)
}

// parts returns the least that a monitor needs, with a configuration.
func parts(t testing.TB, env map[string]string) Parts {
	t.Helper()
	cfg, err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b, err := redis.New(redis.Config{URL: redistest.Start(t).URL(0), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return Parts{Config: cfg, Log: log, Broker: b, Trail: &trail{}, NoHistory: "there is none"}
}

// serve runs a monitor and returns its URL.
func serve(t testing.TB, p Parts) string {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return "http://" + l.Addr().String()
}

// A monitor that other machines reach does not begin without a login.
func TestExposedMonitor(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"MONITOR_ADDR=0.0.0.0:5555": "nothing protects the monitor",
		"MONITOR_ADDR=:5555":        "nothing protects the monitor",
		"MONITOR_USERS=ada:admin:x": "not one of bcrypt",
		"MONITOR_ANONYMOUS_ROLE=admin MONITOR_ADDR=:5555 MONITOR_USERS=" + user(t, "ada", "admin"): "anonymous may be viewer or none",
		"MONITOR_TLS_CERT_FILE=/nonexistent MONITOR_TLS_KEY_FILE=/nonexistent":                     "MONITOR_TLS_CERT_FILE",
		"MONITOR_ADDR=:5555 MONITOR_USERS=" + user(t, "ada", "admin"):                              "",
	} {
		vars := map[string]string{}
		for pair := range strings.FieldsSeq(env) {
			name, value, _ := strings.Cut(pair, "=")
			vars[name] = value
		}
		cfg, err := config.Load(func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
		if err != nil {
			t.Fatal(err)
		}
		_, err = makeGuard(&Parts{Config: cfg, Log: slog.New(slog.DiscardHandler)})
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: error %q, want %q", env, got, want)
		}
	}
}

const password = "horse-battery"

func user(t testing.TB, name, role string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + role + ":" + string(hash)
}

// Behind a proxy that changes the name of the host, such as nginx without proxy_set_header, the
// forms of MONITOR_URL go through the whole monitor, and those of other sites do not.
func TestFormsOfMonitorURL(t *testing.T) {
	t.Parallel()
	base := serve(t, parts(t, map[string]string{"MONITOR_URL": "http://Monitor.example.com:80"}))
	for origin, refused := range map[string]bool{"http://monitor.example.com": false, "http://evil.example": true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/workers/a/shutdown", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		reply, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if (reply.StatusCode == http.StatusForbidden) != refused {
			t.Errorf("a form of %s: status %d", origin, reply.StatusCode)
		}
	}
}

// The whole monitor asks for a login, tells who did what, and lets go.
func TestGuardedMonitor(t *testing.T) {
	t.Parallel()
	p := parts(t, map[string]string{"MONITOR_USERS": user(t, "ada", "operator") + "," + user(t, "vera", "viewer")})
	base := serve(t, p)
	jar := map[string]*http.Cookie{}
	do := func(method, path string, form url.Values) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for _, c := range jar {
			req.AddCookie(c)
		}
		reply, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		for _, c := range reply.Cookies() {
			jar[c.Name] = c
		}
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply, string(body)
	}
	if reply, _ := do("GET", "/", nil); reply.StatusCode != http.StatusSeeOther || reply.Header.Get("Location") != "/login?next=%2F" {
		t.Errorf("without login: %d %v", reply.StatusCode, reply.Header)
	}
	if reply, _ := do("POST", "/login", url.Values{"name": {"vera"}, "password": {password}}); reply.StatusCode != http.StatusSeeOther {
		t.Fatalf("login: %d", reply.StatusCode)
	}
	if reply, body := do("GET", "/", nil); reply.StatusCode == http.StatusSeeOther || !strings.Contains(body, "vera") || !strings.Contains(body, `action="/logout"`) {
		t.Errorf("overview: %d\n%.3000s", reply.StatusCode, body)
	}
	if reply, body := do("POST", "/workers/a/shutdown", url.Values{}); reply.StatusCode != http.StatusForbidden && reply.StatusCode != http.StatusNotFound {
		t.Errorf("a viewer shuts a worker down: %d\n%s", reply.StatusCode, body)
	}
	if reply, _ := do("POST", "/logout", url.Values{}); reply.StatusCode != http.StatusSeeOther {
		t.Errorf("logout: %d", reply.StatusCode)
	}
	if reply, _ := do("GET", "/", nil); reply.StatusCode != http.StatusSeeOther {
		t.Errorf("after the logout: %d", reply.StatusCode)
	}
	kept := p.Trail.(*trail)
	for _, want := range []string{"monitor.login by vera from 127.0.0.1 []: refused  map[by:password role:viewer]", "monitor.logout by vera"} {
		for end := time.Now().Add(30 * time.Second); !kept.has(want); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the trail has no %q:\n%s", want, kept.text)
			}
		}
	}
}
