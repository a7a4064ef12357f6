package guard_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/evently/workers/monitor/guard"
)

// passwords of the users of the tests.
var passwords = map[string]string{"vera": "viewer-horse-1", "olga": "operator-horse-2", "anna": "admin-horse-3"}

func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), 10) // the least that is allowed: tests are many
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

var once struct {
	sync.Once
	users []guard.User
}

func users(t testing.TB) []guard.User {
	once.Do(func() {
		for name, role := range map[string]guard.Role{"vera": guard.Viewer, "olga": guard.Operator, "anna": guard.Admin} {
			once.users = append(once.users, guard.User{Name: name, Role: role, Hash: hash(t, passwords[name])})
		}
	})
	return once.users
}

// events collects what goes to the audit trail.
type events struct {
	mu  sync.Mutex
	all []guard.Event
}

func (e *events) add(_ context.Context, one guard.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, one)
}

func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, one := range e.all {
		fmt.Fprintf(&b, "%s %s %s %q %v\n", one.Action, one.Actor.Name, one.Actor.From, one.Refused, one.Details)
	}
	return b.String()
}

// site is a guarded site with one page that tells the actor, /admin for admins, and /boom.
type site struct {
	*httptest.Server
	guard  *guard.Guard
	events *events
}

func start(t testing.TB, cfg guard.Config) *site {
	t.Helper()
	s := &site{events: &events{}}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:5555"
	}
	cfg.Audit, cfg.Log = s.events.add, cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	var err error
	if s.guard, err = guard.New(cfg); err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := guard.ActorOf(r.Context())
		switch {
		case strings.HasPrefix(r.URL.Path, "/admin") && a.Role < guard.Admin:
			if !s.guard.Refuse(w, r, guard.Admin) {
				http.Error(w, "needs the role admin", http.StatusForbidden)
			}
		case r.URL.Path == "/boom":
			panic("secret of the page")
		case r.URL.Path == "/stream":
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case r.Method == http.MethodPost:
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			}
		default:
			fmt.Fprintf(w, "%s %s %s %s", a.Name, a.Role, a.By, a.From)
		}
	})
	s.Server = httptest.NewUnstartedServer(s.guard.Protect(page))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// client is a browser without pages: it keeps cookies and follows no redirect.
func client(t testing.TB) *http.Client {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{}, Jar: jar{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// jar keeps all cookies by their names, Secure ones too.
type jar map[string]*http.Cookie

func (j jar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		if c.MaxAge < 0 {
			delete(j, c.Name)
		} else {
			j[c.Name] = c
		}
	}
}

func (j jar) Cookies(*url.URL) (all []*http.Cookie) {
	for _, c := range j {
		all = append(all, c)
	}
	return all
}

type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }
func basic(name, password string) option {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}
func host(name string) option { return func(r *http.Request) { r.Host = name } }

var browser = header("Accept", "text/html")

// do sends a request. A form makes it a POST.
func do(t testing.TB, c *http.Client, target string, form url.Values, options ...option) (*http.Response, string) {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, o := range options {
		o(req)
	}
	reply, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(text)
}

func login(t testing.TB, c *http.Client, base, name, password string) *http.Response {
	t.Helper()
	reply, _ := do(t, c, base+"/login", url.Values{"name": {name}, "password": {password}, "next": {"/tasks?state=FAILURE"}}, browser)
	return reply
}

func wantStatus(t testing.TB, reply *http.Response, want int) {
	t.Helper()
	if reply.StatusCode != want {
		t.Errorf("%s %s: status %d, want %d", reply.Request.Method, reply.Request.URL, reply.StatusCode, want)
	}
}

func wantBody(t testing.TB, body, want string) {
	t.Helper()
	if !strings.HasPrefix(body, want) {
		t.Errorf("answer %q, want %q", body, want)
	}
}

