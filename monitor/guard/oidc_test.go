package guard_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/monitor/guard"
)

// provider is a small OpenID provider. It logs everyone in, as claims say, and takes each
// code once, with the right verifier.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	claims map[string]any
	signs  string                // algorithm that is told; it signs by RS256 in any case
	broken string                // path that is answered by a proxy with status 502
	info   map[string]any        // what the userinfo endpoint tells; nil: it fails
	codes  map[string]url.Values // requests by the code that was given
}

func startProvider(t testing.TB) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, signs: "RS256", info: map[string]any{"sub": "subject-1"}, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{p.algorithm()},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		writeJSON(w, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", "n": encode(key.N.Bytes()), "e": "AQAB"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = r.URL.Query()
		p.mu.Unlock()
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.info == nil || r.Header.Get("Authorization") != "Bearer a" {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, p.info)
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		broken := p.broken
		p.mu.Unlock()
		if r.URL.Path == broken {
			http.Error(w, "gateway \x1b[31m body-canary "+strings.Repeat("x", 5000), http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, ok := p.codes[r.FormValue("code")]
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	name, secret, _ := r.BasicAuth()
	if name == "" {
		name, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if secret != "client-secret" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		writeJSON(w, map[string]string{"error": "invalid_client"})
		return
	}
	delete(p.codes, r.FormValue("code"))
	if !ok || asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || name != "monitor" {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{
		"iss": p.URL, "aud": "monitor", "sub": "subject-1", "nonce": asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	maps.Copy(claims, p.claims)
	writeJSON(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign(claims)})
}

func (p *provider) sign(claims map[string]any) string {
	raw, _ := json.Marshal(claims)
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + encode(raw)
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	return text + "." + encode(signature)
}

func (p *provider) says(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

func (p *provider) algorithm() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signs
}

func (p *provider) change(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) saysLater(info map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info = info
}

// oidcSite is a monitor that persons log in to at p. The URL of the monitor is known only
// when it has begun, so that a proxy stands for it.
func oidcSite(t testing.TB, p *provider, changes ...func(*guard.Config)) *site {
	t.Helper()
	var s *site
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Config.Handler.ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	cfg := guard.Config{Users: users(t), OIDC: &guard.OIDC{
		Issuer: p.URL, ClientID: "monitor", ClientSecret: "client-secret", URL: front.URL, RoleClaim: "groups",
		Roles: map[string]guard.Role{"sre": guard.Admin, "support": guard.Operator},
	}}
	for _, change := range changes {
		change(&cfg)
	}
	s = start(t, cfg)
	s.URL = front.URL
	return s
}

// flow goes to the provider and returns the URL of the callback, without opening it.
func flow(t testing.TB, c *http.Client, base, next string) string {
	t.Helper()
	reply, _ := do(t, c, base+"/login/oidc?next="+url.QueryEscape(next), nil, browser)
	wantStatus(t, reply, http.StatusSeeOther)
	reply, _ = do(t, &http.Client{Transport: c.Transport, CheckRedirect: c.CheckRedirect}, reply.Header.Get("Location"), nil)
	wantStatus(t, reply, http.StatusSeeOther)
	return reply.Header.Get("Location")
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	s := oidcSite(t, p)
	for i, c := range []struct {
		claims map[string]any
		want   string // on the page; "": no login
	}{
		{map[string]any{"email": "ada@example.com", "email_verified": true, "groups": []string{"dev", "sre"}}, "ada@example.com admin oidc"},
		{map[string]any{"email": "root@example.com", "preferred_username": "ada", "groups": []string{"support"}}, "ada operator oidc"}, // not verified
		{map[string]any{"groups": "support dev"}, "subject-1 operator oidc"},
		{map[string]any{"preferred_username": "<script>", "sub": "a\nb", "groups": []string{"sre"}}, "oidc-"},
		{map[string]any{"groups": []string{"dev"}}, ""},
		{map[string]any{"groups": map[string]any{"sre": true}}, ""},
		{map[string]any{}, ""},
		{map[string]any{"groups": []string{"sre"}, "aud": "another"}, ""},
		{map[string]any{"groups": []string{"sre"}, "iss": "https://another.example"}, ""},
		{map[string]any{"groups": []string{"sre"}, "exp": time.Now().Add(-time.Hour).Unix()}, ""},
		{map[string]any{"groups": []string{"sre"}, "nonce": "another"}, ""},
	} {
		p.says(c.claims)
		b := client(t)
		reply, body := do(t, b, flow(t, b, s.URL, "/tasks?a=b"), nil, browser)
		if c.want == "" {
			if wantStatus(t, reply, http.StatusForbidden); len(b.Jar.Cookies(nil)) > 0 {
				t.Errorf("case %d: a refused login gives %v", i, b.Jar.Cookies(nil))
			}
			continue
		}
		wantStatus(t, reply, http.StatusOK)
		if !strings.Contains(body, `content="0; url=/tasks?a=b"`) {
			t.Errorf("case %d: page after the login:\n%s", i, body)
		}
		_, body = do(t, b, s.URL+"/", nil)
		wantBody(t, body, c.want)
	}
}

// A certified provider tells groups and names at its userinfo endpoint, and only the subject
// in the token, unless it is told otherwise.
func TestOIDCUserInfo(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	s := oidcSite(t, p)
	for name, c := range map[string]struct {
		token, info map[string]any
		want        string // on the page; "": no login
	}{
		"all at userinfo":    {nil, map[string]any{"sub": "subject-1", "groups": []string{"sre"}, "email": "ada@example.com", "email_verified": true}, "ada@example.com admin oidc"},
		"name at userinfo":   {map[string]any{"groups": []string{"support"}}, map[string]any{"sub": "subject-1", "groups": []string{"sre"}, "preferred_username": "ada"}, "ada operator oidc"},
		"groups at userinfo": {map[string]any{"email": "root@example.com", "preferred_username": "ada"}, map[string]any{"sub": "subject-1", "groups": "support", "email": "ada@example.com", "email_verified": true}, "ada operator oidc"},
		"all in the token":   {map[string]any{"groups": []string{"sre"}, "preferred_username": "ada"}, nil, "ada admin oidc"},
		"another subject":    {nil, map[string]any{"sub": "subject-2", "groups": []string{"sre"}}, ""},
		"no subject":         {nil, map[string]any{"groups": []string{"sre"}}, ""},
		"it fails":           {nil, nil, ""},
		"it is not needed":   {map[string]any{"groups": []string{"support"}}, nil, "subject-1 operator oidc"},
		"address unverified": {map[string]any{"groups": []string{"support"}, "email_verified": true}, map[string]any{"sub": "subject-1", "email": "root@example.com"}, "subject-1 operator oidc"},
		"no group":           {nil, map[string]any{"sub": "subject-1", "preferred_username": "ada"}, ""},
	} {
		p.says(c.token)
		p.saysLater(c.info)
		b := client(t)
		reply, _ := do(t, b, flow(t, b, s.URL, "/"), nil, browser)
		if c.want == "" {
			if wantStatus(t, reply, http.StatusForbidden); t.Failed() {
				t.Log(name)
			}
			continue
		}
		_, body := do(t, b, s.URL+"/", nil)
		if wantBody(t, body, c.want); t.Failed() {
			t.Log(name)
		}
	}
}

// Tabs of one browser log in beside each other, each to the page that it wants.
func TestOIDCTabs(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.says(map[string]any{"groups": []string{"sre"}})
	s := oidcSite(t, p)
	b := client(t)
	first, second := flow(t, b, s.URL, "/tasks"), flow(t, b, s.URL, "/queues")
	for callback, next := range map[string]string{first: "/tasks", second: "/queues"} {
		reply, body := do(t, b, callback, nil, browser)
		if wantStatus(t, reply, http.StatusOK); !strings.Contains(body, `content="0; url=`+next+`"`) {
			t.Errorf("page after the login:\n%s", body)
		}
	}
	for range 50 {
		flow(t, b, s.URL, "/")
	}
	if n := len(b.Jar.Cookies(nil)); n > 10 {
		t.Errorf("%d cookies after many logins that did not end", n)
	}
}

// A login that begins at another address of the monitor goes on at the one that the provider
// leads back to, also where a proxy changes the name of the host.
func TestOIDCAtAnotherAddress(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	s := oidcSite(t, p)
	reply, _ := do(t, client(t), s.URL+"/login/oidc?next=/tasks", nil, browser, host("monitor.localhost:5555"))
	wantStatus(t, reply, http.StatusSeeOther)
	moved := reply.Header.Get("Location")
	if want := s.URL + "/login/oidc?moved=1&next=%2Ftasks"; moved != want {
		t.Fatalf("Location %q, want %q", moved, want)
	}
	reply, _ = do(t, client(t), moved, nil, browser, host("upstream.localhost"))
	if got := reply.Header.Get("Location"); !strings.HasPrefix(got, p.URL+"/authorize?") {
		t.Errorf("Location %q, want one at the provider", got)
	}
}

// A provider that changes is asked again, without a restart.
func TestOIDCProviderChanges(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.says(map[string]any{"groups": []string{"sre"}})
	p.change(func() { p.signs = "ES256" })
	s := oidcSite(t, p)
	b := client(t)
	reply, _ := do(t, b, flow(t, b, s.URL, "/"), nil, browser)
	wantStatus(t, reply, http.StatusForbidden)
	p.change(func() { p.signs = "RS256" })
	reply, _ = do(t, b, flow(t, b, s.URL, "/"), nil, browser)
	wantStatus(t, reply, http.StatusOK)
}

// The log says why a login fails, in one line, without the body that the provider sends.
func TestOIDCFaultsInTheLog(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.says(map[string]any{"groups": []string{"sre"}})
	for name, c := range map[string]struct {
		broken, secret, want string
		claims               map[string]any
	}{
		"no token":     {"/token", "client-secret", "status 502 instead of a token", nil},
		"no addresses": {"/.well-known/openid-configuration", "client-secret", "502", nil},
		"wrong secret": {"", "wrong", "check MONITOR_OIDC_CLIENT_ID and MONITOR_OIDC_CLIENT_SECRET", nil},
		"no groups":    {"", "client-secret", "claim=groups told=false groups=0", map[string]any{"email": "ada@example.com"}},
		"wrong groups": {"", "client-secret", "claim=groups told=true groups=2", map[string]any{"groups": []string{"dev", "group-canary"}}},
		"old token":    {"", "client-secret", "compare the clocks", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}},
	} {
		p.change(func() { p.broken = c.broken })
		p.says(c.claims)
		log := new(bytes.Buffer)
		s := oidcSite(t, p, func(cfg *guard.Config) {
			cfg.OIDC.ClientSecret = c.secret
			cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		})
		b := client(t)
		if reply, _ := do(t, b, s.URL+"/login/oidc", nil, browser); reply.StatusCode == http.StatusSeeOther {
			reply, _ = do(t, b, flow(t, b, s.URL, "/"), nil, browser)
			wantStatus(t, reply, http.StatusForbidden)
		}
		got := log.String()
		if !strings.Contains(got, c.want) || len(got) > 1000 || strings.Contains(got, `\x1b`) || strings.Contains(got, "group-canary") {
			t.Errorf("%s: log has not %q, or too much:\n%s", name, c.want, got)
		}
	}
}

// A provider that cannot be used is in the log before the first login.
func TestOIDCTried(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	for name, c := range map[string]struct {
		issuer func(string) string
		broken string
		want   string // in the log; "": nothing
	}{
		"fine":          {func(url string) string { return url }, "", ""},
		"wrong path":    {func(url string) string { return url + "/realms/none" }, "", "404"},
		"another slash": {func(url string) string { return url + "/" }, "", "did not match the issuer"},
		"gateway":       {func(url string) string { return url }, "/.well-known/openid-configuration", "502"},
		"nothing there": {func(string) string { return "http://127.0.0.1:1" }, "", "refused"},
	} {
		p.change(func() { p.broken = c.broken })
		log := new(bytes.Buffer)
		s := oidcSite(t, p, func(cfg *guard.Config) {
			cfg.OIDC.Issuer, cfg.Log = c.issuer(p.URL), slog.New(slog.NewTextHandler(log, nil))
		})
		s.guard.TryProvider(t.Context())
		got := log.String()
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || c.want != "" && !strings.Contains(got, "MONITOR_OIDC_ISSUER") || len(got) > 1000 {
			t.Errorf("%s: log has not %q, or too much:\n%s", name, c.want, got)
		}
	}
}

// A client without a secret has nothing that others do not know. Its sessions have a key of the
// process: a person who may write to Redis makes none.
func TestOIDCForgedSession(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	for secret, status := range map[string]int{"": http.StatusUnauthorized, "known-secret": http.StatusOK} {
		notes := map[string][]byte{}
		s := oidcSite(t, p, func(cfg *guard.Config) {
			cfg.OIDC.ClientSecret, cfg.Store = secret, &flaky{notes: notes}
		})
		id, half := strings.Repeat("A", 26), strings.Repeat("B", 52)
		sum := sha256.Sum256([]byte(half))
		created, expires := time.Now().UnixNano(), time.Now().Add(time.Hour).UnixNano()
		h := hmac.New(sha256.New, []byte("evently monitor session oidc "+p.URL+" monitor "+secret))
		fmt.Fprintf(h, "%s %d:%s %s %d %x %d %d", id, 3, "eve", guard.ByOIDC, guard.Admin, sum[:], created, expires)
		raw, _ := json.Marshal(map[string]any{"name": "eve", "by": guard.ByOIDC, "role": guard.Admin, "hash": sum[:], "created": created, "expires": expires, "mac": h.Sum(nil)})
		notes["monitor.session."+id], notes["monitor.used."+id] = raw, []byte("1")
		reply, _ := do(t, client(t), s.URL+"/", nil, header("Cookie", "evently_monitor="+id+"."+half))
		if wantStatus(t, reply, status); t.Failed() {
			t.Logf("secret %q", secret)
		}
	}
}

// A callback works in the browser that began, once, and nowhere else.
func TestOIDCAttacks(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.says(map[string]any{"groups": []string{"sre"}})
	s := oidcSite(t, p)
	mine := client(t)
	callback := flow(t, mine, s.URL, "//evil.example")
	cookie := mine.Jar.Cookies(nil)[0]
	if cookie.SameSite != http.SameSiteLaxMode || !cookie.HttpOnly || cookie.MaxAge <= 0 {
		t.Errorf("cookie of the flow %+v", cookie)
	}
	refused := func(what string, c *http.Client, target string) {
		t.Helper()
		reply, body := do(t, c, target, nil, browser)
		if reply.StatusCode != http.StatusForbidden || strings.Contains(body, "<b>") {
			t.Errorf("%s: %d\n%s", what, reply.StatusCode, body)
		}
		if slices.ContainsFunc(c.Jar.Cookies(nil), func(c *http.Cookie) bool { return c.Name == "evently_monitor" }) {
			t.Errorf("%s: cookies %v", what, c.Jar.Cookies(nil))
		}
	}
	refused("another browser", client(t), callback)
	victim := client(t)
	flow(t, victim, s.URL, "/")
	refused("browser with another flow", victim, callback)
	reply, body := do(t, mine, callback, nil, browser)
	if wantStatus(t, reply, http.StatusOK); !strings.Contains(body, `content="0; url=/"`) {
		t.Errorf("page after the login:\n%s", body)
	}
	again := client(t)
	again.Jar.SetCookies(nil, []*http.Cookie{cookie})
	refused("the same code again", again, callback)
	denied := client(t)
	u, _ := url.Parse(flow(t, denied, s.URL, "/"))
	refused("the provider refuses", denied, s.URL+u.Path+"?error=access_denied%0a<b>&state="+url.QueryEscape(u.Query().Get("state")))
	stolen := client(t)
	u, _ = url.Parse(flow(t, stolen, s.URL, "/"))
	refused("no code", stolen, s.URL+u.Path+"?state="+url.QueryEscape(u.Query().Get("state")))
	p.Close()
	reply, body = do(t, client(t), oidcSite(t, p).URL+"/login/oidc", nil, browser)
	if wantStatus(t, reply, http.StatusBadGateway); !strings.Contains(body, "does not answer") {
		t.Errorf("page without the provider:\n%s", body)
	}
	if got := fmt.Sprint(s.events.text()); strings.Contains(got, "<b>") || !strings.Contains(got, "OpenID provider") {
		t.Errorf("audit trail:\n%s", got)
	}
}
