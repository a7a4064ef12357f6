package guard

import (
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed login.html
var loginHTML string

//go:embed login.css
var loginCSS string

var loginTemplate = template.Must(template.New("login").Parse(loginHTML))

// loginView is the page of the login.
type loginView struct {
	Heading   string // of a page that says why a person may not come in; "": it is the login
	LogOut    bool   // that page offers to log out
	Next      string // path to go to after it
	Name      string
	Fault     string
	Passwords bool
	OIDC      bool
	Provider  string
	Forward   string // header of the proxy that tells users; "": none does
	Unusable  string // why what the proxy tells is not taken
	ReadOnly  bool
}

func style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write([]byte(loginCSS))
}

// isProgram reports whether a request comes from a script: it gets 401 and not a page.
func isProgram(r *http.Request) bool {
	p := r.URL.Path
	return strings.HasPrefix(p, "/api/") || p == "/metrics" || r.URL.Query().Has("json") ||
		!strings.Contains(r.Header.Get("Accept"), "text/html") && r.Header.Get("HX-Request") == ""
}

// challenge asks for a login: a script by 401, a person by the page of the login.
func (g *Guard) challenge(w http.ResponseWriter, r *http.Request, a Actor) {
	if a.By != ByAnonymous {
		// Logged in, without any role: another login would not help.
		g.tell(r.Context(), Event{Action: Denied, Actor: a, Refused: "no role", Details: map[string]string{"path": pathOf(r)}})
		text := "You are logged in as " + a.Name + ", who has no role in the monitor. Its owner gives roles by MONITOR_USERS, MONITOR_ROLES or MONITOR_DEFAULT_ROLE."
		g.refuse(w, r, http.StatusForbidden, loginView{Heading: "No role", Fault: text, LogOut: a.Session != ""})
		return
	}
	if isProgram(r) {
		if g.users.any() {
			g.unauthorized(w, "A login is needed: basic auth as one of MONITOR_USERS.")
		} else {
			http.Error(w, cmp.Or(g.unusable(r), "A login is needed."), http.StatusUnauthorized)
		}
		return
	}
	to := "/login?next=" + url.QueryEscape(returnPath(r))
	if _, err := r.Cookie(g.cookieName(r, sessionCookie)); r.Method == http.MethodPost {
		to += "&why=undone"
	} else if err == nil {
		to += "&why=ended"
	}
	switch {
	case r.Header.Get("HX-Request") != "":
		w.Header().Set("HX-Redirect", to)
		http.Error(w, "A login is needed.", http.StatusUnauthorized)
	case r.Method != http.MethodPost && r.Header.Get("Sec-Fetch-Site") == "cross-site":
		// A link on another site: the browser keeps the cookie back, as it is SameSite=Strict.
		// It sends it when this page asks again.
		again(w, returnPath(r))
	default:
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}

// whyLogin tells persons who came from elsewhere why they are asked to log in.
var whyLogin = map[string]string{
	"undone": "You are not logged in, and nothing was done. Log in, and do it again.",
	"ended":  "Your login has ended. Log in again.",
}

// refuse tells why a request is refused: a person by a page, a script by a line of text.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, status int, v loginView) {
	if isProgram(r) || r.Header.Get("HX-Request") != "" {
		http.Error(w, v.Fault, status)
		return
	}
	g.showLogin(w, r, status, v)
}