// A port that other machines reach is refused without any login, and with too much for
// strangers.
func TestExposure(t *testing.T) {
	t.Parallel()
	all := users(t)
	for name, c := range map[string]struct {
		cfg  guard.Config
		want string // in the error; "": none
	}{
		"loopback":                       {guard.Config{Addr: "127.0.0.1:5555"}, ""},
		"loopback IPv6":                  {guard.Config{Addr: "[::1]:5555"}, ""},
		"localhost":                      {guard.Config{Addr: "localhost:5555"}, ""},
		"all addresses":                  {guard.Config{Addr: ":5555"}, "MONITOR_USERS"},
		"all of IPv4":                    {guard.Config{Addr: "0.0.0.0:5555"}, "MONITOR_USERS"},
		"an address":                     {guard.Config{Addr: "10.1.2.3:5555"}, "MONITOR_USERS"},
		"a name":                         {guard.Config{Addr: "monitor.example.com:5555"}, "MONITOR_USERS"},
		"users":                          {guard.Config{Addr: ":5555", Users: all}, ""},
		"anonymous alone":                {guard.Config{Addr: ":5555", Anonymous: guard.Viewer}, "MONITOR_USERS"},
		"users and anonymous viewers":    {guard.Config{Addr: ":5555", Users: all, Anonymous: guard.Viewer}, ""},
		"users and anonymous operators":  {guard.Config{Addr: ":5555", Users: all, Anonymous: guard.Operator}, "MONITOR_ANONYMOUS_ROLE"},
		"forward without networks":       {guard.Config{Addr: ":5555", Forward: guard.Forward{Header: "X-User"}}, "MONITOR_TRUSTED_PROXIES"},
		"file that is not there":         {guard.Config{Addr: ":5555", UsersFile: "/nonexistent"}, "no such file"},
		"OIDC without address":           {guard.Config{Addr: ":5555", OIDC: &guard.OIDC{Issuer: "https://id.example.com", ClientID: "m"}}, "MONITOR_URL"},
		"OIDC over plain HTTP":           {guard.Config{Addr: ":5555", OIDC: &guard.OIDC{Issuer: "http://id.example.com", ClientID: "m", URL: "https://m.example.com"}}, "MONITOR_OIDC_ISSUER"},
		"OIDC without client":            {guard.Config{Addr: ":5555", OIDC: &guard.OIDC{Issuer: "https://id.example.com", URL: "https://m.example.com"}}, "MONITOR_OIDC_CLIENT_ID"},
		"OIDC with all that it needs":    {guard.Config{Addr: ":5555", OIDC: &guard.OIDC{Issuer: "https://id.example.com", ClientID: "m", URL: "https://m.example.com/"}}, ""},
		"anonymous operator on loopback": {guard.Config{Addr: "127.0.0.1:5555", Anonymous: guard.Operator}, ""},
	} {
		_, err := guard.New(c.cfg)
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s: error %q, want %q", name, got, c.want)
		}
	}
}

