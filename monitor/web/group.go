package web

import (
	"context"
	"io/fs"
	"net/http"
)

// Group is a set of pages that one package serves.
type Group interface {
	// Templates returns the *.html files of the group. Every name that they define begins
	// with the name of the group and a dot.
	Templates() fs.FS

	// Register adds the pages and actions of the group.
	Register(r *Router)
}

// Page is a document that people open.
type Page struct {
	Pattern string // path as in net/http, such as "/tasks/{id}"; GET is implied
	Menu    string // words in the menu; "": it is not there. The frame knows order and icon

	// Template shows the content of the page. If a template of this name with the suffix
	// ".live" exists, it is rendered again once a second for each distinct URL, and pushed
	// to the readers when it changes. The page includes it in <div {{live}}>…</div>.
	Template string

	Role Role // least role of the reader; default: RoleViewer
	Load func(ctx context.Context, r *Request) (View, error)

	// Instead returns the handler that answers a request instead of the page, such as one for
	// JSON; nil: the page answers. Instead may be nil.
	Instead func(*http.Request) http.Handler

	// Badge returns a small number beside the words in the menu; 0 is not shown. It must cost
	// no I/O. Nil: there is none.
	Badge func() int
}

// View is the content of a page. Data is a struct of the page, which its template shows.
type View struct {
	Title string
	Data  any
}

// Action changes something. It is the target of a form.
type Action struct {
	Pattern string // path as in net/http, such as "/workers/{node}/drain"; POST is implied
	Role    Role   // least role; default: RoleOperator
	Audit   string // name in the audit trail, such as "worker.drain"; "": it is not audited

	// Subjects returns the ids that the action is done to, for the entry that is written
	// before it. Nil: the values of the path.
	Subjects func(r *Request) []string

	// Page is the pattern of the page that has the form. It is shown again with
	// [Request.Problem] after an [Invalid] error. "": a plain page shows the error.
	Page string

	MaxBody int64 // bytes of the form; default: 1 MiB

	// ReadOnly says that the action changes nothing outside of this program, such as a log-out,
	// and is allowed in read-only mode.
	ReadOnly bool

	Do func(ctx context.Context, r *Request) (Done, error)
}

// Done tells how an action ended. The answer is a redirect to Location, which shows Notice.
// Subjects and Details go to the audit trail; Details hold no secret and no address.
type Done struct {
	Location string // path on this site
	Notice   string // a sentence for people; "": none
	Tone     Tone   // of the notice; default: good
	Subjects []string
	Details  map[string]string
}

// Request is a request with its sender.
type Request struct {
	*http.Request
	Actor   Actor
	Problem string // why the form was refused; "": this is no second try
	Live    bool   // the page is rendered for readers that have it open

	readOnly bool
}

// May reports whether the sender of the request has at least the role, so that a page shows
// the forms that would be accepted. In read-only mode it is false for all roles above viewer.
func (r *Request) May(role Role) bool {
	if r.readOnly && role > RoleViewer {
		return false
	}
	return r.Actor.Role >= role
}

// Role says how much a person may do. Each role includes the ones before it.
type Role int

// The roles.
const (
	RoleDefault  Role = iota // of a Page RoleViewer, of an Action RoleOperator
	RolePublic               // everybody, without credentials: the page for logging in
	RoleViewer               // reads
	RoleOperator             // changes queues, tasks and workers
	RoleAdmin                // may send anything
)

func (r Role) String() string {
	switch r {
	case RolePublic:
		return "public"
	case RoleViewer:
		return "viewer"
	case RoleOperator:
		return "operator"
	case RoleAdmin:
		return "admin"
	}
	return "none"
}

// Actor is the sender of a request.
type Actor struct {
	Name string
	Role Role
	From string // address of the client behind proxies; "": that of the connection

	Anonymous bool // not known by name: may log in
	Session   bool // logged in on a page: may log out
}

type actorKey struct{}

// WithActor returns a context of a request of the given actor. The guard calls it.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns the sender of a request. Without a guard it has the role RolePublic.
func ActorOf(ctx context.Context) Actor {
	a, ok := ctx.Value(actorKey{}).(Actor)
	if !ok {
		a.Role = RolePublic
	}
	return a
}
