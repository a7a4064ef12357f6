package conn

import (
	"context"
	"slices"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// Login is a user and a password.
type Login struct{ Username, Password string }

// Logins give the login of each new connection. The zero value gives the fixed one of the
// Config.
type Logins struct {
	// Next returns the login to try. It is called again after a refusal, with the logins that
	// the server has refused for this connection. Returning one of them ends the attempt.
	Next func(ctx context.Context, refused []Login) (Login, error)
	// Accepted is told each login that the server has accepted; nil: it is not told.
	Accepted func(Login)
}

// maxLogins bounds the logins that one connection tries: the current one, a newer one and the
// previous one.
const maxLogins = 3

// try calls dial with one login after the other until the server refuses none. fixed is the
// login if l is zero.
func (l Logins) try(ctx context.Context, fixed Login, dial func(Login) (redigo.Conn, error)) (redigo.Conn, error) {
	if l.Next == nil {
		return dial(fixed)
	}
	var refused []Login
	var refusal error
	for len(refused) < maxLogins {
		login, err := l.Next(ctx, refused)
		switch {
		case slices.Contains(refused, login):
			return nil, refusal
		case err != nil && refusal != nil:
			return nil, refusal // it tells more
		case err != nil:
			return nil, err
		}
		c, err := dial(login)
		if err == nil {
			if l.Accepted != nil {
				l.Accepted(login)
			}
			return c, nil
		}
		if !isLoginRefused(err) {
			return nil, err
		}
		refused, refusal = append(refused, login), err
	}
	return nil, refusal
}

// isLoginRefused reports whether the server refuses the user or the password. Servers before
// Redis 6 say that the password is invalid, or that none is set, without a code.
func isLoginRefused(err error) bool {
	if HasCode(err, "WRONGPASS") || HasCode(err, "NOAUTH") {
		return true
	}
	return HasCode(err, "ERR") && (strings.Contains(err.Error(), "invalid password") || strings.Contains(err.Error(), "no password is set") ||
		strings.Contains(err.Error(), "without any password configured"))
}