func TestParseUsers(t *testing.T) {
	t.Parallel()
	good := hash(t, "some-password")
	list, err := guard.ParseUsers("# people\nvera:viewer:" + good + "\n\n olga:Operator:" + good + ",anna:admin:" + good + "\n")
	if err != nil || len(list) != 3 || list[1].Name != "olga" || list[1].Role != guard.Operator || list[2].Role != guard.Admin {
		t.Errorf("users %+v, %v", list, err)
	}
	for text, want := range map[string]string{
		"vera":                                   "name:role:hash",
		"vera:hunter2hunter2":                    "name:role:hash",
		"vera:viewer:hunter2hunter2":             "not one of bcrypt",
		"vera:boss:" + good:                      "no role",
		"vera::" + good:                          "no role",
		"vera:none:" + good:                      "no role",
		":viewer:" + good:                        "name of a user",
		"ve ra:viewer:" + good:                   "name of a user",
		"ve\x1b[31mra:viewer:" + good:            "name of a user",
		"<b>:viewer:" + good:                     "name of a user",
		"anonymous:viewer:" + good:               "taken",
		"vera:viewer:" + good[:40]:               "whole",
		"vera:viewer:2a10" + good[7:]:            "$$",
		"vera:viewer:$2a$04$" + good[7:]:         "cost 4",
		"vera:viewer:$2a$31$" + good[7:]:         "cost 31",
		"a:viewer:" + good + ",a:admin:" + good:  "twice",
		"vera:viewer:$apr1$abcdefgh$0123456789/": "not one of bcrypt",
	} {
		_, err := guard.ParseUsers(text)
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%q: error %q, want %q", text, got, want)
		}
		if got := fmt.Sprint(err); strings.Contains(got, "hunter2") || strings.Contains(got, good[20:]) {
			t.Errorf("error %q shows what may be a secret", got)
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{"short": false, strings.Repeat("x", 73): false, "two\nlines-of-it": false, "long enough": true} {
		h, err := guard.Hash(password)
		if (err == nil) != good {
			t.Errorf("%d characters: %v", len(password), err)
		}
		if err == nil {
			if _, err := guard.ParseUser("a:viewer:" + h); err != nil {
				t.Errorf("the hash is refused: %v", err)
			}
		}
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	for role, status := range map[guard.Role]int{guard.None: http.StatusUnauthorized, guard.Viewer: http.StatusOK, guard.Operator: http.StatusOK} {
		s := start(t, guard.Config{Anonymous: role})
		reply, body := do(t, client(t), s.URL+"/tasks", nil)
		wantStatus(t, reply, status)
		if status == http.StatusOK {
			wantBody(t, body, "anonymous "+role.String()+" anonymous 127.0.0.1")
		}
		reply, _ = do(t, client(t), s.URL+"/admin", nil)
		if reply.StatusCode == http.StatusOK {
			t.Errorf("%s may act as an admin", role)
		}
	}
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	c := client(t)
	for _, path := range []string{"/api/workers", "/metrics", "/workers?json=1", "/"} { // "/": no browser
		reply, _ := do(t, c, s.URL+path, nil)
		wantStatus(t, reply, http.StatusUnauthorized)
		if !strings.HasPrefix(reply.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: no WWW-Authenticate", path)
		}
		reply, body := do(t, c, s.URL+path, nil, basic("olga", passwords["olga"]))
		wantStatus(t, reply, http.StatusOK)
		wantBody(t, body, "olga operator basic 127.0.0.1")
		if len(reply.Cookies()) > 0 {
			t.Errorf("%s: a script gets a cookie", path)
		}
	}
	for name, o := range map[string]option{
		"wrong password": basic("olga", "wrong"), "password of another": basic("olga", passwords["anna"]), "no password": basic("olga", ""),
		"unknown": basic("nemo", "wrong"), "too long": basic("olga", strings.Repeat("x", 1000)), "token": header("Authorization", "Bearer abc"), "garbage": header("Authorization", "Basic ????"),
	} {
		reply, _ := do(t, c, s.URL+"/api/workers", nil, o)
		if wantStatus(t, reply, http.StatusUnauthorized); t.Failed() {
			t.Log(name)
		}
	}
	reply, _ := do(t, c, s.URL+"/admin", nil, basic("olga", passwords["olga"]))
	wantStatus(t, reply, http.StatusForbidden)
	if got := s.events.text(); !strings.Contains(got, `monitor.denied olga 127.0.0.1 "needs the role admin" map[path:/admin]`) || strings.Contains(got, "nemo") {
		t.Errorf("audit trail:\n%s", got)
	}
}

// A page leads to the login, and the login to the page.
func TestLogin(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	c := client(t)
	reply, _ := do(t, c, s.URL+"/tasks?state=FAILURE", nil, browser)
	wantStatus(t, reply, http.StatusSeeOther)
	if got, want := reply.Header.Get("Location"), "/login?next=%2Ftasks%3Fstate%3DFAILURE"; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	reply, body := do(t, c, s.URL+reply.Header.Get("Location"), nil, browser)
	wantStatus(t, reply, http.StatusOK)
	if !strings.Contains(body, `name="next" value="/tasks?state=FAILURE"`) || !strings.Contains(body, `autocomplete="current-password"`) {
		t.Errorf("page of the login:\n%s", body)
	}
	reply = login(t, c, s.URL, "vera", "wrong")
	wantStatus(t, reply, http.StatusUnauthorized)
	if len(c.Jar.Cookies(nil)) > 0 {
		t.Error("a failed login gives a cookie")
	}
	reply = login(t, c, s.URL, "vera", passwords["vera"])
	wantStatus(t, reply, http.StatusSeeOther)
	if got := reply.Header.Get("Location"); got != "/tasks?state=FAILURE" {
		t.Errorf("Location %q", got)
	}
	cookie := reply.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge <= 0 {
		t.Errorf("cookie %q", reply.Header.Get("Set-Cookie"))
	}
	_, body = do(t, c, s.URL+"/", nil, browser)
	wantBody(t, body, "vera viewer password 127.0.0.1")

	// A form without a login, and a login that has ended: the page of the login says so.
	reply, _ = do(t, client(t), s.URL+"/queues/q/pause", url.Values{"note": {"x"}}, browser, header("Referer", s.URL+"/queues/q"))
	_, body = do(t, client(t), s.URL+reply.Header.Get("Location"), nil, browser)
	if !strings.Contains(body, "nothing was done") || !strings.Contains(body, `value="/queues/q"`) {
		t.Errorf("page after a form without a login:\n%s", body)
	}
	reply, _ = do(t, client(t), s.URL+"/tasks", nil, browser, header("Cookie", cookie.Name+"=old"))
	_, body = do(t, client(t), s.URL+reply.Header.Get("Location"), nil, browser)
	if !strings.Contains(body, "Your login has ended") {
		t.Errorf("page after the end of a login:\n%s", body)
	}
	_, body = do(t, client(t), s.URL+"/login", url.Values{"name": {"vera\"><b>"}, "password": {"wrong"}}, browser)
	if !strings.Contains(body, `value="vera&#34;&gt;&lt;b&gt;"`) || strings.Contains(body, "wrong\"") {
		t.Errorf("page after a wrong password:\n%s", body)
	}

	// Another login makes another session, and the first one ends.
	before := cookie.Value
	login(t, c, s.URL, "olga", passwords["olga"])
	_, body = do(t, c, s.URL+"/", nil, browser)
	wantBody(t, body, "olga operator")
	reply, _ = do(t, &http.Client{Transport: c.Transport}, s.URL+"/", nil, header("Cookie", cookie.Name+"="+before))
	wantStatus(t, reply, http.StatusUnauthorized)

	reply, _ = do(t, c, s.URL+"/login", nil, browser) // already in
	wantStatus(t, reply, http.StatusSeeOther)
	current := c.Jar.Cookies(nil)[0]
	reply, _ = do(t, c, s.URL+"/logout", url.Values{}, browser)
	wantStatus(t, reply, http.StatusSeeOther)
	reply, _ = do(t, c, s.URL+"/", nil, header("Cookie", current.Name+"="+current.Value))
	wantStatus(t, reply, http.StatusUnauthorized)
	for _, want := range []string{`monitor.login vera 127.0.0.1 "wrong name or password"`, `monitor.login vera 127.0.0.1 "" map[by:password role:viewer]`, `monitor.logout olga`} {
		if got := s.events.text(); !strings.Contains(got, want) {
			t.Errorf("audit trail without %q:\n%s", want, got)
		}
	}
}

// No parameter leads to another site.
func TestOpenRedirect(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	for _, next := range []string{
		"//evil.example", `/\evil.example`, `\\evil.example`, "https://evil.example", "/\t/evil.example", "/%09/evil.example\n", "javascript:alert(1)", "/login", "/logout", "/login/oidc", " //evil.example",
		"http:evil.example", "///evil.example", "/..//evil.example", "@evil.example", "/x\r\nSet-Cookie: a=b", "/" + strings.Repeat("x", 3000), "%2f%2fevil.example", "?x", "",
	} {
		c := client(t)
		reply, _ := do(t, c, s.URL+"/login", url.Values{"name": {"vera"}, "password": {passwords["vera"]}, "next": {next}})
		wantStatus(t, reply, http.StatusSeeOther)
		to, err := reply.Location()
		if err != nil || to.Host != strings.TrimPrefix(s.URL, "http://") || strings.HasPrefix(to.Path, "/log") || reply.Header.Get("Location")[0] != '/' {
			t.Errorf("next %q leads to %q", next, reply.Header.Get("Location"))
		}
		if len(reply.Cookies()) != 1 {
			t.Errorf("next %q: cookies %v", next, reply.Cookies())
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	for name, status := range map[string]int{"vera": http.StatusForbidden, "olga": http.StatusForbidden, "anna": http.StatusOK} {
		reply, body := do(t, client(t), s.URL+"/admin", nil, basic(name, passwords[name]))
		wantStatus(t, reply, status)
		if status == http.StatusForbidden && !strings.Contains(body, "needs the role admin") {
			t.Errorf("%s: %q", name, body)
		}
	}
	reply, _ := do(t, client(t), s.URL+"/admin", nil, browser)
	wantStatus(t, reply, http.StatusSeeOther) // to the login
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t), ReadOnly: true})
	reply, _ := do(t, client(t), s.URL+"/admin", nil, basic("anna", passwords["anna"]))
	wantStatus(t, reply, http.StatusForbidden)
	_, body := do(t, client(t), s.URL+"/", nil, basic("anna", passwords["anna"]))
	wantBody(t, body, "anna viewer basic")
}

// A user that the file no longer has, or has with another role or password, is that at once.
func TestUsersFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := hash(t, "first-password"), hash(t, "second-password")
	write("ines:viewer:" + first + "\n")
	clock := newClock()
	s := start(t, guard.Config{UsersFile: path, Now: clock.now})
	c := client(t)
	login(t, c, s.URL, "ines", "first-password")
	see := func(want string) {
		t.Helper()
		clock.add(3 * time.Second)
		_, body := do(t, c, s.URL+"/", nil)
		wantBody(t, body, want)
	}
	see("ines viewer")
	write("ines:admin:" + first + "\n# changed\n")
	see("ines admin")
	write("this is no user\n")
	see("ines admin") // a file with faults changes nothing
	write("ines:admin:" + second + "\n")
	see("A login is needed") // the session went with the password
	login(t, c, s.URL, "ines", "second-password")
	see("ines admin")
	write("other:admin:" + second + "\n")
	see("A login is needed")
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	local := start(t, guard.Config{Anonymous: guard.Viewer, Hosts: []string{"monitor.example.com"}})
	for name, status := range map[string]int{
		"localhost:5555": 200, "LOCALHOST": 200, "127.0.0.1:5555": 200, "[::1]:5555": 200, "a.localhost:1": 200, "monitor.example.com": 200, "monitor.example.com.:80": 200, "192.0.2.1:5555": 200,
		"evil.example": 421, "evil.example:5555": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "monitor.example.com.evil.example": 421,
	} {
		reply, body := do(t, client(t), local.URL+"/", nil, host(name))
		wantStatus(t, reply, status)
		if strings.Contains(body, "evil") {
			t.Errorf("%s: the answer repeats the name: %q", name, body)
		}
	}
	plain := start(t, guard.Config{Anonymous: guard.Viewer})
	reply, _ := do(t, client(t), plain.URL+"/", nil, host("evil.example"))
	wantStatus(t, reply, http.StatusMisdirectedRequest)
	open := start(t, guard.Config{Addr: ":5555", Users: users(t)})
	reply, _ = do(t, client(t), open.URL+"/", nil, host("any.example"), basic("vera", passwords["vera"]))
	wantStatus(t, reply, http.StatusOK)
}

