package guard_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/monitor/guard"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// clock is a clock that stands still.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func board(t testing.TB, url string) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func wantActor(t testing.TB, c *http.Client, base, want string) {
	t.Helper()
	reply, body := do(t, c, base+"/", nil)
	if want == "" {
		if reply.StatusCode != http.StatusUnauthorized {
			t.Errorf("answer %d %q, want 401", reply.StatusCode, body)
		}
		return
	}
	wantBody(t, body, want)
}

// A session is known to every monitor of the Redis, also after a restart, and ends for all of
// them. Redis never has the secret of the cookie.
func TestSessionsInRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	clock := newClock()
	monitor := func() *site {
		return start(t, guard.Config{Users: users(t), Store: board(t, server.URL(0)), Now: clock.now})
	}
	one, two := monitor(), monitor()
	c := client(t)
	login(t, c, one.URL, "anna", passwords["anna"])
	wantActor(t, c, one.URL, "anna admin")
	wantActor(t, c, two.URL, "anna admin")
	wantActor(t, c, monitor().URL, "anna admin")

	_, secret, _ := strings.Cut(c.Jar.Cookies(nil)[0].Value, ".")
	conn := server.Conn(0)
	defer conn.Close()
	keys, err := strs(conn.Do("KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := str(conn.Do("GET", key))
		if strings.Contains(key+value, secret) || err != nil {
			t.Errorf("%s has the secret, or is unreadable: %v", key, err)
		}
		if ttl, err := conn.Do("PTTL", key); err != nil || ttl.(int64) <= 0 {
			t.Errorf("%s stays for ever: %v %v", key, ttl, err)
		}
	}
	if len(keys) != 2 {
		t.Errorf("keys %q, want 2", keys)
	}

	// A person who may write to Redis cannot make a session, or raise a role.
	i := slices.IndexFunc(keys, func(k string) bool { return strings.Contains(k, "monitor.session.") })
	value, _ := str(conn.Do("GET", keys[i]))
	forged := strings.Replace(value, `"name":"anna"`, `"name":"olga"`, 1)
	if _, err := conn.Do("SET", keys[i], forged, "KEEPTTL"); err != nil {
		t.Fatal(err)
	}
	wantActor(t, c, monitor().URL, "")
	if _, err := conn.Do("SET", keys[i], value, "KEEPTTL"); err != nil {
		t.Fatal(err)
	}
	wantActor(t, c, monitor().URL, "anna admin")

	// A logout here ends it there, as soon as that one asks again.
	do(t, c, one.URL+"/logout", url.Values{})
	other := client(t)
	other.Jar.SetCookies(nil, []*http.Cookie{{Name: "evently_monitor", Value: cookieOf(t, one, two, clock)}})
	wantActor(t, other, two.URL, "anna admin")
	do(t, other, one.URL+"/logout", url.Values{"everywhere": {"1"}})
	clock.add(3 * time.Second)
	wantActor(t, other, two.URL, "")
	wantActor(t, c, two.URL, "")
}

// cookieOf logs in at one monitor, shows the session to the other, and returns its cookie.
func cookieOf(t testing.TB, one, two *site, clock *clock) string {
	t.Helper()
	c := client(t)
	login(t, c, one.URL, "anna", passwords["anna"])
	wantActor(t, c, two.URL, "anna admin")
	return c.Jar.Cookies(nil)[0].Value
}

func str(v any, err error) (string, error) {
	b, _ := v.([]byte)
	return string(b), err
}

func strs(v any, err error) (all []string, _ error) {
	list, _ := v.([]any)
	for _, one := range list {
		all = append(all, string(one.([]byte)))
	}
	return all, err
}

// flaky is a store that may be unavailable.
type flaky struct {
	mu    sync.Mutex
	down  bool
	notes map[string][]byte
	asked int
}

var errDown = errors.New("connection refused")

func (f *flaky) do(fn func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down {
		return errDown
	}
	fn()
	return nil
}

