package connurl

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/sorting"
)

// PostgresForm tells how the URL of a PostgreSQL is written.
const PostgresForm = "write postgres://user:password@host:5432/name, with special characters of the password as %XX"

// sslModes are the words of libpq.
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// Postgres is where a connection string of libpq, SQLAlchemy or a host leads to.
type Postgres struct {
	Hosts          []Host // in the order in which they are tried; a Name with a slash is the folder of a socket
	Database       string
	User, Password string

	// Params are the parameters that lib/pq understands and the settings that
	// PostgreSQL takes at the start of a session.
	Params map[string]string
	Notes  []string // what was left out, for a warning
}

// ParsePostgres reads a URL of any driver's scheme, or the keywords of libpq, as
// in "host=db dbname=evently". The error is a [*Fault].
func ParsePostgres(raw string) (*Postgres, error) {
	if isKeywords(raw) {
		params, err := parseKeywords(raw)
		if err != nil {
			return nil, err
		}
		return newPostgres(params)
	}
	// SQLAlchemy names its driver in the scheme: postgresql+psycopg2.
	scheme, _, ok := strings.Cut(raw, "://")
	scheme, _, _ = strings.Cut(strings.ToLower(scheme), "+")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return nil, &Fault{"it does not begin with postgres://", PostgresForm}
	}
	u, err := Parse(raw)
	if err != nil {
		return nil, withForms(err, PostgresForm)
	}
	if hasLoosePercent(raw) { // as libpq
		return nil, &Fault{"it has a % that two hexadecimal digits do not follow", "write % in a password as %25; " + PostgresForm}
	}
	params := map[string]string{"user": u.User, "password": u.Password, "dbname": strings.TrimPrefix(u.Path, "/")}
	names, ports := make([]string, len(u.Hosts)), make([]string, len(u.Hosts))
	for i, h := range u.Hosts {
		names[i], ports[i] = h.Name, h.Port
	}
	params["host"], params["port"] = strings.Join(names, ","), strings.Join(ports, ",")
	for name := range u.Query { // as in libpq they override what stands before the question mark
		params[name] = u.Query.Get(name)
	}
	return newPostgres(params)
}

// newPostgres sorts the parameters.
func newPostgres(params map[string]string) (*Postgres, error) {
	p := &Postgres{Params: map[string]string{}}
	hosts, ports := "", ""
	for _, name := range sorting.Keys(params) {
		value := params[name]
		if value == "" {
			continue
		}
		switch strings.ToLower(name) {
		case "host":
			hosts = value
		case "port":
			ports = value
		case "dbname", "database":
			p.Database = value
		case "user", "username":
			p.User = value
		case "password":
			p.Password = value
		default:
			if err := p.take(strings.ToLower(name), value); err != nil {
				return nil, err
			}
		}
	}
	if err := p.setHosts(hosts, ports); err != nil {
		return nil, err
	}
	return p, p.check()
}

// setHosts pairs names with ports: one port for each, or one for all.
func (p *Postgres) setHosts(hosts, ports string) error {
	names, numbers := strings.Split(hosts, ","), strings.Split(ports, ",")
	if len(numbers) != 1 && len(numbers) != len(names) {
		return &Fault{"it has " + strconv.Itoa(len(names)) + " hosts and " + strconv.Itoa(len(numbers)) + " ports", "write one port for all hosts, or one for each"}
	}
	for i, name := range names {
		port := numbers[0]
		if len(numbers) > 1 {
			port = numbers[i]
		}
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return &Fault{"its port is out of range: not a number from 1 to 65535", PostgresForm}
		}
		if !isPath(name) && strings.ContainsFunc(name, notInHost) {
			return &Fault{"its host is not the name of one", PostgresForm + "; " + escape}
		}
		p.Hosts = append(p.Hosts, Host{name, port})
	}
	return nil
}

// check looks at what only the whole tells.
func (p *Postgres) check() error {
	mode := p.Params["sslmode"]
	if mode != "" && !slices.Contains(sslModes, mode) {
		return &Fault{"its sslmode is not known", "write disable, allow, prefer, require, verify-ca or verify-full"}
	}
	if p.Params["sslrootcert"] == "system" {
		switch mode {
		case "":
			p.Params["sslmode"] = "verify-full" // as in libpq
		case "verify-full":
		default:
			return &Fault{"its sslmode is too weak for sslrootcert=system", "write sslmode=verify-full, or leave it out"}
		}
	}
	return nil
}

// SSLMode returns the sslmode, "" when there is none.
func (p *Postgres) SSLMode() string { return p.Params["sslmode"] }

// URL writes everything as one URL, from which [ParsePostgres] makes the same.
// Hosts that no authority can name become parameters, as libpq allows.
func (p *Postgres) URL() string {
	u := &URL{Scheme: "postgres", User: p.User, Password: p.Password, Hosts: p.Hosts, Query: url.Values{}}
	if p.Database != "" {
		u.Path = "/" + p.Database
	}
	for name, value := range p.Params {
		u.Query.Set(name, value)
	}
	if slices.ContainsFunc(p.Hosts, func(h Host) bool { return isPath(h.Name) }) {
		names, ports := p.hostLists("")
		u.Hosts = []Host{{}}
		u.Query.Set("host", names)
		if strings.Trim(ports, ",") != "" {
			u.Query.Set("port", ports)
		}
		if u.Path == "" {
			u.Path = "/"
		}
	}
	return u.String()
}

// HostNames returns the hosts as a list with commas, Ports their ports.
func (p *Postgres) HostNames() string { names, _ := p.hostLists(""); return names }

// Ports returns the ports as a list with commas; def stands for a port that is
// not given.
func (p *Postgres) Ports(def string) string { _, ports := p.hostLists(def); return ports }

func (p *Postgres) hostLists(def string) (names, ports string) {
	var n, o []string
	for _, h := range p.Hosts {
		port := h.Port
		if port == "" {
			port = def
		}
		n, o = append(n, h.Name), append(o, port)
	}
	return strings.Join(n, ","), strings.Join(o, ",")
}

// Keywords returns the connection string for lib/pq, which can read lists of
// hosts in this form only. host and port stand for what is not given.
func (p *Postgres) Keywords(host, port string) string {
	all := maps.Clone(p.Params)
	hosts := slices.Clone(p.Hosts)
	for i := range hosts {
		if hosts[i].Name == "" {
			hosts[i].Name = host
		}
	}
	all["host"], all["port"] = (&Postgres{Hosts: hosts}).hostLists(port)
	for name, value := range map[string]string{"dbname": p.Database, "user": p.User, "password": p.Password} {
		if value != "" {
			all[name] = value
		}
	}
	escaper := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var pairs []string
	for _, name := range sorting.Keys(all) {
		if all[name] != "" {
			pairs = append(pairs, name+"='"+escaper.Replace(all[name])+"'")
		}
	}
	return strings.Join(pairs, " ")
}
