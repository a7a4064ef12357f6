package guard

import (
	"net/http"
	"strings"
)

// Forward lets a proxy tell who a request is from, as oauth2-proxy, Authelia or Authentik do.
type Forward struct {
	Header     string // with the login; "": no forward auth
	RoleHeader string // with groups, separated by commas; "": all have Default
	// Roles are the roles of groups, Default that of persons in none of them.
	Roles   map[string]Role
	Default Role
}

// roleOf returns the highest role of some groups.
func roleOf(groups []string, roles map[string]Role, usual Role) Role {
	role := usual
	for _, g := range groups {
		role = max(role, roles[strings.TrimSpace(g)])
	}
	return role
}

// forwarded returns the actor that a trusted proxy names. found is false without a header,
// and for a header of a stranger, which counts as none.
func (g *Guard) forwarded(r *http.Request) (a Actor, found bool) {
	f := g.cfg.Forward
	if f.Header == "" || !proxies(g.cfg.Proxies).has(peer(r)) {
		return Actor{}, false
	}
	names := r.Header.Values(f.Header)
	if len(names) != 1 || CheckName(names[0]) != nil {
		return Actor{}, false // two are the work of a client that the proxy did not strip
	}
	a = Actor{Name: names[0], By: ByForward, Role: f.Default}
	if f.RoleHeader != "" {
		groups := strings.FieldsFunc(strings.Join(r.Header.Values(f.RoleHeader), ","), func(r rune) bool { return r == ',' || r == ';' || r == '|' })
		a.Role = roleOf(groups, f.Roles, f.Default)
	}
	return a, true
}
