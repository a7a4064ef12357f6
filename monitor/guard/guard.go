// Package guard decides who may look at the monitor and act there: it knows users with
// passwords, sessions, an OpenID provider, and proxies that tell who a request is from.
// It depends on no page.
package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/loopback"
)

// Config is what a [Guard] needs.
type Config struct {
	// Addr is where the monitor listens, as host:port. It decides what is allowed without
	// credentials.
	Addr string
	// Users have passwords; UsersFile has more of them, one a line, and is read again when
	// it changes.
	Users     []User
	UsersFile string
	// Anonymous is the role of requests without any login. Default: none.
	Anonymous Role
	// Forward is about proxies that tell the user. Proxies are the networks whose headers
	// are believed, X-Forwarded-For and X-Forwarded-Proto included.
	Forward Forward
	Proxies []netip.Prefix
	OIDC    *OIDC // nil: none
	// ReadOnly makes viewers of all.
	ReadOnly bool
	// Hosts are the names by which browsers ask, beside localhost and addresses. nil: any
	// name, unless Addr is loopback.
	Hosts []string
	// URL is the address of the monitor as browsers see it, without a path. Its pages may send
	// forms although a proxy changes the name of the host. "": not known.
	URL string
	// Store keeps sessions for all monitors; nil: they are in memory.
	Store          Store
	Idle, Lifetime time.Duration // of sessions; DefaultIdle, DefaultLifetime

	// Open reports whether a path needs no login, such as those of style sheets.
	Open func(path string) bool
	// Audit takes logins and refusals. It must not block for long.
	Audit func(context.Context, Event)
	Log   *slog.Logger     // default: slog.Default()
	Now   func() time.Time // default: time.Now
}

// Guard lets requests through to the pages, with their [Actor], or refuses them.
type Guard struct {
	cfg      Config
	users    *users
	verifier *verifier
	sessions *sessions
	attempts *attempts
	refusals *refusals
	hosts    hosts
	origin   *http.CrossOriginProtection
	distrust sync.Once // the log has that the headers of a proxy are not believed
	provider *provider // nil: no OIDC
}

// New checks cfg and returns a Guard. It does not connect.
func New(cfg Config) (*Guard, error) {
	cfg.Idle, cfg.Lifetime = cmp.Or(cfg.Idle, DefaultIdle), cmp.Or(cfg.Lifetime, DefaultLifetime)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Open == nil {
		cfg.Open = func(string) bool { return false }
	}
	g := &Guard{cfg: cfg, hosts: cfg.Hosts, origin: http.NewCrossOriginProtection(), attempts: newAttempts(cfg.Now), refusals: &refusals{now: cfg.Now}}
	var err error
	if own := Origin(cfg.URL); own != "" {
		if err := g.origin.AddTrustedOrigin(own); err != nil {
			return nil, fmt.Errorf("MONITOR_URL: %w", err)
		}
	}
	g.users, err = newUsers(cfg.Users, cfg.UsersFile, cfg.Now, func(err error) {
		cfg.Log.Warn("users of the monitor not read again: those of before stay", "error", err)
	})
	if err != nil {
		return nil, err
	}
	if err := g.checkExposure(); err != nil {
		return nil, err
	}
	if g.verifier, err = newVerifier(g.users.cost, cfg.Now); err != nil {
		return nil, fmt.Errorf("prepare the check of passwords: %w", err)
	}
	g.sessions = newSessions(cfg.Store, cfg.Idle, cfg.Lifetime, cfg.Now, cfg.Log)
	if cfg.OIDC != nil {
		if g.provider, err = newProvider(*cfg.OIDC); err != nil {
			return nil, err
		}
	}
	if g.hosts == nil && isLoopback(cfg.Addr) {
		g.hosts = hosts{}
	}
	return g, nil
}

// HasLogin reports whether a person can log in, or a proxy tells who it is.
func (c Config) HasLogin() bool {
	return len(c.Users) > 0 || c.UsersFile != "" || c.OIDC != nil || c.Forward.Header != ""
}