// again makes the browser ask for a path of this site as a request of this site.
func again(w http.ResponseWriter, path string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p := template.HTMLEscapeString(path)
	_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>Evently monitor</title><meta http-equiv="refresh" content="0; url=` + p + `"><p><a href="` + p + `">Go on</a>`))
}

// returnPath returns where to go after the login: where the request was to go, but not for
// a form that was sent.
func returnPath(r *http.Request) string {
	if r.Method == http.MethodPost || r.Header.Get("HX-Request") != "" {
		if u, err := url.Parse(r.Referer()); err == nil && u.Host == r.Host {
			return localPath(u.RequestURI())
		}
		return "/"
	}
	return localPath(r.URL.RequestURI())
}

// localPath returns path if it stays on this site, else "/".
func localPath(path string) string {
	const most = 2000
	if len(path) > most || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsFunc(path, func(r rune) bool {
			return r <= ' ' || r == '\\' || r == 0x7f || r == ';' && strings.HasPrefix(path, "/;")
		}) {
		return "/"
	}
	u, err := url.Parse(path)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || strings.HasPrefix(u.Path, "//") ||
		u.Path == "/login" || u.Path == "/logout" || strings.HasPrefix(u.Path, "/login/") {
		return "/"
	}
	return u.RequestURI()
}

func (g *Guard) loginPage(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	if a, found := g.bySession(r); found && a.Role >= Viewer {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	g.showLogin(w, r, http.StatusOK, loginView{Next: next, Fault: whyLogin[r.URL.Query().Get("why")]})
}

func (g *Guard) showLogin(w http.ResponseWriter, r *http.Request, status int, v loginView) {
	v.Passwords, v.OIDC, v.Forward, v.ReadOnly = g.users.any(), g.provider != nil, g.cfg.Forward.Header, g.cfg.ReadOnly
	v.Unusable = g.unusable(r)
	if v.OIDC {
		v.Provider = g.provider.cfg.Name
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := loginTemplate.Execute(w, v); err != nil {
		g.cfg.Log.Debug("page of the login not written", "error", err)
	}
}

// login takes the form of the login.
func (g *Guard) login(w http.ResponseWriter, r *http.Request) {
	name, password := strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("password")
	next := localPath(r.PostFormValue("next"))
	if !g.users.any() {
		http.Error(w, "There are no users with passwords.", http.StatusNotFound)
		return
	}
	if status, text := g.verify(w, r, name, password); status != 0 {
		if len(name) > longestName {
			name = "" // it was no name
		}
		g.showLogin(w, r, status, loginView{Next: next, Fault: text, Name: name})
		return
	}
	u, _ := g.users.find(name)
	a := Actor{Name: u.Name, Role: u.Role, By: ByPassword, From: g.from(r)}
	g.open(w, r, a, u.Hash)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// open begins a session, after it ended the one of the cookie.
func (g *Guard) open(w http.ResponseWriter, r *http.Request, a Actor, key string) {
	if old, found := g.bySession(r); found {
		g.sessions.end(r.Context(), old.Session)
	}
	cookie := g.sessions.begin(r.Context(), record{Name: a.Name, By: a.By, Role: a.Role}, key)
	g.setCookie(w, r, sessionCookie, cookie, http.SameSiteStrictMode)
	g.cfg.Log.Info("login to the monitor", "user", a.Name, "role", a.Role.String(), "by", a.By, "from", a.From)
	g.tell(r.Context(), Event{Action: Login, Actor: a, Details: map[string]string{"by": a.By, "role": a.Role.String()}})
}

// logout ends the session, or all of the user.
func (g *Guard) logout(w http.ResponseWriter, r *http.Request) {
	if a, found := g.bySession(r); found {
		a.From = g.from(r)
		details := map[string]string{"sessions": "this one"}
		if r.PostFormValue("everywhere") != "" {
			g.sessions.endAll(r.Context(), a.Name)
			details["sessions"] = "all"
		}
		g.sessions.end(r.Context(), a.Session)
		g.tell(r.Context(), Event{Action: Logout, Actor: a, Details: details})
	}
	g.clearCookie(w, r, sessionCookie)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// Names of the cookies. With TLS they begin with __Host-, so that no other host of the
// domain can set them.
const (
	sessionCookie = "evently_monitor"
	flowCookie    = "evently_login"
)

func (g *Guard) cookieName(r *http.Request, name string) string {
	if g.secure(r) {
		return "__Host-" + name
	}
	return name
}

func (g *Guard) setCookie(w http.ResponseWriter, r *http.Request, name, value string, site http.SameSite) {
	c := &http.Cookie{Name: g.cookieName(r, name), Value: value, Path: "/", Secure: g.secure(r), HttpOnly: true, SameSite: site}
	if strings.HasPrefix(name, flowCookie) {
		c.MaxAge = int(flowFor.Seconds())
	} else {
		c.MaxAge = int(g.cfg.Lifetime.Seconds())
	}
	http.SetCookie(w, c)
}

func (g *Guard) clearCookie(w http.ResponseWriter, r *http.Request, name string) {
	http.SetCookie(w, &http.Cookie{Name: g.cookieName(r, name), Path: "/", MaxAge: -1, Secure: g.secure(r), HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// bySession returns the actor of the session of a request.
func (g *Guard) bySession(r *http.Request) (Actor, bool) {
	c, err := r.Cookie(g.cookieName(r, sessionCookie))
	if err != nil {
		return Actor{}, false
	}
	id, rec, ok := g.sessions.find(r.Context(), c.Value, g.keyOf)
	if !ok {
		return Actor{}, false
	}
	a := Actor{Name: rec.Name, By: rec.By, Role: rec.Role, Session: id}
	if rec.By == ByPassword {
		u, _ := g.users.find(rec.Name)
		a.Role = u.Role // that of now
	}
	return a, true
}

// keyOf returns the key of the MAC of a session.
func (g *Guard) keyOf(r record) (string, bool) {
	switch r.By {
	case ByPassword:
		u, known := g.users.find(r.Name)
		return u.Hash, known
	case ByOIDC:
		if g.provider != nil {
			return g.provider.key(), true
		}
	}
	return "", false
}
