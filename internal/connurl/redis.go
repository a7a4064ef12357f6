package connurl

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/sorting"
)

// RedisForms tells how the URL of a Redis is written.
const RedisForms = "write redis://[user]:[password]@host:6379/0, rediss:// for TLS, redis+socket:///path?virtual_host=0, or sentinel://host:26379;sentinel://host:26379/0"

// SentinelForm tells how the URLs of Sentinels are written.
const SentinelForm = "write sentinel://host:26379;sentinel://host:26379/0, with :password@ before the first host if the master wants one"

// ErrScheme refuses the URL of another kind of server.
var ErrScheme = &Fault{"it does not begin with a scheme that is known", RedisForms}

// Redis is where a URL of Celery, redis-py or valkey-py leads to.
type Redis struct {
	Network            string   // "tcp" or "unix"; Sentinels: "sentinel"
	Address            string   // host:port, or the path of a socket
	Sentinels          []string // host:port of each
	Nodes              []string // host:port of each; of a cluster only
	Master             string   // name that the Sentinels know the master by; "": the URL does not tell
	TLS                bool     // the scheme says so
	TLSParams          RedisTLS
	Username, Password string
	DB                 int      // -1: the URL names none
	Notes              []string // parameters without an effect, for a warning
}

// ParseRedis reads the URL of a Redis. The error is a [*Fault].
func ParseRedis(raw string) (*Redis, error) {
	if len(raw) >= len("sentinel://") && strings.EqualFold(raw[:len("sentinel://")], "sentinel://") {
		return parseSentinels(raw)
	}
	if _, more, _ := strings.Cut(raw, ";"); strings.Contains(more, "://") {
		return nil, &Fault{"it has more than one URL", "write one; set REDIS_CLUSTER=true if they lead to nodes of a Redis Cluster"}
	}
	if schemeForm.FindString(raw) == "" {
		return nil, ErrScheme
	}
	u, err := Parse(raw)
	if err != nil {
		return nil, withForms(err, RedisForms)
	}
	return readRedis(u, (*Redis).readHost)
}

