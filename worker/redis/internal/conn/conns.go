package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// maxConns bounds the connections of the pool. Conns keeps the limit, because that of
// redigo's pool races with its Close.
const maxConns = 8

// Config describes a server and the login to it.
type Config struct {
	Network, Host      string // for net.Dial; not used with Sentinels
	Username, Password string // a user may have no password
	Logins             Logins // instead of Username and Password
	DB                 int
	TLS                func() *tls.Config // of the next connection; nil: no TLS
	Name               string             // the server in errors and logs

	Sentinels                          []string // host:port of each; they know the master
	SentinelMaster                     string   // name of the master
	SentinelUsername, SentinelPassword string   // login to the Sentinels themselves
	SentinelLogins                     Logins   // instead of both

	ClusterNodes []string // host:port of nodes of a cluster; they know the owner
	ClusterKey   string   // a key in the slot of all others that never exists

	Logger *slog.Logger
}

// finder finds the server that connections lead to, where others know it.
type finder interface {
	// dialMaster connects to the server that takes writes now.
	dialMaster(ctx context.Context, nd netDialer) (redigo.Conn, error)
	// newMaster returns the address of that server when it is not the one that connections
	// lead to, else "".
	newMaster(ctx context.Context) (string, error)
	// current returns the address of the server that connections lead to, "" before the first.
	current() string
	// hangUp closes the connection of newMaster.
	hangUp()
}

// Conns are the connections to one server. Make one with New. It never holds two of its
// locks together.
type Conns struct {
	dialer *dialer
	finder finder // nil: the address is fixed
	open   openConns
	slots  chan struct{} // one for each connection of the pool

	mu      sync.Mutex
	current *Generation
}

// New returns the connections to a server. It does not dial.
func New(cfg Config) *Conns {
	c := &Conns{slots: make(chan struct{}, maxConns)}
	c.dialer = &dialer{cfg: cfg, track: c.track, cut: c.open.cutTo}
	switch {
	case len(cfg.Sentinels) > 0:
		c.finder = newSentinels(cfg, c.dialer)
	case len(cfg.ClusterNodes) > 0:
		c.finder = newCluster(cfg, c.dialer)
	}
	c.current = c.newGeneration()
	return c
}

// newPool returns the pool of connections for commands that do not block.
func (c *Conns) newPool() *redigo.Pool {
	return &redigo.Pool{
		DialContext: func(ctx context.Context) (redigo.Conn, error) { return c.dial(ctx, c.dialer.netBuffered) },
		MaxIdle:     4,
		IdleTimeout: 5 * time.Minute,
		TestOnBorrowContext: func(ctx context.Context, conn redigo.Conn, last time.Time) error {
			return testIdle(ctx, conn, time.Since(last))
		},
	}
}

// Dial opens a connection outside the pool.
func (c *Conns) Dial(ctx context.Context) (redigo.Conn, error) { return c.dial(ctx, c.dialer.net) }

func (c *Conns) dial(ctx context.Context, nd netDialer) (redigo.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	if c.finder != nil {
		return c.finder.dialMaster(ctx, nd)
	}
	cfg := &c.dialer.cfg
	conn, err := c.dialer.server(ctx, cfg.Network, cfg.Host, nd)
	if HasCode(err, "ERR SELECT is not allowed in cluster mode") {
		err = notFollowed(fmt.Errorf("a Redis Cluster has the database 0 only: %w", err))
	}
	if err != nil {
		return nil, fmt.Errorf("connect to redis %s: %w", cfg.Name, dialCause(err))
	}
	return conn, nil
}

// Do calls fn with a connection of the pool. A connection that broke, or whose server
// refuses as a wrong one, discards all others: they lead to the same server. A deadline of ctx
// bounds the wait for replies, too. A command that it cuts discards its own connection only. A
// cancelled ctx cuts no command.
func (c *Conns) Do(ctx context.Context, fn func(redigo.Conn) error) error {
	deadline, hasDeadline := ctx.Deadline()
	isOver := func() bool { return hasDeadline && !time.Now().Before(deadline) }
	if isOver() {
		return context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout+CommandTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	g, conn, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if hasDeadline {
		conn = boundedConn{conn, deadline}
	}
	err = fn(conn)
	if isUnauthenticated(err) {
		err = errNoAuth
	}
	if conn.Err() != nil && !isOver() || err != nil && isWrongServer(err) {
		// Connections that wait for messages of a server that was demoted would wait for ever.
		c.Replace(g, HasCode(err, "READONLY") || HasCode(err, "UNBLOCKED"))
	}
	if c.finder == nil && (HasCode(err, "MOVED ") || HasCode(err, "CROSSSLOT ")) {
		err = notFollowed(err)
	}
	return err
}

// notFollowed explains the refusal of a node of a cluster that the configuration takes for
// a server alone.
func notFollowed(err error) error {
	return fmt.Errorf("the server is a node of a Redis Cluster: set REDIS_CLUSTER, or Cluster of the broker's configuration: %w", err)
}

// errClosed replaces redigo's "get on closed pool".
var errClosed = errors.New("redis broker: it is closed")

// take takes a connection of the current generation. A generation that is replaced at that
// moment has a closed pool, which says nothing about the server.
func (c *Conns) take(ctx context.Context) (*Generation, redigo.Conn, error) {
	for {
		g := c.Current()
		conn, err := g.pool.GetContext(ctx)
		switch {
		case err == nil, g.over.Err() == nil:
			return g, conn, err
		case g == c.Current():
			return nil, nil, errClosed
		}
	}
}

// Current returns the generation that connections are taken from.
func (c *Conns) Current() *Generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Replace begins a new generation after g, unless that was done before. With cut it also
// closes connections of g that are in use.
func (c *Conns) Replace(g *Generation, cut bool) {
	c.mu.Lock()
	if c.current != g {
		c.mu.Unlock()
		return
	}
	c.current = c.newGeneration()
	c.mu.Unlock()
	_ = g.close() // its connections are given up
	if cut {
		c.open.cut(g)
	}
}

// Renew closes idle connections, and those in use when they are returned: the next ones log in
// anew.
func (c *Conns) Renew() { c.Replace(c.Current(), false) }

// Reset closes all connections, also those in use.
func (c *Conns) Reset() {
	c.Replace(c.Current(), true)
	c.open.cut(nil)
}

// Close closes the idle connections for good. Do fails from then on.
func (c *Conns) Close() error { return c.Current().close() }

// Follows reports whether Sentinels or the nodes of a cluster name the server.
func (c *Conns) Follows() bool { return c.finder != nil }

// Master returns the address of the server that Sentinels or nodes of a cluster have named
// last, "" before.
func (c *Conns) Master() string {
	if c.finder == nil {
		return ""
	}
	return c.finder.current()
}

// FollowMaster asks a Sentinel, or a node of the cluster, whether the master is still the one
// that the connections lead to. It closes them all when it is not.
func (c *Conns) FollowMaster(ctx context.Context) error {
	master, err := c.finder.newMaster(ctx)
	if err != nil || master == "" {
		return err
	}
	c.dialer.cfg.Logger.Warn("redis has another master now", "master", master)
	c.finder.hangUp() // Reset would cut its connection
	c.Reset()
	return nil
}

// Unfollow closes the connection of FollowMaster.
func (c *Conns) Unfollow() {
	if c.finder != nil {
		c.finder.hangUp()
	}
}
