package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	redigo "github.com/gomodule/redigo/redis"
)

// Generation is a set of connections that lead to the same server. A fault of one of them
// is a fault of all.
type Generation struct {
	pool *redigo.Pool
	over context.Context
	end  context.CancelFunc
}

func (c *Conns) newGeneration() *Generation {
	g := &Generation{pool: c.newPool()}
	g.over, g.end = context.WithCancel(context.Background())
	return g
}

// Over returns a context that ends when the generation is replaced.
func (g *Generation) Over() context.Context { return g.over }

// close closes idle connections. A connection in use is closed when it is returned.
func (g *Generation) close() error {
	g.end()
	return g.pool.Close()
}

// track notes nc as a connection to host of the current generation, until it is closed.
func (c *Conns) track(nc net.Conn, host string) net.Conn {
	return c.open.add(nc, origin{c.Current(), host})
}

// origin tells where an open connection comes from.
type origin struct {
	generation *Generation
	host       string // as it was dialled
}

// openConns are the open connections of all generations. One that was replaced may still
// have connections that wait for a reply.
type openConns struct {
	mu  sync.Mutex
	all map[net.Conn]origin
}

func (o *openConns) add(nc net.Conn, of origin) net.Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[net.Conn]origin{}
	}
	o.all[nc] = of
	return &trackedConn{Conn: nc, open: o}
}

// cut closes the connections of g, or with nil those of all generations, while they are
// in use: commands that wait for a reply fail at once.
func (o *openConns) cut(g *Generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for nc, of := range o.all {
		if g == nil || of.generation == g {
			_ = nc.Close() // it is given up
		}
	}
}

// cutTo closes the connections to a server, while they are in use.
func (o *openConns) cutTo(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for nc, of := range o.all {
		if of.host == host {
			_ = nc.Close() // it is given up
		}
	}
}

// trackedConn is a connection that leaves openConns when it is closed.
type trackedConn struct {
	net.Conn
	open  *openConns
	heard bool // something was received
}

// Read implements [net.Conn]. It says more of a connection that the server closes without a
// reply, as it does on a port for TLS.
func (c *trackedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard = true
	}
	if !c.heard && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		err = fmt.Errorf("server closed the connection without a reply (is its port one for TLS?): %w", err)
	}
	return n, err
}

// Close implements [net.Conn].
func (c *trackedConn) Close() error {
	c.open.mu.Lock()
	delete(c.open.all, c.Conn)
	c.open.mu.Unlock()
	return c.Conn.Close()
}