// checkExposure refuses to let strangers in.
func (g *Guard) checkExposure() error {
	c := g.cfg
	if c.Forward.Header != "" && len(c.Proxies) == 0 {
		return errors.New("MONITOR_FORWARD_HEADER: it needs MONITOR_TRUSTED_PROXIES, the networks of the proxies that may set it")
	}
	if isLoopback(c.Addr) {
		return nil
	}
	if !c.HasLogin() {
		return fmt.Errorf("MONITOR_ADDR: %s is open to other machines, and nothing protects the monitor; "+
			"set MONITOR_USERS (the command monitor-user makes a user), MONITOR_OIDC_ISSUER or MONITOR_FORWARD_HEADER, or listen on 127.0.0.1", c.Addr)
	}
	if c.Anonymous > Viewer {
		return fmt.Errorf("MONITOR_ANONYMOUS_ROLE: %s is open to other machines, where anonymous may be viewer or none, not %s", c.Addr, c.Anonymous)
	}
	return nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopback.Is(host)
}

// Protect returns a handler that lets requests through to next with their actor. It answers
// /login, /logout and what else belongs to them. It checks no role beyond [Viewer]: next
// must, see [Guard.Refuse].
func (g *Guard) Protect(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", g.loginPage)
	mux.HandleFunc("POST /login", g.login)
	mux.HandleFunc("POST /logout", g.logout)
	mux.HandleFunc("GET /login/oidc", g.oidcBegin)
	mux.HandleFunc("GET /login/oidc/callback", g.oidcCallback)
	mux.HandleFunc("GET /login.css", style)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.recoverPanic(w, r)
		Headers(w.Header(), g.secure(r))
		if !g.admit(w, r) {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		if p := r.URL.Path; p == "/login" || p == "/logout" || p == "/login.css" || strings.HasPrefix(p, "/login/") {
			mux.ServeHTTP(w, r)
			return
		}
		g.pass(w, r, next)
	})
}

// admit refuses what no browser and no script of good faith sends.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "This method is not allowed here.", http.StatusMethodNotAllowed)
		return false
	}
	if !g.hosts.allows(r.Host) {
		g.tell(r.Context(), Event{Action: Denied, Actor: g.stranger(r), Refused: "name of the host"})
		http.Error(w, "The monitor is not asked for by this name. Use localhost or an address of this machine, or add the name to MONITOR_HOSTS.", http.StatusMisdirectedRequest)
		return false
	}
	if proxies(g.cfg.Proxies).ignored(r) {
		g.distrust.Do(func() {
			g.cfg.Log.Warn("proxy not trusted: all its users count as one address. If it is yours, name it in MONITOR_TRUSTED_PROXIES", "proxy", peer(r).String())
		})
	}
	if err := g.origin.Check(r); err != nil {
		g.tell(r.Context(), Event{Action: Denied, Actor: g.stranger(r), Refused: "request of another site", Details: map[string]string{"path": pathOf(r)}})
		g.refuse(w, r, http.StatusForbidden, loginView{Heading: "Refused", Fault: "This request comes from another site, and nothing was done. Open the page of the monitor, and do it there. If you did, a proxy changes the name of the host: it must keep the header Host with its port, or MONITOR_URL must be the address that your browser shows."})
		return false
	}
	return true
}

// pass lets a request through to next when its actor may look, or its path is open.
func (g *Guard) pass(w http.ResponseWriter, r *http.Request, next http.Handler) {
	open := g.cfg.Open(r.URL.Path)
	if open && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		next.ServeHTTP(w, withActor(r, Actor{Name: ByAnonymous, By: ByAnonymous, From: g.from(r)}))
		return
	}
	a, ok := g.identify(w, r)
	if !ok {
		return // answered
	}
	if a.Role < Viewer {
		g.challenge(w, r, a)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	if a.Session != "" {
		defer g.sessions.follow(a.Session, cancel)()
	}
	next.ServeHTTP(w, withActor(r.WithContext(ctx), a))
}

// identify finds the actor of a request. It answers itself when the login that the request
// brings is wrong, and returns false.
func (g *Guard) identify(w http.ResponseWriter, r *http.Request) (Actor, bool) {
	a, found := g.forwarded(r)
	if !found && r.Header.Get("Authorization") != "" && g.users.any() { // else it is for a proxy
		var answered bool
		if a, answered = g.basic(w, r); answered {
			return Actor{}, false
		}
		found = true
	}
	if !found {
		a, found = g.bySession(r)
	}
	if !found {
		a = Actor{Name: ByAnonymous, By: ByAnonymous, Role: g.cfg.Anonymous}
	}
	a.From = g.from(r)
	if g.cfg.ReadOnly {
		a.Role = min(a.Role, Viewer)
	}
	return a, true
}

