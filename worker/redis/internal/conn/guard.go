package conn

import (
	"context"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// guardedConn is a connection to a node of a cluster. It gives every script one more key, the
// last one, which never exists.
//
// While a slot moves to another node, its old owner has some of the keys. A script would fail
// in the middle of its work, at the first key that has gone or is not there yet, and could
// not undo what it has done: it must not create a list again that it has emptied. Redis looks
// for the keys of a call before it starts a script. So the missing key has Redis refuse all
// scripts until the slot has moved. Package scripts takes the key away from the script.
type guardedConn struct {
	redigo.Conn
	key string
}

var (
	_ redigo.ConnWithTimeout = (*guardedConn)(nil)
	_ redigo.ConnWithContext = (*guardedConn)(nil)
)

// guarded returns the arguments of a command with the key.
func (g *guardedConn) guarded(command string, args []any) []any {
	if command != "EVALSHA" && command != "EVAL" || len(args) < 2 {
		return args
	}
	keys, ok := args[1].(int)
	if !ok || len(args) < 2+keys {
		return args
	}
	all := make([]any, 0, len(args)+1)
	all = append(append(all, args[0], keys+1), args[2:2+keys]...)
	return append(append(all, g.key), args[2+keys:]...)
}

// Do implements [redigo.Conn].
func (g *guardedConn) Do(command string, args ...any) (any, error) {
	return g.Conn.Do(command, g.guarded(command, args)...)
}

// Send implements [redigo.Conn].
func (g *guardedConn) Send(command string, args ...any) error {
	return g.Conn.Send(command, g.guarded(command, args)...)
}

// DoContext implements [redigo.ConnWithContext].
func (g *guardedConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	return redigo.DoContext(g.Conn, ctx, command, g.guarded(command, args)...)
}

// ReceiveContext implements [redigo.ConnWithContext].
func (g *guardedConn) ReceiveContext(ctx context.Context) (any, error) {
	return redigo.ReceiveContext(g.Conn, ctx)
}

// DoWithTimeout implements [redigo.ConnWithTimeout].
func (g *guardedConn) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return redigo.DoWithTimeout(g.Conn, d, command, g.guarded(command, args)...)
}

// ReceiveWithTimeout implements [redigo.ConnWithTimeout].
func (g *guardedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redigo.ReceiveWithTimeout(g.Conn, d)
}
