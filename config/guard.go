package config

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/loopback"
)

// Guard says who may look at the monitor and act there.
type Guard struct {
	Users     Secret // name:role:hash with commas between them
	UsersFile string
	Anonymous string // role of requests without login; "": see Config.AnonymousRole
	ReadOnly  bool
	Hosts     []string // names by which browsers ask; none: see monitor/guard
	URL       string   // of the monitor; "": not known
	Proxies   []netip.Prefix

	ForwardHeader     string // with the login; "": no forward auth
	ForwardRoleHeader string
	Roles             map[string]string // by group of the proxy or of the OpenID provider
	DefaultRole       string            // of persons in none of the groups; "": none

	OIDC OIDC

	SessionIdle     time.Duration
	SessionLifetime time.Duration
	CertFile        string // "": no TLS
	KeyFile         string
}

// OIDC is an OpenID provider; zero: there is none.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret Secret
	RoleClaim    string
	Scopes       []string
}

// HasLogin reports whether there are credentials of any kind.
func (g Guard) HasLogin() bool {
	return g.Users.IsSet() || g.UsersFile != "" || g.ForwardHeader != "" || g.OIDC.Issuer != ""
}

// AnonymousRole returns the role of requests without login: an operator where only this
// machine reaches the monitor and there is no login, else none.
func (g Guard) AnonymousRole(host string) string {
	switch {
	case g.Anonymous != "":
		return g.Anonymous
	case loopback.Is(host) && !g.HasLogin():
		return "operator"
	}
	return "none"
}

// roles are groups with roles, as group=role,group=role.
type roles struct {
	setting
	value map[string]string
}

const rolesForm = "write groups with roles, such as sre=admin,support=operator"

// Decode takes the word behind the last = for the role: names of groups may have one.
func (r *roles) Decode(value string) error {
	r.value = nil
	if !r.take(value) {
		return nil
	}
	r.value = make(map[string]string)
	items, note := splitList(r.text)
	r.remark(note)
	for _, item := range items {
		i := strings.LastIndex(item, "=")
		role := strings.ToLower(strings.TrimSpace(item[i+1:]))
		if i < 1 || !slices.Contains([]string{"viewer", "operator", "admin"}, role) {
			r.refuse(likeHost, "a list of roles", rolesForm)
			return nil
		}
		group := strings.TrimSpace(item[:i])
		if _, twice := r.value[group]; twice {
			r.mistake(fmt.Sprintf("%q is there twice", group), "name each group once")
			return nil
		}
		r.value[group] = role
	}
	return nil
}

func (r *roles) kind() string { return "list of roles" }

// networks are addresses and networks, with commas between them.
type networks struct {
	setting
	value []netip.Prefix
}

