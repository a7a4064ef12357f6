package guard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// flowFor is the time that a person has at the provider.
const flowFor = 10 * time.Minute

// flow is one login at a provider. All that must not be guessed is made of one secret, which
// is in a cookie of the browser alone: nothing is kept here, and any monitor can finish it.
type flow string

func (f flow) derive(what string) string {
	h := hmac.New(sha256.New, []byte(f))
	h.Write([]byte(what))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func (f flow) state() string    { return f.derive("state") }
func (f flow) nonce() string    { return f.derive("nonce") }
func (f flow) verifier() string { return f.derive("verifier") }

func (g *Guard) oidcBegin(w http.ResponseWriter, r *http.Request) {
	if g.provider == nil {
		http.NotFound(w, r)
		return
	}
	next := localPath(r.URL.Query().Get("next"))
	if len(next) > longestNext {
		next = "/"
	}
	if own := g.provider.cfg.URL; g.isElsewhere(r) && !r.URL.Query().Has("moved") {
		// The provider leads back to MONITOR_URL, where the browser does not send the cookie of
		// another address. It is tried once: a proxy may change the name of the host.
		http.Redirect(w, r, own+"/login/oidc?moved=1&next="+url.QueryEscape(next), http.StatusSeeOther)
		return
	}
	ready, err := g.provider.discover()
	if err != nil {
		g.cfg.Log.Warn("OpenID provider cannot be used", "error", clean(err.Error()))
		g.showLogin(w, r, http.StatusBadGateway, loginView{Next: next, Fault: g.orPassword("The OpenID provider does not answer as it must; the log of the monitor says why. Try again")})
		return
	}
	g.dropFlows(w, r)
	f := flow(rand.Text() + rand.Text())
	path := base64.RawURLEncoding.EncodeToString([]byte(next))
	// The answer is a request of another site: SameSite=Strict would keep the cookie back.
	g.setCookie(w, r, flowCookieOf(f.state()), string(f)+"."+path, http.SameSiteLaxMode)
	to := g.provider.oauth(ready).AuthCodeURL(f.state(), oidc.Nonce(f.nonce()), oauth2.S256ChallengeOption(f.verifier()))
	// The policy of the pages allows forms of this site only, and the browser applies that to
	// redirects of forms: this is a link.
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// isElsewhere reports whether a request asks for the monitor at another address than MONITOR_URL.
func (g *Guard) isElsewhere(r *http.Request) bool {
	scheme := "http://"
	if g.secure(r) {
		scheme = "https://"
	}
	return Origin(scheme+r.Host) != Origin(g.provider.cfg.URL)
}

func (g *Guard) oidcCallback(w http.ResponseWriter, r *http.Request) {
	if g.provider == nil {
		http.NotFound(w, r)
		return
	}
	var f flow
	next, cookie := "/", flowCookieOf(r.URL.Query().Get("state"))
	if c, err := r.Cookie(g.cookieName(r, cookie)); err == nil {
		secret, path, _ := strings.Cut(c.Value, ".")
		f = flow(secret)
		if raw, err := base64.RawURLEncoding.DecodeString(path); err == nil {
			next = localPath(string(raw))
		}
	}
	g.clearCookie(w, r, cookie)
	a, err := g.oidcLogin(r, f)
	if err != nil {
		if !errors.Is(err, errState) && !errors.Is(err, errDenied) && !errors.Is(err, errCode) { // strangers can provoke these
			g.provider.forget()
		}
		g.cfg.Log.Warn("login at the OpenID provider refused", "from", g.from(r), "error", clean(err.Error()))
		g.tell(r.Context(), Event{Action: Login, Actor: Actor{Name: "unknown name", By: ByOIDC, From: g.from(r)}, Refused: "OpenID provider"})
		g.showLogin(w, r, http.StatusForbidden, loginView{Next: next, Fault: g.orPassword(oidcFault(err))})
		return
	}
	a.From = g.from(r)
	if a.Role < Viewer {
		g.tell(r.Context(), Event{Action: Login, Actor: a, Refused: "no role"})
		g.showLogin(w, r, http.StatusForbidden, loginView{Next: next, Fault: "You are known as " + a.Name + ", but have no role in the monitor."})
		return
	}
	g.open(w, r, a, g.provider.key())
	again(w, next) // a redirect would be one of another site, without the new cookie
}

var (
	errState  = errors.New("the state is not the one of this browser")
	errDenied = errors.New("the provider says")
)

// A browser may have begun mostFlows logins, one in each tab, each with a page of at most longestNext
// bytes. Their cookies fit into the 8 KiB that proxies take.
const (
	mostFlows   = 8
	longestNext = 500
)

// flowCookieOf returns the name of the cookie of a flow: each has one, so that several tabs can
// log in at once.
func flowCookieOf(state string) string {
	const some = 8
	if len(state) < some || strings.ContainsFunc(state[:some], isNoWord) {
		return flowCookie
	}
	return flowCookie + "_" + state[:some]
}

// isNoWord reports whether r cannot be in the name of a cookie of a flow.
func isNoWord(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
}

// dropFlows removes the cookies of the oldest flows: those of many would be too long for a
// request.
func (g *Guard) dropFlows(w http.ResponseWriter, r *http.Request) {
	var open []string
	for _, c := range r.Cookies() { // the oldest comes first (RFC 6265, section 5.4)
		if strings.HasPrefix(c.Name, g.cookieName(r, flowCookie)) {
			open = append(open, strings.TrimPrefix(c.Name, "__Host-"))
		}
	}
	for _, name := range open[:max(0, len(open)-mostFlows+1)] {
		g.clearCookie(w, r, name)
	}
}

// oidcFault tells a person why the login at the provider did not succeed. Words of the provider
// and of the request stay in the log.
func oidcFault(err error) string {
	switch {
	case errors.Is(err, errState):
		return "This login began in another browser, at another address of the monitor, or more than 10 minutes ago. Begin again"
	case errors.Is(err, errDenied):
		return "The OpenID provider did not let you in; the log of the monitor has its reason. Try again"
	}
	return "The login at the OpenID provider did not succeed; the log of the monitor says why. Try again"
}

// orPassword ends a sentence with the other way to log in, if there is one.
func (g *Guard) orPassword(text string) string {
	if g.users.any() {
		return text + ", or use a password."
	}
	return text + "."
}
