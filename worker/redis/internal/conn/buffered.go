package conn

import (
	"bufio"
	"net"
)

// bufferSize is the size of the buffers of a pooled connection, which carries a hundred
// messages at a time. redigo's buffers have 4 KiB and make a system call for each; every
// write wakes up Redis, too.
const bufferSize = 64 << 10

// bufferedConn is a connection on which reads and writes do not overlap. It sends written
// bytes when they fill the buffer, or when a reply is read.
type bufferedConn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func newBufferedConn(nc net.Conn) *bufferedConn {
	return &bufferedConn{Conn: nc, in: bufio.NewReaderSize(nc, bufferSize)}
}

// Read implements [net.Conn]. Its error may be that of an earlier Write.
func (c *bufferedConn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

// Write implements [net.Conn]. The bytes are sent under the write deadline that is set at
// that time.
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
