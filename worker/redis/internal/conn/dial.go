package conn

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Deadlines of connections. A command takes microseconds; a server that takes seconds is
// unavailable, or will be asked again.
const (
	DialTimeout    = 3 * time.Second
	CommandTimeout = 3 * time.Second
)

// netDialer opens a network connection for redigo.
type netDialer func(ctx context.Context, network, host string) (net.Conn, error)

// dialer opens connections to servers. It does not change after New.
type dialer struct {
	cfg   Config
	track func(nc net.Conn, host string) net.Conn // notes an open connection
	cut   func(host string)                       // closes the open connections to a server
}

// dialCause returns what the system replied to a dial, without the address and the verbs
// that an error about a connection has anyway.
func dialCause(err error) error {
	if e, ok := err.(*net.OpError); ok && e.Op == "dial" {
		err = e.Err
	}
	if e, ok := err.(*os.SyscallError); ok {
		err = e.Err
	}
	return err
}

// server connects to one server and logs in, see [Config.Logins].
func (d *dialer) server(ctx context.Context, network, host string, nd netDialer) (redigo.Conn, error) {
	return withLogins(ctx, d.cfg.Logins, Login{d.cfg.Username, d.cfg.Password}, func(l Login) (redigo.Conn, error) {
		return d.login(ctx, network, host, nd, l)
	})
}

// login connects to one server and logs in as redis-py does: a user without a password has
// an empty one, and a server before Redis 6 gets the password alone.
func (d *dialer) login(ctx context.Context, network, host string, nd netDialer, l Login) (redigo.Conn, error) {
	var nc net.Conn
	opts := []redigo.DialOption{
		redigo.DialReadTimeout(CommandTimeout),
		redigo.DialWriteTimeout(CommandTimeout),
		redigo.DialContextFunc(func(ctx context.Context, network, host string) (_ net.Conn, err error) {
			nc, err = nd(ctx, network, host)
			return nc, err
		}),
	}
	if l.Username == "" { // redigo sends both, or neither
		opts = append(opts, redigo.DialPassword(l.Password), redigo.DialDatabase(d.cfg.DB))
	}
	c, err := redigo.DialContext(ctx, network, host, opts...)
	if err == nil && l.Username != "" {
		err = d.authUser(ctx, c, l)
	}
	if err == nil && d.cfg.TLS != nil {
		// With TLS 1.3 the server looks at our certificate after the handshake.
		if _, err = redigo.DoContext(c, ctx, "PING"); c.Err() == nil {
			err = nil // it has replied
		}
	}
	if err != nil {
		if c != nil {
			c.Close()
		}
		return nil, explainTLS(withoutSecrets(err, l.Password))
	}
	return &hashlessConn{Conn: c, net: nc}, nil
}

// authUser logs in a user and selects the database.
func (d *dialer) authUser(ctx context.Context, c redigo.Conn, l Login) error {
	_, err := redigo.DoContext(c, ctx, "AUTH", l.Username, l.Password)
	if refused, ok := errors.AsType[redigo.Error](err); ok && strings.Contains(string(refused), "wrong number of arguments") {
		_, err = redigo.DoContext(c, ctx, "AUTH", l.Password)
	}
	if err == nil && d.cfg.DB != 0 {
		_, err = redigo.DoContext(c, ctx, "SELECT", d.cfg.DB)
	}
	return err
}

// net opens a network connection, with TLS when that is wanted.
func (d *dialer) net(ctx context.Context, network, host string) (net.Conn, error) {
	nd := net.Dialer{Timeout: DialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	nc, err := nd.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	nc = d.track(nc, host)
	if d.cfg.TLS == nil {
		return nc, nil
	}
	return handshake(ctx, nc, host, d.cfg.TLS())
}

// netBuffered opens a network connection with large buffers.
func (d *dialer) netBuffered(ctx context.Context, network, host string) (net.Conn, error) {
	nc, err := d.net(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return newBufferedConn(nc), nil
}