// Another site can neither send our forms nor, with a script, what looks like one.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	c := client(t)
	login(t, c, s.URL, "anna", passwords["anna"])
	for name, o := range map[string][]option{
		"another site":             {header("Sec-Fetch-Site", "cross-site")},
		"another host of the site": {header("Sec-Fetch-Site", "same-site")},
		"old browser":              {header("Origin", "https://evil.example")},
		"no origin":                {header("Origin", "null")},
		"another port":             {header("Origin", "http://127.0.0.1:1")},
		"with basic auth":          {header("Sec-Fetch-Site", "cross-site"), basic("anna", passwords["anna"])},
	} {
		reply, _ := do(t, c, s.URL+"/admin/purge", url.Values{"x": {"y"}}, o...)
		if wantStatus(t, reply, http.StatusForbidden); t.Failed() {
			t.Log(name)
		}
		reply, _ = do(t, c, s.URL+"/logout", url.Values{}, o...)
		wantStatus(t, reply, http.StatusForbidden)
	}
	for name, o := range map[string][]option{
		"our page": {header("Sec-Fetch-Site", "same-origin"), header("Origin", s.URL)}, "old browser": {header("Origin", s.URL)}, "script": nil,
	} {
		reply, _ := do(t, c, s.URL+"/admin/purge", url.Values{"x": {"y"}}, o...)
		if wantStatus(t, reply, http.StatusOK); t.Failed() {
			t.Log(name)
		}
	}
	// A link on another site opens the page, although the browser keeps the cookie back.
	reply, body := do(t, client(t), s.URL+"/tasks/1?a=b&c=%22%3E", nil, browser, header("Sec-Fetch-Site", "cross-site"))
	wantStatus(t, reply, http.StatusOK)
	if !strings.Contains(body, `content="0; url=/tasks/1?a=b&amp;c=%22%3E"`) {
		t.Errorf("page that asks again:\n%s", body)
	}
	if got := s.events.text(); !strings.Contains(got, "request of another site") {
		t.Errorf("audit trail:\n%s", got)
	}
}