func (n *networks) Decode(value string) error {
	n.value = nil
	if !n.take(value) {
		return nil
	}
	items, note := splitList(n.text)
	n.remark(note)
	for _, item := range items {
		p, err := netip.ParsePrefix(item)
		if addr, addrErr := netip.ParseAddr(item); addrErr == nil {
			p, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		switch {
		case err != nil:
			n.refuse(likeHost, "a list of networks", "write addresses or networks, such as 10.0.0.0/8,192.0.2.7")
			return nil
		case p.Bits() == 0:
			n.mistake(item+" is the whole internet", "name the network of the proxy: each client in it may say who it is")
			return nil
		}
		n.value = append(n.value, p.Masked())
	}
	return nil
}

func (n *networks) kind() string { return "list of networks" }

// siteURL is where browsers find a site of ours: without a path.
type siteURL struct{ setting }

var siteForm = regexp.MustCompile(`^https?://([a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?/?$`)

func (u *siteURL) Decode(value string) error {
	if u.take(value) && !siteForm.MatchString(u.text) {
		u.refuse(likeURL, "the address of a site", "write it without a path, such as https://monitor.example.com")
	}
	u.text = strings.TrimSuffix(u.text, "/")
	return nil
}

func (u *siteURL) kind() string { return "URL" }

// host returns the name in the URL, "" without one.
func (u *siteURL) host() string {
	if m := siteForm.FindStringSubmatch(u.text); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}

var headerForm = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// guard reads who may look at the monitor.
func (c *Config) guard(v *variables) {
	c.Guard = Guard{
		Users: v.MonitorUsers.value, UsersFile: v.MonitorUsersFile.text, Anonymous: v.MonitorAnonymous.text, ReadOnly: v.MonitorReadOnly.value,
		URL: v.MonitorURL.text, Proxies: v.MonitorProxies.value, ForwardHeader: v.MonitorForward.text, ForwardRoleHeader: v.MonitorForwardRole.text,
		Roles: maps.Clone(v.MonitorRoles.value), DefaultRole: v.MonitorDefaultRole.text,
		OIDC: OIDC{
			Issuer: v.MonitorIssuer.text, ClientID: v.MonitorClientID.text, ClientSecret: v.MonitorClientSecret.value,
			RoleClaim: v.MonitorRoleClaim.text, Scopes: v.MonitorScopes.value,
		},
		SessionIdle: v.MonitorIdle.value, SessionLifetime: v.MonitorLifetime.value,
		CertFile: v.MonitorCertFile.text, KeyFile: v.MonitorKeyFile.text,
	}
	for _, h := range v.MonitorHosts.value {
		c.Guard.Hosts = append(c.Guard.Hosts, strings.ToLower(strings.TrimSuffix(h, ".")))
	}
	if host := v.MonitorURL.host(); host != "" && (len(c.Guard.Hosts) > 0 || loopback.Is(hostOf(v.MonitorAddr.value()))) {
		c.Guard.Hosts = append(c.Guard.Hosts, host)
	}
	for _, h := range []*text{&v.MonitorForward, &v.MonitorForwardRole} {
		if h.text != "" && !headerForm.MatchString(h.text) {
			h.refuse(likeWord, "the name of a header", "write it as X-Forwarded-User")
		}
	}
	if v.MonitorForward.text != "" && len(c.Guard.Proxies) == 0 {
		v.MonitorProxies.mistake("it is needed, because MONITOR_FORWARD_HEADER is set", "write the networks of the proxies that may say who a request is from, such as 10.0.0.0/8")
	}
	if v.MonitorForwardRole.text != "" && v.MonitorForward.text == "" {
		v.MonitorForward.mistake("it is needed, because MONITOR_FORWARD_ROLE_HEADER is set", "write the name of the header with the user")
	}
	c.checkOIDC(v)
	if (c.Guard.ForwardHeader != "" || c.Guard.OIDC.Issuer != "") && len(c.Guard.Roles) == 0 && c.Guard.DefaultRole == "" {
		v.MonitorRoles.mistake("without it and MONITOR_DEFAULT_ROLE no person has a role", rolesForm+", or MONITOR_DEFAULT_ROLE=viewer")
	}
	if (c.Guard.CertFile == "") != (c.Guard.KeyFile == "") {
		one, other := &v.MonitorCertFile, &v.MonitorKeyFile
		if c.Guard.CertFile != "" {
			one, other = other, one
		}
		one.mistake("it is needed, because "+other.name+" is set", "set both or none")
	}
	if v.MonitorIdle.value > v.MonitorLifetime.value {
		v.MonitorIdle.mistake("it is above MONITOR_SESSION_LIFETIME", "write a shorter time")
	}
}

// checkOIDC checks what belongs to an OpenID provider.
func (c *Config) checkOIDC(v *variables) {
	issuer := v.MonitorIssuer.text
	if issuer == "" {
		return
	}
	if _, rest, _ := strings.Cut(issuer, "://"); !strings.HasPrefix(issuer, "https://") && !(strings.HasPrefix(issuer, "http://") && loopback.Is(hostOf(rest))) || rest == "" || strings.ContainsAny(rest, "@?# ") {
		v.MonitorIssuer.refuse(likeURL, "an https URL", "write it as the provider has it in its discovery document, such as https://id.example.com/realms/main")
	}
	if c.Guard.URL == "" {
		v.MonitorURL.mistake("it is needed, because MONITOR_OIDC_ISSUER is set", "write where browsers find the monitor, such as https://monitor.example.com")
	}
	if c.Guard.OIDC.ClientID == "" {
		v.MonitorClientID.mistake("it is needed, because MONITOR_OIDC_ISSUER is set", "write the id that the provider gave the monitor")
	}
	if !slices.Contains(c.Guard.OIDC.Scopes, "openid") {
		v.MonitorScopes.mistake("openid is not among them", "write openid,profile,email and what your provider needs for groups")
	}
}

// hostOf returns the host of host:port, or of the beginning of a URL without its scheme.
func hostOf(address string) string {
	address, _, _ = strings.Cut(address, "/")
	if rest, ok := strings.CutPrefix(address, "["); ok {
		host, _, _ := strings.Cut(rest, "]")
		return host
	}
	host, _, _ := strings.Cut(address, ":")
	return host
}