// readRedis reads a URL. readHosts reads its hosts.
func readRedis(u *URL, readHosts func(*Redis, *URL) error) (r *Redis, err error) {
	r = &Redis{DB: -1}
	switch u.Scheme {
	case "redis", "valkey", "rediss", "valkeys":
		r.TLS = u.Scheme == "rediss" || u.Scheme == "valkeys"
		err = readHosts(r, u)
	case "redis+socket", "socket", "unix":
		err = r.readSocket(u)
	default:
		err = ErrScheme
	}
	if err == nil {
		err = r.readQuery(u)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// URL writes everything but the parameters as one URL, from which [ParseRedis] makes the
// same. It holds the password.
func (r *Redis) URL() string {
	db := strconv.Itoa(max(r.DB, 0))
	var login *url.Userinfo
	switch {
	case r.Password != "":
		login = url.UserPassword(r.Username, r.Password)
	case r.Username != "":
		login = url.User(r.Username)
	}
	if len(r.Sentinels) > 0 {
		parts := make([]string, len(r.Sentinels))
		for i, address := range r.Sentinels {
			u := url.URL{Scheme: "sentinel", Host: address}
			if i == 0 {
				u.User = login
			}
			parts[i] = u.String()
		}
		return strings.Join(parts, ";") + "/" + db
	}
	u := url.URL{Scheme: "redis", User: login, Host: r.Address, Path: "/" + db}
	switch {
	case r.Network == "unix":
		u = url.URL{Scheme: "redis+socket", User: login, Path: r.Address, RawQuery: "virtual_host=" + db}
	case r.TLS:
		u.Scheme = "rediss"
	}
	return u.String()
}

// withForms adds the forms of a URL to the remedy of a fault.
func withForms(err error, forms string) error {
	f, ok := err.(*Fault)
	if !ok {
		return err
	}
	return &Fault{f.Wrong, f.Right + "; " + forms}
}

func (r *Redis) readHost(u *URL) error {
	if len(u.Hosts) > 1 {
		return &Fault{"it has more than one host", "write one; set REDIS_CLUSTER=true if they are nodes of a Redis Cluster; or name the Sentinels that know it: " + RedisForms}
	}
	r.Network, r.Address = "tcp", u.Address("localhost", "6379") // as kombu
	return r.selectDB(strings.Trim(u.Path, "/"))
}

func (r *Redis) readSocket(u *URL) error {
	if u.Hosts[0] != (Host{}) || len(u.Hosts) > 1 || strings.Trim(u.Path, "/") == "" {
		return &Fault{"it has no path of a socket", "write three slashes: redis+socket:///run/redis/redis.sock?virtual_host=0"}
	}
	r.Network, r.Address = "unix", u.Path
	return nil
}

// selectDB takes the number of the database from one of the places that may
// have it.
func (r *Redis) selectDB(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil:
		return &Fault{"its database is not a number", RedisForms}
	case r.DB >= 0 && r.DB != int(n):
		return &Fault{"it names two databases", RedisForms}
	}
	r.DB = int(n)
	return nil
}

// readQuery reads the parameters of kombu and of redis-py, and notes each one that
// has no effect.
func (r *Redis) readQuery(u *URL) (err error) {
	for _, name := range []string{"virtual_host", "db"} {
		if err := r.selectDB(strings.Trim(u.Query.Get(name), "/")); err != nil {
			return err
		}
		u.Query.Del(name)
	}
	if u.Query.Has("credential_provider") {
		return &Fault{"its credential_provider is Python code", "write user and password into the URL"}
	}
	var secure bool
	if r.TLSParams, secure, r.Notes, err = u.TakeTLS(); err != nil {
		return err
	}
	if secure && !r.TLS { // kombu takes it for TLS, and Celery's result backend refuses it
		return &Fault{"it has parameters of TLS, but its scheme has no TLS", "write rediss://, or leave the parameters out"}
	}
	r.Username, r.Password = u.User, u.Password
	if r.Username == "" {
		r.Username = u.Query.Get("username")
	}
	if r.Password == "" {
		r.Password = u.Query.Get("password")
	}
	u.Query.Del("username")
	u.Query.Del("password")
	r.noteUnused(u)
	return nil
}

func (r *Redis) noteUnused(u *URL) {
	for _, name := range sorting.Keys(u.Query) {
		r.Notes = append(r.Notes, "the parameter "+quoteName(name)+" is not used")
	}
}

// quoteName repeats the name of a parameter, unless it is none.
func quoteName(name string) string {
	const most = 60
	if len(name) > most || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" {
		return "of a strange name"
	}
	return strconv.Quote(name)
}

// parseSentinels reads sentinel://host:port;sentinel://host:port/db. Login, database and
// master_name are those of the master, whichever of the parts has them.
func parseSentinels(raw string) (*Redis, error) {
	r := &Redis{Network: "sentinel", DB: -1}
	for part := range strings.SplitSeq(raw, ";") {
		bare := !strings.Contains(part, "://")
		if bare {
			part = "sentinel://" + part
		}
		u, err := Parse(part)
		switch {
		case err != nil:
			return nil, &Fault{"it does not name Sentinels: " + err.(*Fault).Wrong, SentinelForm + "; " + escape}
		case u.Scheme != "sentinel":
			return nil, &Fault{"its parts differ in their scheme", SentinelForm}
		case u.Hosts[0].Name == "" || len(u.Hosts) > 1:
			return nil, &Fault{"it does not name Sentinels", SentinelForm}
		case bare && u.Login: // the rest of a password that has a semicolon
			return nil, &Fault{"it has an @ behind a semicolon", escape}
		}
		r.Sentinels = append(r.Sentinels, u.Address("", "26379"))
		if err := r.selectDB(strings.Trim(u.Path, "/")); err != nil {
			return nil, &Fault{err.(*Fault).Wrong, SentinelForm}
		}
		if u.User != "" || u.Password != "" {
			r.Username, r.Password = u.User, u.Password
		}
		r.Master = cmp.Or(u.Query.Get("master_name"), r.Master)
		u.Query.Del("master_name")
		r.noteUnused(u)
	}
	r.Address = strings.Join(r.Sentinels, ",")
	return r, nil
}