// basic checks basic auth. It answers when it is wrong.
func (g *Guard) basic(w http.ResponseWriter, r *http.Request) (a Actor, answered bool) {
	name, password, ok := r.BasicAuth()
	if !ok {
		g.unauthorized(w, "The Authorization header is not one of basic auth.")
		return Actor{}, true
	}
	u, known := g.users.find(name)
	if !known || !g.verifier.remembers(u, password) {
		if status, text := g.verify(w, r, name, password); status != 0 {
			if status == http.StatusUnauthorized {
				g.unauthorized(w, text)
			} else {
				http.Error(w, text, status)
			}
			return Actor{}, true
		}
	}
	return Actor{Name: u.Name, Role: u.Role, By: ByBasic}, false
}

// verify checks a name and a password within the limits. It returns 0, or the status and
// the text of the refusal.
func (g *Guard) verify(w http.ResponseWriter, r *http.Request, name, password string) (status int, text string) {
	from := g.client(r)
	u, known := g.users.find(name)
	who := Actor{Name: "unknown name", By: ByPassword, From: from.String()}
	if known {
		who.Name, who.Role = u.Name, u.Role // a name that is not known may be a password in the wrong field
	}
	if len(name) > longestName {
		name = name[:longestName]
	}
	if wait := g.attempts.begin(from, name); wait > 0 {
		seconds := int(wait/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		g.tell(r.Context(), Event{Action: Login, Actor: who, Refused: "too many attempts"})
		return http.StatusTooManyRequests, fmt.Sprintf("Too many attempts. Try again in %d seconds.", seconds)
	}
	right, err := g.verifier.check(r.Context(), u, known, password)
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "The login could not be checked. Try again."
	case !right:
		g.cfg.Log.Warn("login to the monitor refused", "user", who.Name, "from", who.From)
		g.tell(r.Context(), Event{Action: Login, Actor: who, Refused: "wrong name or password"})
		return http.StatusUnauthorized, "The name or the password is wrong."
	}
	g.attempts.succeeded(from, name)
	return 0, ""
}

// unauthorized asks a script for basic auth.
func (g *Guard) unauthorized(w http.ResponseWriter, text string) {
	w.Header().Set("WWW-Authenticate", `Basic realm="Evently monitor", charset="UTF-8"`)
	http.Error(w, text, http.StatusUnauthorized)
}

// Refuse hears of a request whose actor lacks a role. It asks a person without login for
// one, and returns true. Else it returns false, and the caller answers 403.
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, needs Role) (answered bool) {
	a := ActorOf(r.Context())
	if a.By == ByAnonymous && !g.cfg.ReadOnly && g.cfg.HasLogin() {
		g.challenge(w, r, a)
		return true
	}
	g.tell(r.Context(), Event{Action: Denied, Actor: a, Refused: "needs the role " + needs.String(), Details: map[string]string{"path": pathOf(r)}})
	return false
}

// Login returns the path of the page to log in at, "" when there is none.
func (g *Guard) Login() string {
	if g.users.any() || g.provider != nil {
		return "/login"
	}
	return ""
}

func (g *Guard) secure(r *http.Request) bool { return proxies(g.cfg.Proxies).secure(r) }

func (g *Guard) client(r *http.Request) netip.Addr { return proxies(g.cfg.Proxies).client(r) }

func (g *Guard) from(r *http.Request) string {
	if a := g.client(r); a.IsValid() {
		return a.String()
	}
	return ""
}

func (g *Guard) stranger(r *http.Request) Actor {
	return Actor{Name: ByAnonymous, By: ByAnonymous, From: g.from(r)}
}

// recoverPanic answers 500 without details, which go to the log.
func (g *Guard) recoverPanic(w http.ResponseWriter, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler {
		panic(fault)
	}
	g.cfg.Log.Error("page of the monitor failed", "path", pathOf(r), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
	g.refuse(w, r, http.StatusInternalServerError, loginView{Heading: "The page failed", Fault: "The log of the monitor has the details."})
}

// pathOf returns the path of a request for logs and the trail, bounded.
func pathOf(r *http.Request) string {
	const most = 200
	p := strconv.QuoteToASCII(r.URL.Path)
	p = p[1 : len(p)-1]
	if len(p) > most {
		p = p[:most] + "…"
	}
	return p
}

func itoa(n int) string { return strconv.Itoa(n) }
