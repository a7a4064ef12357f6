package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	track func(net.Conn) net.Conn // notes an open connection
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
	return d.cfg.Logins.try(ctx, Login{d.cfg.Username, d.cfg.Password}, func(l Login) (redigo.Conn, error) {
		return d.login(ctx, network, host, nd, l)
	})
}

// login connects to one server and logs in as redis-py does: a user without a password has
// an empty one, and a server before Redis 6 gets the password alone.
func (d *dialer) login(ctx context.Context, network, host string, nd netDialer, l Login) (redigo.Conn, error) {
	opts := []redigo.DialOption{
		redigo.DialReadTimeout(CommandTimeout),
		redigo.DialWriteTimeout(CommandTimeout),
		redigo.DialContextFunc(nd),
	}
	if l.Username == "" {
		opts = append(opts, redigo.DialPassword(l.Password), redigo.DialDatabase(d.cfg.DB))
		return redigo.DialContext(ctx, network, host, opts...)
	}
	c, err := redigo.DialContext(ctx, network, host, opts...)
	if err != nil {
		return nil, err
	}
	_, err = redigo.DoContext(c, ctx, "AUTH", l.Username, l.Password)
	if refused, ok := errors.AsType[redigo.Error](err); ok && strings.Contains(string(refused), "wrong number of arguments") {
		_, err = redigo.DoContext(c, ctx, "AUTH", l.Password)
	}
	if err == nil && d.cfg.DB != 0 {
		_, err = redigo.DoContext(c, ctx, "SELECT", d.cfg.DB)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// net opens a network connection. It does the TLS handshake itself, under the deadline of
// the dial.
func (d *dialer) net(ctx context.Context, network, host string) (net.Conn, error) {
	nd := net.Dialer{Timeout: DialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	nc, err := nd.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	nc = d.track(nc)
	if d.cfg.TLS == nil {
		return nc, nil
	}
	cfg := d.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(host)
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return tc, nil
}

// netBuffered opens a network connection with large buffers.
func (d *dialer) netBuffered(ctx context.Context, network, host string) (net.Conn, error) {
	nc, err := d.net(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return newBufferedConn(nc), nil
}
