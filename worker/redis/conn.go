package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// maxConns bounds the connections of the pool. The limit is kept here, as that
// of redigo's pool races with its Close.
const maxConns = 8

// newPool makes the pool of connections for everything that does not block.
func (b *Broker) newPool() *redigo.Pool {
	return &redigo.Pool{
		DialContext: b.dialPooled,
		MaxIdle:     4,
		IdleTimeout: 5 * time.Minute,
		TestOnBorrowContext: func(ctx context.Context, c redigo.Conn, last time.Time) error {
			// Longer than the pause between two heartbeats: they need no question.
			if time.Since(last) < 5*time.Second/2 {
				return nil
			}
			_, err := redigo.DoContext(c, ctx, "PING")
			return err
		},
	}
}

// netDialer opens a connection for redigo.
type netDialer func(ctx context.Context, network, host string) (net.Conn, error)

// dial opens a connection of its own.
func (b *Broker) dial(ctx context.Context) (redigo.Conn, error) { return b.dialBy(ctx, b.netDial) }

// dialPooled opens a connection of the pool.
func (b *Broker) dialPooled(ctx context.Context) (redigo.Conn, error) {
	return b.dialBy(ctx, b.netDialBuffered)
}

// dialBy opens a connection with deadlines on everything.
func (b *Broker) dialBy(ctx context.Context, nd netDialer) (redigo.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if len(b.addr.sentinels) > 0 {
		return b.dialMaster(ctx, nd)
	}
	c, err := b.dialServer(ctx, b.addr.network, b.addr.host, nd)
	if err != nil {
		return nil, fmt.Errorf("connect to redis %s: %w", b.addr, dialCause(err))
	}
	return c, nil
}

// dialCause returns what the system said to a dial, without the address and the
// verbs that an error about a connection has anyway.
func dialCause(err error) error {
	if e, ok := err.(*net.OpError); ok && e.Op == "dial" {
		err = e.Err
	}
	if e, ok := err.(*os.SyscallError); ok {
		err = e.Err
	}
	return err
}

