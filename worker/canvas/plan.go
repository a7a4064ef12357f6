package canvas

import (
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Plan lists actions in the order of its fields: store the sizes and the groups, then the
// results, then count the members of chords, and publish the messages last. All of them
// belong to one atomic step, except Calls and Revoke, which follow it.
type Plan struct {
	Sizes   []GroupSize
	Groups  []SavedGroup
	Joins   []GroupJoin // further members of running chords
	Results []*protocol.Result
	// ChordParts are members of chords that will never run. Each of them counts as a
	// member that has failed.
	ChordParts []ChordPart
	Messages   []Outgoing // in the order of publishing
	// Calls are error callbacks that are functions of three arguments. This worker calls
	// them.
	Calls []Call
	// Revoke holds the ids of tasks that must no longer run, for the control command of
	// that name.
	Revoke []string
	// BodyFailed is set by [ChordBody] when the body will not run.
	BodyFailed bool
	// Handle is the result tuple of the applied signature, [[id, parent], children], as
	// Python's apply_async returns it. It is absent if nothing was applied.
	Handle protocol.Raw
	// Children are the result tuples that the publishing task must store as its children.
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

// GroupJoin makes a chord wait for more members than its size (Members is added to
// celery-taskset-meta-<id>.t).
type GroupJoin struct {
	GroupID string
	Members int
}

// ChordPart is the failure of a member that was never published.
type ChordPart struct {
	// Message has the fields that [ChordBody] needs: id, group, group index and chord.
	Message *protocol.Message
	Entry   MemberEntry
	// UnlessFailed skips the part if the state FAILURE or REVOKED was stored for the task
	// before this plan, because it was counted then.
	UnlessFailed bool
}

// Outgoing is a message to publish.
type Outgoing struct {
	Message *protocol.Message
	// Queue, Exchange and RoutingKey are the destination in the options. If all are
	// empty, the routes for RouteName decide.
	Queue, Exchange, RoutingKey string
	RouteName                   string // name of the task, or of the task inside a map
	Serializer, Compression     string // as the options say; "" is the default
	// Properties are the options that Celery does not know, such as app_id. They
	// become properties of the message.
	Properties []protocol.Field
}

// Call is an error callback that this worker calls with the request, the exception and
// the traceback of the failed task.
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
	// ErrbackMessage publishes it with the id of the failed task as its first argument.
	// Error callbacks that this worker does not know are published so.
	ErrbackMessage ErrbackStyle = iota
	// ErrbackCall calls it in this worker, as Celery does with functions that
	// take more than one argument.
	ErrbackCall
)

// Context holds what messages need beside the signature.
type Context struct {
	// ParentID is the id of the publishing task, RootID the id of the first task of its
	// tree. Both are empty in a program that is no worker.
	RootID, ParentID string
	// Children are the result tuples of the messages that the running task published
	// before. A chord that fails stores them as the children of its body.
	Children []protocol.Raw
	NewID    func() string // required; a new UUID at every call
	Now      time.Time     // required for countdown and relative expires
	Origin   string        // the publisher, such as "gen123@host"
	ReplyTo  string        // id of the publishing thread or process
	// Priority is the default priority of messages. With the setting
	// task_inherit_parent_priority it is the priority of the running task.
	Priority *int
	// ErrbacksOnHeader is the setting task_allow_error_cb_on_chord_header.
	ErrbacksOnHeader bool
	// Errback returns how an error callback is called; nil: always by message.
	Errback func(task string) ErrbackStyle
	// ErrorsIgnored means that the failure of the task is not stored. Then [AfterFailure]
	// stores none for its chain either.
	ErrorsIgnored bool
	// ResultExtended is the setting result_extended. With it the failures that
	// [AfterFailure] stores have names and arguments.
	ResultExtended bool
	Limits         Limits
}

// Limits bounds the work and the output of one plan. A zero field means its default.
type Limits struct {
	Depth    int // nesting of signatures; default 100
	Messages int // default 50,000
	Work     int // signatures copied or visited; default 2,000,000
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

// budget counts how much of its limits one call of an exported function has used.
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

// enter counts a recursion into a signature; leave ends it.
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
