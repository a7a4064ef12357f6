package web

import (
	"net"
	"net/http"
	"strings"
)

// Policy is the Content Security Policy of the pages: they run the scripts of the site only,
// and no inline one. [UntrustedPolicy] is that of a mail which is shown: it runs no script and
// loads nothing.
const (
	Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; frame-src 'self'; " +
		"require-trusted-types-for 'script'; trusted-types htmx"
	UntrustedPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; " +
		"base-uri 'none'; frame-ancestors 'self'"
)

// secure sets the header fields of all answers.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// Local is the guard of a site on a loopback address: every sender is an admin. It refuses
// requests for other hosts, because a foreign web site can point its name at 127.0.0.1 and is
// then the same origin for the browser (DNS rebinding). But it cannot choose the Host field.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "This page is only for http://localhost and http://127.0.0.1.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithActor(r.Context(), Actor{Name: "local", Role: RoleAdmin})))
	})
}

// withRole refuses senders without a role. changes says that next changes something.
func (s *Site) withRole(role Role, changes bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		denied := ActorOf(r.Context()).Role < role
		if readOnly := changes && s.cfg.ReadOnly; readOnly || denied {
			if s.cfg.Refuse != nil && s.cfg.Refuse(w, r, role) {
				return
			}
			s.showProblem(w, r, roleProblem(role, readOnly))
			return
		}
		next.ServeHTTP(w, r)
	})
}
