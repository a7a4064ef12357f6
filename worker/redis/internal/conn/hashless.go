package conn

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// hashlessConn is a connection whose server may refuse to run scripts by their hash, as some
// hosts do. It turns that refusal into the one for a script that is not known, so that the
// text of the script is sent.
type hashlessConn struct {
	redigo.Conn
	net     net.Conn
	refused bool // EVALSHA; a redigo.Conn has one user at a time
}

var (
	_ redigo.ConnWithTimeout = (*hashlessConn)(nil)
	_ redigo.ConnWithContext = (*hashlessConn)(nil)
)

// errNoHash stands for the refusal of EVALSHA.
const errNoHash = redigo.Error("NOSCRIPT this server does not run scripts by their hash")

// IsHashless reports whether a server refuses to run scripts by their hash.
func IsHashless(err error) bool { return errors.Is(err, errNoHash) }

// ErrForeign is the reason why an answer cannot be read: it is none of Redis.
var ErrForeign = errors.New("the server does not speak the protocol of Redis: look at host and port")

// translate replaces the refusal of EVALSHA and redigo's words for an answer of another protocol.
// It takes the arguments of commands out of other refusals.
func (h *hashlessConn) translate(reply any, err error) (any, error) {
	if err != nil && h.Conn.Err() != nil && strings.HasPrefix(err.Error(), "redigo: ") {
		return nil, ErrForeign
	}
	if e, ok := serverError(err); ok && IsUnavailable(err) && strings.Contains(strings.ToLower(e), "evalsha") {
		h.refused = true
		return nil, errNoHash
	}
	return reply, withoutSecrets(err, "")
}

// Do implements [redigo.Conn].
func (h *hashlessConn) Do(command string, args ...any) (any, error) {
	if h.refused && command == "EVALSHA" {
		return nil, errNoHash
	}
	return h.translate(h.Conn.Do(command, args...))
}

// Receive implements [redigo.Conn].
func (h *hashlessConn) Receive() (any, error) { return h.translate(h.Conn.Receive()) }

// DoContext implements [redigo.ConnWithContext].
func (h *hashlessConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	if h.refused && command == "EVALSHA" {
		return nil, errNoHash
	}
	return h.translate(redigo.DoContext(h.Conn, ctx, command, args...))
}

// ReceiveContext implements [redigo.ConnWithContext].
func (h *hashlessConn) ReceiveContext(ctx context.Context) (any, error) {
	return h.translate(redigo.ReceiveContext(h.Conn, ctx))
}

// DoWithTimeout implements [redigo.ConnWithTimeout].
func (h *hashlessConn) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return h.translate(redigo.DoWithTimeout(h.Conn, d, command, args...))
}

// ReceiveWithTimeout implements [redigo.ConnWithTimeout].
func (h *hashlessConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return h.translate(redigo.ReceiveWithTimeout(h.Conn, d))
}
