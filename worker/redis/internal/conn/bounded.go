package conn

import (
	"context"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// boundedConn waits for replies until a deadline, and no longer than the command itself allows.
type boundedConn struct {
	redigo.Conn
	deadline time.Time
}

var (
	_ redigo.ConnWithTimeout = boundedConn{}
	_ redigo.ConnWithContext = boundedConn{}
)

// left returns the time until the deadline, at most longest. Zero would mean no bound.
func (c boundedConn) left(longest time.Duration) time.Duration {
	return max(min(longest, time.Until(c.deadline)), time.Millisecond)
}

// Do implements [redigo.Conn].
func (c boundedConn) Do(command string, args ...any) (any, error) {
	return c.DoWithTimeout(CommandTimeout, command, args...)
}

// DoWithTimeout implements [redigo.ConnWithTimeout].
func (c boundedConn) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return redigo.DoWithTimeout(c.Conn, c.left(d), command, args...)
}

// Receive implements [redigo.Conn].
func (c boundedConn) Receive() (any, error) { return c.ReceiveWithTimeout(CommandTimeout) }

// ReceiveWithTimeout implements [redigo.ConnWithTimeout].
func (c boundedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redigo.ReceiveWithTimeout(c.Conn, c.left(d))
}

// DoContext implements [redigo.ConnWithContext].
func (c boundedConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	ctx, cancel := context.WithDeadline(ctx, c.deadline)
	defer cancel()
	return redigo.DoContext(c.Conn, ctx, command, args...)
}

// ReceiveContext implements [redigo.ConnWithContext].
func (c boundedConn) ReceiveContext(ctx context.Context) (any, error) {
	ctx, cancel := context.WithDeadline(ctx, c.deadline)
	defer cancel()
	return redigo.ReceiveContext(c.Conn, ctx)
}
