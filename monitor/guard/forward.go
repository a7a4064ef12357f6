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

// names returns what a trusted proxy writes as the name of the user. The header of a stranger
// counts as none, and so does "(null)", which Apache writes for a request without a login.
func (g *Guard) names(r *http.Request) []string {
	f := g.cfg.Forward
	if f.Header == "" || !proxies(g.cfg.Proxies).has(peer(r)) {
		return nil
	}
	names := r.Header.Values(f.Header)
	if len(names) == 1 && (names[0] == "" || names[0] == "(null)") {
		return nil
	}
	return names
}

// unusable tells a person why the name that the proxy gives is not taken; "": it is, or there
// is none.
func (g *Guard) unusable(r *http.Request) string {
	switch names := g.names(r); {
	case len(names) > 1:
		return "The header " + g.cfg.Forward.Header + " is there more than once: the proxy must remove the one of the client."
	case len(names) == 1 && CheckName(names[0]) != nil:
		return "The proxy tells who you are, but the monitor does not take the name in " + g.cfg.Forward.Header + ": " + CheckName(names[0]).Error() + ". Let the proxy send another property of you, such as the mail address."
	}
	return ""
}

// forwarded returns the actor that a trusted proxy names. found is false without a name, and
// with one that cannot be taken.
func (g *Guard) forwarded(r *http.Request) (a Actor, found bool) {
	f, names := g.cfg.Forward, g.names(r)
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
