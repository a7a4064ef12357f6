package web

import (
	"net"
	"net/http"
	"strings"

	"github.com/evently/workers/monitor/internal/headers"
)

// Policy is the Content-Security-Policy of the pages. UntrustedPolicy is that of a mail which is
// shown: it runs no script and loads nothing.
const (
	Policy          = headers.Policy
	UntrustedPolicy = headers.Untrusted
)

// secure sets the header fields of all answers.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers.Set(w.Header())
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
		has := ActorOf(r.Context()).Role
		denied := has < role
		if readOnly := changes && s.cfg.ReadOnly; readOnly || denied {
			if s.cfg.Refuse != nil && s.cfg.Refuse(w, r, role) {
				return
			}
			s.showProblem(w, r, roleProblem(has, role, readOnly))
			return
		}
		next.ServeHTTP(w, r)
	})
}
