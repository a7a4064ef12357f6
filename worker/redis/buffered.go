package redis

import (
	"bufio"
	"context"
	"net"
)

// bufferSize is that of a connection which takes a hundred messages at a time. Those of
// redigo have 4 KiB and make a call of the system for each, which wakes up Redis too.
const bufferSize = 64 << 10

// bufferedConn is a connection on which nobody writes while another reads: what is
// written goes out when there is much of it, or somebody waits for an answer.
type bufferedConn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

// netDialBuffered opens a connection of the pool.
func (b *Broker) netDialBuffered(ctx context.Context, network, host string) (net.Conn, error) {
	nc, err := b.netDial(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return &bufferedConn{Conn: nc, in: bufio.NewReaderSize(nc, bufferSize)}, nil
}

// Read implements [net.Conn]; its error may be that of an earlier Write.
func (c *bufferedConn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

// Write implements [net.Conn]. The deadline for writing that is set now is the one that
// counts when it goes out.
func (c *bufferedConn) Write(p []byte) (int, error) {
	if len(c.out)+len(p) > bufferSize {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > bufferSize {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *bufferedConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}