func (f *flaky) Post(_ context.Context, name string, value []byte, _ time.Duration) error {
	return f.do(func() { f.notes[name] = value })
}

func (f *flaky) Posted(_ context.Context, names ...string) (values [][]byte, err error) {
	err = f.do(func() {
		for _, n := range names {
			values = append(values, f.notes[n])
		}
	})
	return values, err
}

func (f *flaky) Unpost(_ context.Context, names ...string) error {
	return f.do(func() {
		for _, n := range names {
			delete(f.notes, n)
		}
	})
}

func (f *flaky) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Without Redis sessions go on in memory, new ones too, and reach Redis later. So do logouts.
func TestSessionsWithoutRedis(t *testing.T) {
	t.Parallel()
	store := &flaky{notes: map[string][]byte{}}
	clock := newClock()
	s := start(t, guard.Config{Users: users(t), Store: store, Now: clock.now})
	before, during := client(t), client(t)
	login(t, before, s.URL, "vera", passwords["vera"])
	store.set(true)
	clock.add(10 * time.Second)
	wantActor(t, before, s.URL, "vera viewer")
	login(t, during, s.URL, "olga", passwords["olga"])
	clock.add(10 * time.Second)
	wantActor(t, during, s.URL, "olga operator")
	old := before.Jar.Cookies(nil)[0]
	do(t, before, s.URL+"/logout", url.Values{})
	store.set(false)
	clock.add(10 * time.Second)
	wantActor(t, during, s.URL, "olga operator")
	again := start(t, guard.Config{Users: users(t), Store: store, Now: clock.now}) // a restart
	wantActor(t, during, again.URL, "olga operator")
	before.Jar.SetCookies(nil, []*http.Cookie{old})
	wantActor(t, before, s.URL, "")
	wantActor(t, before, again.URL, "")
}

// A session ends after it was not used, and at last in any case.
func TestSessionExpiry(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]guard.Store{"memory": nil, "store": &flaky{notes: map[string][]byte{}}} {
		clock := newClock()
		s := start(t, guard.Config{Users: users(t), Store: store, Now: clock.now, Idle: time.Hour, Lifetime: 3 * time.Hour})
		c := client(t)
		login(t, c, s.URL, "vera", passwords["vera"])
		for range 5 {
			clock.add(35 * time.Minute)
			wantActor(t, c, s.URL, "vera viewer")
		}
		clock.add(10 * time.Minute)
		wantActor(t, c, s.URL, "") // 3:05
		login(t, c, s.URL, "vera", passwords["vera"])
		clock.add(61 * time.Minute)
		if wantActor(t, c, s.URL, ""); t.Failed() {
			t.Log(name)
		}
	}
}

// Requests within two seconds ask the store once: ten tabs load Redis as one does.
func TestSessionsAskSeldom(t *testing.T) {
	t.Parallel()
	store := &flaky{notes: map[string][]byte{}}
	s := start(t, guard.Config{Users: users(t), Store: store, Now: newClock().now})
	c := client(t)
	login(t, c, s.URL, "vera", passwords["vera"])
	asked := store.asked
	for range 50 {
		wantActor(t, c, s.URL, "vera")
	}
	if store.asked != asked {
		t.Errorf("%d questions for 50 requests", store.asked-asked)
	}
}

func TestHostileCookies(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t), Store: &flaky{notes: map[string][]byte{}}})
	c := client(t)
	login(t, c, s.URL, "vera", passwords["vera"])
	id, secret, _ := strings.Cut(c.Jar.Cookies(nil)[0].Value, ".")
	for _, value := range []string{
		"", ".", id, id + ".", id + "." + strings.Repeat("A", 52), "." + secret, id + "." + secret[:51], id + "." + secret + "A", strings.ToLower(id) + "." + secret,
		strings.Repeat("*", 26) + "." + secret, "../../../../../etc/passwd.." + secret, strings.Repeat("A", 5000),
	} {
		reply, _ := do(t, &http.Client{Transport: c.Transport}, s.URL+"/", nil, header("Cookie", "evently_monitor="+value))
		wantStatus(t, reply, http.StatusUnauthorized)
	}
}

