package guard_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/evently/workers/monitor/guard"
)

// The password that a browser sends for a proxy is no login here.
func TestPasswordForAProxy(t *testing.T) {
	t.Parallel()
	local := start(t, guard.Config{Anonymous: guard.Operator})
	for range 12 {
		_, body := do(t, client(t), local.URL+"/", nil, browser, basic("ada", "proxy-password"))
		wantBody(t, body, "anonymous operator anonymous")
	}
	trusted, _ := guard.ParseNetworks([]string{"127.0.0.1"})
	forward := start(t, guard.Config{Addr: ":5555", Forward: guard.Forward{Header: "X-Forwarded-User", Default: guard.Viewer}, Proxies: trusted})
	_, body := do(t, client(t), forward.URL+"/", nil, browser, basic("ada", "proxy-password"), header("X-Forwarded-User", "ada"))
	wantBody(t, body, "ada viewer forward")
	reply, _ := do(t, client(t), forward.URL+"/", nil, browser, basic("ada", "proxy-password"))
	if wantStatus(t, reply, http.StatusSeeOther); reply.Header.Get("Location") != "/login?next=%2F" {
		t.Errorf("a person behind a proxy is led to %q", reply.Header.Get("Location"))
	}
	reply, _ = do(t, client(t), forward.URL+"/", nil, basic("ada", "proxy-password"))
	wantStatus(t, reply, http.StatusUnauthorized)
	// The password of a user of the monitor counts, and a wrong one too.
	own := start(t, guard.Config{Users: users(t)})
	reply, _ = do(t, client(t), own.URL+"/", nil, browser, basic("ada", "proxy-password"))
	wantStatus(t, reply, http.StatusUnauthorized)
}

// A name that cannot be taken is told as such, and not as a header that is not there.
func TestNamesOfAProxy(t *testing.T) {
	t.Parallel()
	trusted, _ := guard.ParseNetworks([]string{"127.0.0.1"})
	s := start(t, guard.Config{Addr: ":5555", Forward: guard.Forward{Header: "X-Forwarded-User", Default: guard.Viewer}, Proxies: trusted})
	for name, want := range map[string]string{
		`CORP\\ada`: "does not take the name", "Ada Lovelace": "does not take the name", strings.Repeat("x", 200): "does not take the name",
		"": "came without it", "(null)": "came without it", "<b>x</b>": "does not take the name",
	} {
		reply, body := do(t, client(t), s.URL+"/login", nil, browser, header("X-Forwarded-User", name))
		if wantStatus(t, reply, http.StatusOK); !strings.Contains(body, want) || strings.Contains(body, "<b>") || strings.Contains(body, "Lovelace") {
			t.Errorf("%q: the page has not %q:\n%s", name, want, body)
		}
		reply, _ = do(t, client(t), s.URL+"/", nil, header("X-Forwarded-User", name))
		wantStatus(t, reply, http.StatusUnauthorized)
	}
	_, body := do(t, client(t), s.URL+"/login", nil, browser, func(r *http.Request) { r.Header["X-Forwarded-User"] = []string{"eve", "ada"} })
	if !strings.Contains(body, "more than once") {
		t.Errorf("page for two names:\n%s", body)
	}
}

// A proxy may change the name of the host, as nginx does by itself, when the monitor knows its
// address. Browsers that use plain HTTP send the origin alone.
func TestFormsBehindAProxy(t *testing.T) {
	t.Parallel()
	for configured, status := range map[string]int{"": 403, "http://Monitor.Example.com:80/": 200, "http://monitor.example.com:": 200, "https://monitor.example.com": 403, "http://monitor.example.com:8080": 403} {
		s := start(t, guard.Config{Anonymous: guard.Operator, URL: configured})
		reply, body := do(t, client(t), s.URL+"/pause", url.Values{}, browser, header("Origin", "http://monitor.example.com"))
		if wantStatus(t, reply, status); status == 403 && !strings.Contains(body, "MONITOR_URL") {
			t.Errorf("MONITOR_URL %q: the page does not tell what to do:\n%s", configured, body)
		}
		reply, _ = do(t, client(t), s.URL+"/pause", url.Values{}, browser, header("Origin", "http://evil.example"))
		wantStatus(t, reply, http.StatusForbidden)
	}
}

// Some proxies add ports to addresses.
func TestForwardedPorts(t *testing.T) {
	t.Parallel()
	trusted, _ := guard.ParseNetworks([]string{"127.0.0.1", "10.0.0.0/8"})
	s := start(t, guard.Config{Anonymous: guard.Viewer, Proxies: trusted})
	for hops, want := range map[string]string{
		"192.0.2.7:51234": "192.0.2.7", "[2001:db8::7]:51234, 10.0.0.1:80": "2001:db8::7", "[2001:db8::7]": "2001:db8::7", "2001:db8::7": "2001:db8::7",
		"192.0.2.7, unknown": "127.0.0.1", "192.0.2.7:x": "127.0.0.1",
	} {
		_, body := do(t, client(t), s.URL+"/", nil, header("X-Forwarded-For", hops))
		wantBody(t, body, "anonymous viewer anonymous "+want)
	}
}

// The log has once that a proxy is not named: all its users have one address meanwhile.
func TestUnnamedProxy(t *testing.T) {
	t.Parallel()
	log := new(bytes.Buffer)
	s := start(t, guard.Config{Anonymous: guard.Viewer, Log: slog.New(slog.NewTextHandler(log, nil))})
	do(t, client(t), s.URL+"/", nil)
	if log.Len() > 0 {
		t.Errorf("log without a proxy:\n%s", log)
	}
	for range 3 {
		do(t, client(t), s.URL+"/", nil, header("X-Forwarded-For", "192.0.2.7"))
	}
	if got := log.String(); strings.Count(got, "MONITOR_TRUSTED_PROXIES") != 1 || !strings.Contains(got, "proxy=127.0.0.1") {
		t.Errorf("log:\n%s", got)
	}
}
