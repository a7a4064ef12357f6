package connurl

import (
	"regexp"
	"slices"
	"strings"
)

// ClusterForm tells how the URL of a Redis Cluster is written.
const ClusterForm = "write redis://[user]:[password]@node:6379,node:6379/0 with one node or several, or rediss:// for TLS"

// nextURL matches where a second URL begins, in a list as Celery writes it.
var nextURL = regexp.MustCompile(`[;,]\s*[A-Za-z][A-Za-z0-9+.-]*://`)

// ParseCluster reads the URL of a Redis Cluster. It may name several nodes, separated by commas
// or semicolons, and each of them may be a whole URL. The error is a [*Fault].
func ParseCluster(raw string) (*Redis, error) {
	u, err := parseNodes(raw)
	if err != nil {
		return nil, err
	}
	return readCluster(u)
}

// readCluster reads the URL that parseNodes has made of those of the nodes.
func readCluster(u *URL) (*Redis, error) {
	r, err := readRedis(u, (*Redis).readNodes)
	if f, ok := err.(*Fault); ok {
		return nil, &Fault{f.Wrong, strings.Replace(f.Right, RedisForms, ClusterForm, 1)}
	}
	if r.DB > 0 {
		return nil, &Fault{"its database is not 0, the only one that a Redis Cluster has", ClusterForm}
	}
	return r, nil
}

// ParseServer reads the URL of a Redis, or of a Redis Cluster if it names several nodes. The
// error is a [*Fault].
func ParseServer(raw string) (*Redis, error) {
	if u, err := parseNodes(raw); err == nil && len(u.Hosts) > 1 {
		return readCluster(u)
	}
	return ParseRedis(raw)
}

// parseNodes takes the URLs of nodes apart and makes them one. A login, a database or a
// parameter may be in one of them or in all.
func parseNodes(raw string) (*URL, error) {
	var all *URL
	for _, part := range splitURLs(raw) {
		if scheme, _, _ := strings.Cut(strings.ToLower(part), "://"); scheme == "sentinel" || isSocket(scheme) {
			return nil, &Fault{"it does not lead to the nodes of a Redis Cluster", ClusterForm}
		}
		u, err := Parse(withCommas(part))
		if err != nil {
			return nil, withForms(err, ClusterForm)
		}
		if all == nil {
			all = u
		} else if differ := all.join(u); differ != "" {
			return nil, &Fault{"its parts differ in their " + differ, ClusterForm}
		}
	}
	return all, nil
}

// splitURLs splits a list of URLs.
func splitURLs(raw string) (parts []string) {
	for {
		at := nextURL.FindStringIndex(raw)
		if at == nil {
			return append(parts, raw)
		}
		parts, raw = append(parts, raw[:at[0]]), strings.TrimSpace(raw[at[0]+1:])
	}
}

// withCommas separates the hosts of a URL by commas. A password may have semicolons.
func withCommas(raw string) string {
	_, authority, _ := strings.Cut(raw, "://")
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	hosts := authority[strings.LastIndex(authority, "@")+1:]
	return strings.Replace(raw, authority, authority[:len(authority)-len(hosts)]+strings.ReplaceAll(hosts, ";", ","), 1)
}

// join adds the hosts of another URL. It returns the part in which both differ, if there is
// one.
func (u *URL) join(other *URL) (differ string) {
	switch {
	case u.Scheme != other.Scheme:
		return "scheme"
	case u.Login && other.Login && (u.User != other.User || u.Password != other.Password):
		return "login"
	case strings.Trim(u.Path, "/") != "" && strings.Trim(other.Path, "/") != "" && u.Path != other.Path:
		return "database"
	}
	if other.Login {
		u.Login, u.User, u.Password = true, other.User, other.Password
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = other.Path
	}
	for name, values := range other.Query {
		if mine, ok := u.Query[name]; ok && !slices.Equal(mine, values) {
			return "parameters"
		}
		u.Query[name] = values
	}
	u.Hosts = append(u.Hosts, other.Hosts...)
	return ""
}

func (r *Redis) readNodes(u *URL) error {
	hosts := u.Hosts
	for i := range hosts {
		u.Hosts = hosts[i : i+1]
		if len(hosts) > 1 && hosts[i].Name == "" {
			return &Fault{"one of its hosts has no name", ClusterForm}
		}
		if address := u.Address("localhost", "6379"); !slices.Contains(r.Nodes, address) {
			r.Nodes = append(r.Nodes, address)
		}
	}
	r.Network, r.Address = "tcp", strings.Join(r.Nodes, ",")
	return r.selectDB(strings.Trim(u.Path, "/"))
}
