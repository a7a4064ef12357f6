package store

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// cancelGrace is what a server gets on top of the query timeout to answer the
// request to cancel. Only a frozen one needs it all.
const cancelGrace = time.Second

// dialer makes connections that cannot hang. When a context ends, lib/pq asks
// the server to cancel and then waits for its answer; a server that is frozen,
// or gone without a FIN, would make it wait for ever.
type dialer struct {
	timeout time.Duration
	hangs   *hangs // nil: each call finds out by itself
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout}
	server := d.hangs.server(network, address)
	c, err := server.dial(ctx, &nd, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, timeout: d.timeout, server: server}, nil
}

// conn gives every read and write a deadline. The driver never reads while a
// connection idles in the pool, so that is safe.
type conn struct {
	net.Conn
	timeout time.Duration
	server  *server                   // nil: it is not watched
	limit   atomic.Pointer[time.Time] // set by the driver while it logs in, with connect_timeout
}

// SetDeadline keeps the deadline of the driver, which those of reads and writes
// would replace.
func (c *conn) SetDeadline(t time.Time) error {
	c.limit.Store(&t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) deadline() time.Time {
	t := time.Now().Add(c.timeout)
	if limit := c.limit.Load(); limit != nil && !limit.IsZero() && limit.Before(t) {
		return *limit
	}
	return t
}

func (c *conn) Read(p []byte) (int, error) {
	if c.server != nil {
		return c.server.read(c.Conn, p, c.deadline())
	}
	if err := c.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.server.hung(); err != nil {
		return 0, &net.OpError{Op: "write", Net: c.server.network, Err: err}
	}
	if err := c.SetWriteDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
