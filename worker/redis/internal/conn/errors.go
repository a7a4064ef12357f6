package conn

import (
	"errors"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// HasCode reports whether err is a server error with that first word.
func HasCode(err error, code string) bool {
	var e redigo.Error
	return errors.As(err, &e) && strings.HasPrefix(string(e), code)
}

// IsWrongType reports whether a command or a script has met a key of another type.
func IsWrongType(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && strings.Contains(string(e), "WRONGTYPE")
}

// IsUnavailable reports whether the server lacks a command, or its user lacks the
// permission for it.
func IsUnavailable(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && (strings.Contains(strings.ToLower(string(e)), "unknown command") || strings.HasPrefix(string(e), "NOPERM"))
}

// IsForbidden reports whether the user may not run a command of a script.
func IsForbidden(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && (strings.Contains(string(e), "can't run this command") || strings.HasPrefix(string(e), "NOPERM"))
}

// IsMoving reports whether a node of a cluster has refused a command because the slot of its
// keys has moved, or moves. The command has changed nothing.
func IsMoving(err error) bool {
	return HasCode(err, "MOVED ") || HasCode(err, "ASK ") || HasCode(err, "TRYAGAIN ")
}

// isWrongServer reports whether err is the reply of a server that a new connection may
// avoid: one that was demoted, is loading or shutting down, or has changed the
// permissions of its user since the login.
func isWrongServer(err error) bool {
	var e redigo.Error
	if !errors.As(err, &e) {
		return false
	}
	code, _, _ := strings.Cut(string(e), " ")
	switch code {
	case "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "NOAUTH", "NOPERM", "WRONGPASS", "CLUSTERDOWN", "NOREPLICAS", "MOVED":
		return true
	}
	return false
}
