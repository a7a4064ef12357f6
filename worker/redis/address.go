package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/tlsfiles"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// Address is the place of a Redis server and the login to it, as a URL names them.
type Address struct {
	Network            string   // "tcp" or "unix"
	Host               string   // host:port, or the path of a socket; not used with Sentinels
	Sentinels          []string // host:port of each
	Nodes              []string // host:port of nodes of a cluster; they make it one
	Username, Password string   // a user may have no password
	DB                 int
	TLS                bool
}

// String returns the address without the login.
func (a Address) String() string {
	if len(a.Sentinels) > 0 {
		return fmt.Sprintf("master of %s/%d", strings.Join(a.Sentinels, ","), a.DB)
	}
	if len(a.Nodes) > 0 {
		return "cluster of " + strings.Join(a.Nodes, ",")
	}
	return fmt.Sprintf("%s/%d", a.Host, a.DB)
}

// Credentials are a user and a password. A user may be empty, and have no password.
type Credentials struct{ Username, Password string }

// CredentialSource gives the login of each new connection. Its methods may be called by
// several goroutines.
type CredentialSource interface {
	// Next returns the login to try. If the server refuses it, Next is called again for the
	// same connection, with the refused ones. It may then return a newer login or the
	// previous one, up to three in all. Returning one of them again, or an error, ends the
	// attempt. It must return within a few seconds.
	Next(ctx context.Context, refused []Credentials) (Credentials, error)
	// Accepted is called with a login that the server has accepted.
	Accepted(Credentials)
}

// CredentialFunc is a [CredentialSource] that returns the present login. A refusal ends the
// attempt, unless the login has changed since.
type CredentialFunc func(ctx context.Context) (Credentials, error)

// Next implements [CredentialSource].
func (f CredentialFunc) Next(ctx context.Context, _ []Credentials) (Credentials, error) {
	return f(ctx)
}

// Accepted implements [CredentialSource]. It does nothing.
func (f CredentialFunc) Accepted(Credentials) {}

// loginsOf returns a source as package conn has it.
func loginsOf(s CredentialSource) conn.Logins {
	if s == nil {
		return nil
	}
	return connLogins{s}
}

type connLogins struct{ source CredentialSource }

// Next implements [conn.Logins].
func (l connLogins) Next(ctx context.Context, refused []conn.Login) (conn.Login, error) {
	var before []Credentials
	for _, r := range refused {
		before = append(before, Credentials(r))
	}
	c, err := l.source.Next(ctx, before)
	return conn.Login(c), err
}

// Accepted implements [conn.Logins].
func (l connLogins) Accepted(login conn.Login) { l.source.Accepted(Credentials(login)) }

// parseURL reads a URL by the rules of kombu and redis-py. db is the database when the URL
// names none. Errors do not repeat the URL.
func parseURL(raw string, db int, cluster bool) (Address, *connurl.Redis, error) {
	parse := connurl.ParseRedis
	if cluster {
		parse = connurl.ParseCluster
	}
	r, err := parse(raw)
	if errors.Is(err, connurl.ErrScheme) {
		scheme, _, _ := strings.Cut(raw, "://")
		return Address{}, nil, fmt.Errorf("redis URL has the scheme %q: %w", scheme, err)
	}
	if err != nil {
		return Address{}, nil, fmt.Errorf("redis URL: %w", err)
	}
	a := Address{
		Network: r.Network, Host: r.Address, Sentinels: r.Sentinels, Nodes: r.Nodes,
		Username: r.Username, Password: r.Password, DB: db, TLS: r.TLS,
	}
	if len(r.Sentinels) > 0 {
		a.Network, a.Host = "tcp", ""
	}
	if r.DB >= 0 {
		a.DB = r.DB
	}
	return a, r, nil
}

// readTLS returns the TLS configuration of the next connection, with the files that the
// parameters of a URL name. The files are read now, and again for each connection.
func readTLS(p connurl.RedisTLS, log *slog.Logger) (func() *tls.Config, error) {
	if (p.Cert == "") != (p.Key == "") {
		return nil, errors.New("redis URL names one of ssl_certfile and ssl_keyfile: want both")
	}
	r, err := tlsfiles.NewReader(tlsfiles.Files(p), log)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	return r.Config, nil
}

// info describes the server for "celery inspect stats".
func (s *server) info() broker.Info {
	info := broker.Info{
		Transport: "redis", VirtualHost: strconv.Itoa(s.addr.DB), UserID: s.addr.Username, TLS: s.addr.TLS,
		ConnectTimeout: conn.DialTimeout,
	}
	scheme, host := "redis", s.addr.Host
	switch {
	case len(s.addr.Sentinels) > 0:
		info.Transport, scheme, host = "sentinel", "sentinel", s.addr.Sentinels[0]
	case len(s.addr.Nodes) > 0:
		host = cmp.Or(s.conns.Master(), s.addr.Nodes[0])
		if s.addr.TLS {
			scheme = "rediss"
		}
	case s.addr.Network == "unix":
		scheme = "redis+socket"
	case s.addr.TLS:
		scheme = "rediss"
	}
	info.Hostname = host
	if name, port, err := net.SplitHostPort(host); err == nil {
		info.Hostname = name
		info.Port, _ = strconv.Atoi(port)
	}
	user := ""
	if s.addr.Password != "" {
		user = url.User(s.addr.Username).String() + ":********@"
	}
	info.URL = fmt.Sprintf("%s://%s%s/%d", scheme, user, host, s.addr.DB)
	return info
}