// dialServer connects to one server and logs in as redis-py does: a user without a
// password has an empty one, and a server before Redis 6 gets the password alone.
func (b *Broker) dialServer(ctx context.Context, network, host string, nd netDialer) (redigo.Conn, error) {
	opts := b.dialOptions(nd)
	if b.addr.username == "" {
		opts = append(opts, redigo.DialPassword(b.addr.password), redigo.DialDatabase(b.addr.db))
		return redigo.DialContext(ctx, network, host, opts...)
	}
	c, err := redigo.DialContext(ctx, network, host, opts...)
	if err != nil {
		return nil, err
	}
	_, err = redigo.DoContext(c, ctx, "AUTH", b.addr.username, b.addr.password)
	if refused, ok := errors.AsType[redigo.Error](err); ok && strings.Contains(string(refused), "wrong number of arguments") {
		_, err = redigo.DoContext(c, ctx, "AUTH", b.addr.password)
	}
	if err == nil && b.addr.db != 0 {
		_, err = redigo.DoContext(c, ctx, "SELECT", b.addr.db)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (b *Broker) dialOptions(nd netDialer) []redigo.DialOption {
	return []redigo.DialOption{
		redigo.DialReadTimeout(commandTimeout),
		redigo.DialWriteTimeout(commandTimeout),
		redigo.DialContextFunc(nd),
	}
}

// netDial does the TLS handshake itself, under the deadline of the dial.
func (b *Broker) netDial(ctx context.Context, network, host string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	nc, err := d.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	nc = b.current().track(nc)
	if !b.addr.tls {
		return nc, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.cfg.TLS != nil {
		cfg = b.cfg.TLS.Clone()
	}
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

// do runs fn with a connection of the pool. A connection that broke, or whose
// server says that it is not the one to talk to, takes all others with it: they
// lead to the same place.
func (b *Broker) do(ctx context.Context, fn func(redigo.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+commandTimeout)
	defer cancel()
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	g, c, err := b.conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	err = fn(c)
	if c.Err() != nil || err != nil && wrongServer(err) {
		b.replace(g, false)
	}
	return err
}

// errClosed is the end of a Broker, in the place of redigo's "get on closed pool".
var errClosed = errors.New("redis broker: it is closed")

// conn takes a connection of the current generation. One that is replaced in
// that moment has a closed pool, which says nothing about the server.
func (b *Broker) conn(ctx context.Context) (*generation, redigo.Conn, error) {
	for {
		g := b.current()
		c, err := g.pool.GetContext(ctx)
		switch {
		case err == nil, g.over.Err() == nil:
			return g, c, err
		case g == b.current():
			return nil, nil, errClosed
		}
	}
}

// generation is a set of connections that lead to the same server: what is
// wrong with one of them is wrong with all.
type generation struct {
	pool *redigo.Pool
	over context.Context // ends when the set is replaced
	end  context.CancelFunc
	open *openConns
}

// openConns are the connections of all generations: one that was replaced may
// still have some that wait for an answer.
type openConns struct {
	mu  sync.Mutex
	all map[net.Conn]*generation
}

func (b *Broker) newGeneration() *generation {
	g := &generation{pool: b.newPool(), open: &b.open}
	g.over, g.end = context.WithCancel(context.Background())
	return g
}

// track returns nc as a member of the generation, until it is closed.
func (g *generation) track(nc net.Conn) net.Conn {
	g.open.mu.Lock()
	defer g.open.mu.Unlock()
	if g.open.all == nil {
		g.open.all = map[net.Conn]*generation{}
	}
	g.open.all[nc] = g
	return &trackedConn{nc, g.open}
}

type trackedConn struct {
	net.Conn
	open *openConns
}

func (c *trackedConn) Close() error {
	c.open.mu.Lock()
	delete(c.open.all, c.Conn)
	c.open.mu.Unlock()
	return c.Conn.Close()
}

// close gives the connections up; those in use live until they are given back.
func (g *generation) close() error {
	g.end()
	return g.pool.Close()
}

// cut closes the connections of a generation, or with nil those of all, under
// whoever uses them: what waits for an answer fails at once.
func (o *openConns) cut(g *generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for nc, of := range o.all {
		if g == nil || of == g {
			_ = nc.Close() // it is given up
		}
	}
}

func (b *Broker) current() *generation {
	b.connsMu.Lock()
	defer b.connsMu.Unlock()
	return b.conns
}

// Reset implements [broker.Broker].
func (b *Broker) Reset() {
	b.replace(b.current(), true)
	b.open.cut(nil)
}

// replace begins a new generation after g, unless somebody was quicker.
func (b *Broker) replace(g *generation, cut bool) {
	b.connsMu.Lock()
	if b.conns != g {
		b.connsMu.Unlock()
		return
	}
	b.conns = b.newGeneration()
	b.connsMu.Unlock()
	_ = g.close() // of connections that are given up anyway
	if cut {
		b.open.cut(g)
	}
}

// wrongServer reports whether err is the answer of a server that another
// connection may spare us: one that was demoted, is loading or shutting down,
// or has taken our rights away since we logged in.
func wrongServer(err error) bool {
	var e redigo.Error
	if !errors.As(err, &e) {
		return false
	}
	code, _, _ := strings.Cut(string(e), " ")
	switch code {
	case "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "NOAUTH", "NOPERM", "WRONGPASS", "CLUSTERDOWN", "NOREPLICAS":
		return true
	}
	return false
}

// hasCode reports whether err is a server error with that first word.
func hasCode(err error, code string) bool {
	var e redigo.Error
	return errors.As(err, &e) && strings.HasPrefix(string(e), code)
}

// notToBeHad reports whether the server does not have the command, or not for us.
func notToBeHad(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && (strings.Contains(strings.ToLower(string(e)), "unknown command") || strings.HasPrefix(string(e), "NOPERM"))
}

// script runs s with keysAndArgs, of which the first n are keys.
func (b *Broker) script(ctx context.Context, s script, n int, keysAndArgs ...any) (reply any, err error) {
	err = b.do(ctx, func(c redigo.Conn) error {
		reply, err = s().Do(c, append([]any{n}, keysAndArgs...)...)
		return err
	})
	return reply, err
}

func (b *Broker) scriptInt(ctx context.Context, s script, n int, keysAndArgs ...any) (int, error) {
	return redigo.Int(b.script(ctx, s, n, keysAndArgs...))
}
