package guard

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Role is the right to look and to act. A higher role includes the lower ones.
type Role int

// Roles.
const (
	None     Role = iota // may not even look
	Viewer               // looks
	Operator             // does what the pages offer
	Admin                // sends any task by the interface for programs, too
)

var roleNames = [...]string{"none", "viewer", "operator", "admin"}

// String returns the word of a role.
func (r Role) String() string {
	if r < None || r > Admin {
		return fmt.Sprintf("Role(%d)", int(r))
	}
	return roleNames[r]
}

// ParseRole returns the role of a word. The empty word is none.
func ParseRole(word string) (Role, error) {
	for i, name := range roleNames {
		if strings.EqualFold(word, name) {
			return Role(i), nil
		}
	}
	if word == "" {
		return None, nil
	}
	return None, fmt.Errorf("%.20q is no role; write viewer, operator or admin", word)
}

// Ways in which an actor is known.
const (
	ByPassword  = "password"  // a login on the page
	ByBasic     = "basic"     // basic auth
	ByOIDC      = "oidc"      // a login at the OpenID provider
	ByForward   = "forward"   // the header of a proxy
	ByAnonymous = "anonymous" // not known
)

// Actor is the person or the program behind a request.
type Actor struct {
	Name string // login; "anonymous" without one
	Role Role   // of this request: read-only mode makes viewers of all
	By   string // one of the By constants
	From string // address of the client
	// Session is the id of the session, "" without one. It is no secret.
	Session string
}

type actorKey struct{}

// ActorOf returns the actor of a request that a [Guard] let through. Without one it has
// the role None.
func ActorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// WithActor returns a context with an actor, for tests of handlers.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

func withActor(r *http.Request, a Actor) *http.Request {
	return r.WithContext(WithActor(r.Context(), a))
}