// A logout ends the streams of the session.
func TestLogoutEndsStreams(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	c := client(t)
	login(t, c, s.URL, "vera", passwords["vera"])
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/stream", nil)
	stream, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	do(t, c, s.URL+"/logout", url.Values{})
	if _, err := io.ReadAll(stream.Body); err != nil { // ends
		t.Error(err)
	}
}

// Behind TLS the cookie is one of this host alone.
func TestSecureCookie(t *testing.T) {
	t.Parallel()
	nets, err := guard.ParseNetworks([]string{"127.0.0.1", "10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	behind := start(t, guard.Config{Users: users(t), Proxies: nets})
	direct := start(t, guard.Config{Users: users(t)})
	for s, secure := range map[*site]bool{behind: true, direct: false} {
		c := client(t)
		form := url.Values{"name": {"vera"}, "password": {passwords["vera"]}}
		reply, _ := do(t, c, s.URL+"/login", form, header("X-Forwarded-Proto", "https"), header("X-Forwarded-For", "192.0.2.7, 10.1.1.1"))
		cookie := reply.Cookies()[0]
		if cookie.Secure != secure || strings.HasPrefix(cookie.Name, "__Host-") != secure || (reply.Header.Get("Strict-Transport-Security") != "") != secure {
			t.Errorf("trusted proxy %v: %v", secure, reply.Header)
		}
		want := "127.0.0.1"
		if secure {
			want = "192.0.2.7"
		}
		_, body := do(t, c, s.URL+"/", nil, header("X-Forwarded-Proto", "https"), header("X-Forwarded-For", "6.6.6.6, 192.0.2.7,10.1.1.1"))
		wantBody(t, body, "vera viewer password "+want)
	}
	tls := httptest.NewTLSServer(direct.Config.Handler)
	defer tls.Close()
	c := client(t)
	c.Transport = tls.Client().Transport
	login(t, c, tls.URL, "vera", passwords["vera"])
	if cookie := c.Jar.Cookies(nil)[0]; !cookie.Secure || cookie.Name != "__Host-evently_monitor" {
		t.Errorf("cookie %+v", cookie)
	}
}

// A header names the user where a trusted proxy sends it, and nowhere else.
func TestForward(t *testing.T) {
	t.Parallel()
	forward := guard.Forward{Header: "X-Forwarded-User", RoleHeader: "X-Forwarded-Groups", Roles: map[string]guard.Role{"sre": guard.Admin, "support": guard.Operator}, Default: guard.Viewer}
	trusted, _ := guard.ParseNetworks([]string{"127.0.0.0/8"})
	others, _ := guard.ParseNetworks([]string{"192.0.2.0/24"})
	s := start(t, guard.Config{Addr: ":5555", Forward: forward, Proxies: trusted, Users: users(t)})
	for _, c := range []struct {
		user, groups []string
		want         string
	}{
		{[]string{"ada@example.com"}, nil, "ada@example.com viewer forward"},
		{[]string{"ada"}, []string{"dev, support"}, "ada operator forward"},
		{[]string{"ada"}, []string{"support", "sre"}, "ada admin forward"},
		{[]string{"ada"}, []string{"sre-readers"}, "ada viewer forward"},
		{[]string{"ada", "eve"}, []string{"sre"}, "A login is needed"},
		{[]string{""}, []string{"sre"}, "A login is needed"},
		{[]string{"<script>"}, []string{"sre"}, "A login is needed"},
		{nil, []string{"sre"}, "A login is needed"},
	} {
		_, body := do(t, client(t), s.URL+"/", nil, func(r *http.Request) {
			r.Header["X-Forwarded-User"], r.Header["X-Forwarded-Groups"] = c.user, c.groups
		})
		wantBody(t, body, c.want)
	}
	alone := start(t, guard.Config{Addr: ":5555", Forward: guard.Forward{Header: "X-Forwarded-User"}, Proxies: trusted})
	reply, body := do(t, client(t), alone.URL+"/", nil, browser, header("X-Forwarded-User", "ada"))
	if wantStatus(t, reply, http.StatusForbidden); !strings.Contains(body, "<h1>No role</h1>") || !strings.Contains(body, "logged in as ada") {
		t.Errorf("page of a user without a role:\n%s", body)
	}
	if _, body = do(t, client(t), alone.URL+"/login", nil, browser); !strings.Contains(body, "MONITOR_TRUSTED_PROXIES") {
		t.Errorf("page of the login behind a proxy:\n%s", body)
	}
	stranger := start(t, guard.Config{Addr: ":5555", Forward: forward, Proxies: others, Users: users(t)})
	reply, _ = do(t, client(t), stranger.URL+"/", nil, header("X-Forwarded-User", "ada"), header("X-Forwarded-Groups", "sre"), header("X-Forwarded-For", "192.0.2.1"))
	wantStatus(t, reply, http.StatusUnauthorized)
}

// Guessing is slow for an address and for a name, also when all guesses come at once; the
// person who knows the password still gets in from where it was used before.
func TestLoginLimit(t *testing.T) {
	t.Parallel()
	trusted, _ := guard.ParseNetworks([]string{"127.0.0.1"})
	clock := newClock()
	s := start(t, guard.Config{Users: users(t), Proxies: trusted, Now: clock.now})
	c := client(t)
	try := func(from, name, password string) int {
		t.Helper()
		reply, _ := do(t, c, s.URL+"/api/workers", nil, basic(name, password), header("X-Forwarded-For", from))
		if reply.StatusCode == http.StatusTooManyRequests && reply.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return reply.StatusCode
	}
	if got := try("192.0.2.1", "vera", passwords["vera"]); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 15 { // of one address
		wg.Go(func() {
			status := try("192.0.2.66", "olga", "guess")
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	wg.Wait()
	if got[http.StatusUnauthorized] != 10 || got[http.StatusTooManyRequests] != 5 {
		t.Errorf("guesses of one address: %v, want 10 and 5", got)
	}
	clear(got)
	for i := range 12 { // of one network of IPv6
		got[try("2001:db8::"+itoa(i+1), "nemo"+itoa(i), "guess")]++
	}
	if got[http.StatusUnauthorized] != 10 {
		t.Errorf("guesses of one network: %v, want 10", got)
	}
	clear(got)
	for i := range 12 { // for one name
		got[try("198.51.100."+itoa(i), "vera", "guess")]++
	}
	if got[http.StatusUnauthorized] != 10 {
		t.Errorf("guesses for one name: %v, want 10", got)
	}
	clock.add(6 * time.Minute / 60) // what basic auth remembers is not used for the page
	reply, _ := do(t, c, s.URL+"/login", url.Values{"name": {"vera"}, "password": {passwords["vera"]}}, header("X-Forwarded-For", "192.0.2.1"))
	wantStatus(t, reply, http.StatusSeeOther)
	reply, body := do(t, c, s.URL+"/login", url.Values{"name": {"vera"}, "password": {passwords["vera"]}}, header("X-Forwarded-For", "203.0.113.5"))
	wantStatus(t, reply, http.StatusTooManyRequests)
	if !strings.Contains(body, "Too many attempts") {
		t.Errorf("page:\n%s", body)
	}
	clock.add(31 * time.Second)
	if got := try("203.0.113.5", "vera", "guess"); got != http.StatusUnauthorized {
		t.Errorf("after half a minute: %d", got)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if n := len(s.events.all); n > 90 {
		t.Errorf("%d entries in the audit trail", n)
	}
}

func itoa(n int) string { return string([]byte{byte('0' + n/10%10), byte('0' + n%10)}) }