func TestMethodsAndSizes(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Anonymous: guard.Admin})
	c := client(t)
	for _, method := range []string{"TRACE", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "DEBUG", "TRACK"} {
		req, _ := http.NewRequestWithContext(t.Context(), method, s.URL+"/", nil)
		reply, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		wantStatus(t, reply, http.StatusMethodNotAllowed)
	}
	reply, _ := do(t, c, s.URL+"/", url.Values{"x": {strings.Repeat("x", guard.MaxBody+1)}})
	wantStatus(t, reply, http.StatusRequestEntityTooLarge)
}

// Each answer of any kind has the headers.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{Users: users(t)})
	for _, path := range []string{"/", "/login", "/login.css", "/login/x", "/login/oidc", "/login/oidc/callback", "/boom", "/admin", "/nothing"} {
		reply, body := do(t, client(t), s.URL+path, nil, basic("vera", passwords["vera"]))
		for name, want := range map[string]string{"Content-Security-Policy": guard.Policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "SAMEORIGIN"} {
			if got := reply.Header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", path, name, got, want)
			}
		}
		if strings.Contains(body, "secret of the page") || strings.Contains(body, "goroutine") {
			t.Errorf("%s shows the fault:\n%s", path, body)
		}
		if path == "/boom" {
			wantStatus(t, reply, http.StatusInternalServerError)
		}
	}
}
