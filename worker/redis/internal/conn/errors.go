package conn

import (
	"errors"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/logins"
)

// HasCode reports whether err is a server error with that first word.
func HasCode(err error, code string) bool {
	e, ok := serverError(err)
	return ok && strings.HasPrefix(e, code)
}

// serverError returns the text of a server error. It allocates nothing without an error.
func serverError(err error) (text string, ok bool) {
	if err == nil {
		return "", false
	}
	e, ok := errors.AsType[redigo.Error](err)
	return string(e), ok
}

// IsReply reports whether err is a reply of the server. Other errors leave open what it would say:
// it cannot be reached, answers too late or has cut the connection.
func IsReply(err error) bool {
	_, ok := serverError(err)
	return ok
}

// withoutSecrets takes secrets out of the refusal of a login, see [logins.WithoutArguments].
func withoutSecrets(err error, password string) error {
	e, _ := serverError(err)
	if text := logins.Without(password, logins.WithoutArguments(e)); text != e {
		return redigo.Error(text)
	}
	return err
}

// IsWrongType reports whether a command or a script has met a key of another type.
func IsWrongType(err error) bool {
	e, ok := serverError(err)
	return ok && strings.Contains(e, "WRONGTYPE")
}

// IsUnavailable reports whether the server lacks a command, or its user lacks the
// permission for it.
func IsUnavailable(err error) bool {
	e, ok := serverError(err)
	if !ok {
		return false
	}
	text := strings.ToLower(e)
	return strings.Contains(text, "unknown command") || strings.HasPrefix(text, "err command is not available") || strings.HasPrefix(text, "noperm")
}

// IsForbidden reports whether the user may not run a command of a script. Redis since 7.2 and
// Valkey say so in other words than Redis 7.0 and 6.2.
func IsForbidden(err error) bool {
	e, ok := serverError(err)
	return ok && (strings.Contains(e, "can't run this command") || strings.HasPrefix(e, "NOPERM") || strings.Contains(e, "ACL failure in script"))
}

// errNoAuth is the usual reply of a server that wants a login.
const errNoAuth = redigo.Error("NOAUTH Authentication required.")

// isUnauthenticated reports whether a server wants a login and says so as a fault of the
// protocol, as Redis does where a command has more than ten arguments.
func isUnauthenticated(err error) bool { return HasCode(err, "ERR Protocol error: unauthenticated") }

// IsMoving reports whether a node of a cluster has refused a command because the slot of its
// keys has moved, or moves. The command has changed nothing.
func IsMoving(err error) bool {
	return HasCode(err, "MOVED ") || HasCode(err, "ASK ") || HasCode(err, "TRYAGAIN ")
}

// maxRefusal bounds the length of a reply in a refusal.
const maxRefusal = 200

// noConnection begins the reply of a server, or of a node of a cluster, that has too many clients.
const noConnection = "ERR max number of clients "

// Refusal returns the reply of a server that can do nothing now, "" for other errors. Another reply
// that begins with ERR does not count, because it may repeat parts of a command.
func Refusal(err error) string {
	reply, ok := serverError(err)
	code, _, more := strings.Cut(reply, " ")
	if !ok || !more || strings.Contains(reply, "\n") {
		return ""
	}
	switch code {
	case "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "OOM", "BUSY", "TRYAGAIN", "NOAUTH", "WRONGPASS", "NOPERM":
	default:
		if !strings.HasPrefix(reply, noConnection) {
			return ""
		}
	}
	return reply[:min(len(reply), maxRefusal)]
}

// isWrongServer reports whether err is the reply of a server that a new connection may
// avoid: one that was demoted, is loading or shutting down, or has changed the
// permissions of its user since the login.
func isWrongServer(err error) bool {
	e, ok := serverError(err)
	if !ok {
		return false
	}
	code, _, _ := strings.Cut(e, " ")
	switch code {
	case "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "NOAUTH", "NOPERM", "WRONGPASS", "CLUSTERDOWN", "NOREPLICAS", "MOVED":
		return true
	}
	return false
}
