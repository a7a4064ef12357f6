package canvas

import (
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Plan says what has to be done, in the order of its fields: first the sizes
// and the groups are stored, then the results, then the chord bookkeeping, at
// last the messages are published. All of it belongs into one atomic step; what
// is listed for a reader to do afterwards (Calls, Revoke) is not part of it.
type Plan struct {
	Sizes   []GroupSize
	Groups  []SavedGroup
	Joins   []GroupJoin // further members of chords that run already
	Results []*protocol.Result
	// ChordParts are members of chords that will never run; each of them is
	// to be counted like a member that has failed.
	ChordParts []ChordPart
	Messages   []Outgoing // in the order of publishing
	// Calls are error callbacks that are functions of three arguments, to be
	// called in this worker.
	Calls []Call
	// Revoke are ids of tasks that must not run any more, for the control
	// command of that name.
	Revoke []string
	// BodyFailed is set by [ChordBody] when the body will not run.
	BodyFailed bool
	// Handle is the result tuple of what was applied, [[id, parent], children]:
	// what Python's apply_async returns. Absent when nothing was applied.
	Handle protocol.Raw
	// Children are the result tuples that the task which publishes this has to
	// store as its children.
	Children []protocol.Raw
}

// GroupSize is the number of completions that the body of a chord waits for
// (celery-taskset-meta-<id>.s). Storing it also deletes the claim of an earlier
// run with the same id (.c).
type GroupSize struct {
	GroupID string
	Size    int
}

// SavedGroup is the structure of the results of a chord whose header has groups
// inside (celery-taskset-meta-<id>).
type SavedGroup struct {
	GroupID string
	Value   protocol.Raw // {"result": result tuple}
}

// GroupJoin says that a chord waits for more members than its size says
// (celery-taskset-meta-<id>.t is raised by Members).
type GroupJoin struct {
	GroupID string
	Members int
}

// ChordPart is the failure of a member that was never published.
type ChordPart struct {
	// Message has what [ChordBody] needs: id, group, group index and chord.
	Message *protocol.Message
	Entry   MemberEntry
	// UnlessFailed: the part has been counted already if the state FAILURE or
	// REVOKED was stored for the task before this plan.
	UnlessFailed bool
}

// Outgoing is a message to publish.
type Outgoing struct {
	Message *protocol.Message
	// Where the options say that it goes. All of them empty: by the routes for
	// RouteName.
	Queue, Exchange, RoutingKey string
	RouteName                   string // name of the task, or of the one inside of a map
	Serializer, Compression     string // as the options say; "" is the default
	// Properties are the options that Celery does not know, such as app_id. They
	// become properties of the message.
	Properties []protocol.Field
}

// Call is an error callback to be called in this worker with the request, the
// exception and the traceback of the failed task.
type Call struct {
	Errback   *Signature
	TaskID    string // id that the callback finds in its request
	RootID    string
	Exception *protocol.Exception
	Traceback *string
}

// ErrbackStyle says how an error callback is called.
type ErrbackStyle int

const (
	// ErrbackMessage publishes it with the id of the failed task as its first
	// argument; so do all that this worker does not know.
	ErrbackMessage ErrbackStyle = iota
	// ErrbackCall calls it in this worker, as Celery does with functions that
	// take more than one argument.
	ErrbackCall
)

// Context is what messages need beside the signature.
type Context struct {
	// ParentID is the id of the task that publishes, RootID that of the first
	// task of its tree. Both are empty in a program that is no worker.
	RootID, ParentID string
	// Children are the result tuples of what the running task has published
	// before: a chord that fails stores them as the children of its body.
	Children []protocol.Raw
	NewID    func() string // required; a new UUID at every call
	Now      time.Time     // required for countdown and relative expires
	Origin   string        // who publishes, such as "gen123@host"
	ReplyTo  string        // id of the publishing thread or process
	// Priority is what messages get that have no own one: with the setting
	// task_inherit_parent_priority, the priority of the running task.
	Priority *int
	// ErrbacksOnHeader is the setting task_allow_error_cb_on_chord_header.
	ErrbacksOnHeader bool
	// Errback says how an error callback is called; nil: always by message.
	Errback func(task string) ErrbackStyle
	// ErrorsIgnored: the failure of the task itself is not stored, so that
	// [AfterFailure] stores none for what follows it either.
	ErrorsIgnored bool
	// ResultExtended is the setting result_extended: the failures that [AfterFailure]
	// stores for what follows have names and arguments too.
	ResultExtended bool
	Limits         Limits
}

// Limits bound what one plan may do. A zero field means its default.
type Limits struct {
	Depth    int // signatures inside each other; default 100
	Messages int // default 50,000
	Work     int // signatures copied or looked at; default 2,000,000
	Bytes    int // bodies of all messages, and children of results; default 64 MiB
}

func (l Limits) orDefault() Limits {
	or := func(n, otherwise int) int {
		if n <= 0 {
			return otherwise
		}
		return n
	}
	return Limits{or(l.Depth, 100), or(l.Messages, 50_000), or(l.Work, 2_000_000), or(l.Bytes, 64<<20)}
}

// budget counts what one call of an exported function has used of its limits.
type budget struct {
	limits Limits
	depth  int
	steps  int
	bytes  int // of bodies and children, see [Limits]
}

func newBudget(l Limits) *budget { return &budget{limits: l.orDefault()} }

func (b *budget) step() {
	if b.steps++; b.steps > b.limits.Work {
		abort(&LimitError{"work", b.limits.Work})
	}
}

// enter and leave surround every recursion into a signature.
func (b *budget) enter() {
	b.step()
	if b.depth++; b.depth > b.limits.Depth {
		abort(&LimitError{"depth", b.limits.Depth})
	}
}

func (b *budget) leave() { b.depth-- }

// idSource returns a new id at every call, see Context.NewID.
type idSource func() string

func (f idSource) next() string {
	if f == nil {
		abort(errNoIDs)
	}
	return f()
}
