package conn

import (
	"context"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/logins"
)

// Login is a user and a password.
type Login struct{ Username, Password string }

// Logins give the login of each new connection; nil: it is the fixed one of the Config.
type Logins = logins.Source[Login]

// withLogins calls dial with one login after the other until the server refuses none. fixed is
// the login if source is nil.
func withLogins(ctx context.Context, source Logins, fixed Login, dial func(Login) (redigo.Conn, error)) (redigo.Conn, error) {
	if source == nil {
		return dial(fixed)
	}
	return logins.Try(ctx, source, dial, isLoginRefused)
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
