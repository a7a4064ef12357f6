package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A server (timeout) or a proxy may close connections that were idle for a time. That is no fault:
// the next connection works.

const (
	// lookAfter is the idle time after which a connection of the pool is looked at.
	lookAfter = time.Second / 2
	// testAfter is the idle time after which it is tested, too. It is longer than the pause
	// between two heartbeats, which therefore need no test.
	testAfter = 5 * time.Second / 2
	// testTimeout bounds a test.
	testTimeout = time.Second
	// idleLeast is the shortest idle time that counts as the reason of a cut.
	idleLeast = time.Second / 2
	// idleSpell is for how long a cut is remembered.
	idleSpell = 10 * time.Minute
)

var errCut = errors.New("the server has closed the idle connection")

// testIdle returns an error for an idle connection of the pool that does not work.
func testIdle(ctx context.Context, conn redigo.Conn, idle time.Duration) error {
	if idle < lookAfter {
		return nil
	}
	if isCut(conn) {
		return errCut
	}
	if idle < testAfter {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	_, err := redigo.DoContext(conn, ctx, "PING")
	return err
}

// isCut reports whether the other end has closed a connection. It asks the system alone.
func isCut(conn redigo.Conn) bool {
	if g, ok := conn.(*guardedConn); ok {
		conn = g.Conn
	}
	h, ok := conn.(*hashlessConn)
	if !ok {
		return false
	}
	nc := h.net
	for {
		switch c := nc.(type) {
		case *bufferedConn:
			nc = c.Conn
		case *trackedConn:
			nc = c.Conn
		case *secureConn:
			nc = c.NetConn()
		case syscall.Conn:
			return isClosed(c)
		default:
			return false
		}
	}
}

// isClosed reports whether an idle connection has an end, a fault, or bytes to read. Such bytes
// are the farewell of TLS: a server sends nothing else without a command.
func isClosed(c syscall.Conn) (closed bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	// Not raw.Read: it fails once the deadline of the last reply has passed.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = err != syscall.EAGAIN && err != syscall.EINTR
	})
	return closed || err != nil
}

// Idle finds for how long a connection outside the pool may be idle. Its zero value knows of no
// bound. It is for one goroutine.
type Idle struct {
	longest time.Duration // 0: no bound is known
	at      time.Time     // of the last cut
}

// Most returns the time that a connection is left idle: usual, unless that is too long.
func (i *Idle) Most(usual time.Duration) time.Duration {
	if i.longest == 0 || time.Since(i.at) > idleSpell {
		return usual
	}
	return min(usual, i.longest)
}

// IsCut reports whether err ends a connection probably because it was idle: the next one may work.
// It remembers half of the idle time as a bound. usual is the longest idle time that the caller
// allows. If the connection died in silence, IsCut returns false and remembers half of usual.
func (i *Idle) IsCut(err error, idle, usual time.Duration) bool {
	fault, isNet := errors.AsType[*net.OpError](err)
	switch {
	case idle < idleLeast, errors.Is(err, net.ErrClosed), !isNet && !isEnd(err):
		return false
	case isNet && fault.Timeout():
		i.remember(i.Most(usual))
		return false
	}
	i.remember(i.Most(idle))
	return true
}

// isEnd reports whether err is the end of a connection, of TLS without a farewell as well.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// remember bounds the idle time by half of a time that was too long.
func (i *Idle) remember(tooLong time.Duration) {
	i.longest, i.at = max(tooLong/2, idleLeast/2), time.Now()
}
