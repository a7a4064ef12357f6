package fleet

import (
	"math"
	"time"
)

// Seconds is a time in seconds since 1970, exactly as an event carries it. 0: not known.
type Seconds float64

// Time returns the time, the zero time when it is not known.
func (s Seconds) Time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	whole, fraction := math.Modf(float64(s))
	return time.Unix(int64(whole), int64(fraction*1e9))
}

// secondsOf is the inverse of Time.
func secondsOf(t time.Time) Seconds { return Seconds(float64(t.UnixMicro()) / 1e6) }

// The states of tasks that Celery's events lead to. A custom event, such as task-progress,
// leads to the separate state PROGRESS.
const (
	Pending  = "PENDING" // sent, and not received yet
	Received = "RECEIVED"
	Started  = "STARTED"
	Success  = "SUCCESS"
	Failure  = "FAILURE"
	Retry    = "RETRY"
	Revoked  = "REVOKED"
	Rejected = "REJECTED"
)

// Worker is a worker as its events describe it.
type Worker struct {
	Node string // node name: "celery@host"
	Host string // the part after the @
	// Online reports that heartbeats arrive in time.
	Online bool
	// Left reports that the worker has said goodbye. It is kept for a while.
	Left bool
	// Python reports a worker of Celery, else it is one of this library or not known.
	Python bool
	// Ident, Version and System are the program, its version and its operating system.
	Ident, Version, System string
	PID                    int
	Freq                   float64 // seconds between heartbeats
	Active                 int     // tasks that run
	Processed              int64   // tasks that were begun since its start
	Load                   []float64
	Clock                  int64     // logical clock of its last event with one
	Heartbeats             []Seconds // the last four, oldest first
	Seen                   time.Time // its last event, by our clock
	Told                   Told
	// Events counts its events by their types.
	Events map[string]int64
}

// Told says which values a worker has told; the others are zero because they are unknown.
type Told struct{ PID, Active, Processed, Load, Ident, Version, System bool }

// Task is a task as its events describe it.
type Task struct {
	ID    string
	Name  string
	State string
	// Worker is the node that told of the task last, Client the node that sent it.
	Worker, Client string
	Root, Parent   string
	// Queue is known for tasks of clients that tell of what they send (task_send_sent_event).
	Queue, Exchange, RoutingKey string
	// Args, Kwargs and Result are what Python's repr shows of them, and Exception and
	// Traceback are texts. Secrets are hidden in all, and long ones are cut.
	Args, Kwargs, Result, Exception, Traceback string
	ETA, Expires                               string // as Celery writes them, ISO 8601

	// The times of its last event of each kind.
	Sent, Received, Started, Succeeded, Failed, Retried, Revoked, Rejected Seconds

	At      Seconds // the event that led to State
	Clock   int64   // logical clock of its last event
	Retries int
	Runtime float64 // seconds; only of successes

	// Attempts are the runs of the task, oldest first, at most MaxAttempts of the last ones.
	Attempts []Attempt
	// Has says which fields the events have set. The others are null for Celery.
	Has Fields
}

// MaxAttempts is the number of runs that are kept for a task.
const MaxAttempts = 20

// Attempt is one run of a task.
type Attempt struct {
	Number                   int // 1: the first run that was seen
	Worker                   string
	State                    string
	Received, Started, Ended Seconds
	Exception                string
}

// Duration returns how long the run took, 0 when that is not known.
func (a Attempt) Duration() time.Duration {
	if a.Started == 0 || a.Ended < a.Started {
		return 0
	}
	return time.Duration(float64(a.Ended-a.Started) * 1e9)
}

// Fields is a set of fields of a task.
type Fields uint32

// The fields that may be null.
const (
	HasName Fields = 1 << iota
	HasRoot
	HasParent
	HasQueue
	HasExchange
	HasRoutingKey
	HasArgs
	HasKwargs
	HasResult
	HasException
	HasTraceback
	HasETA
	HasExpires
	HasRetries
	HasRuntime
	HasClient
	HasWorker
)

// Has reports whether all of the fields are set.
func (f Fields) Has(fields Fields) bool { return f&fields == fields }

// Ready reports whether the task has ended.
func (t *Task) Ready() bool {
	switch t.State {
	case Success, Failure, Revoked, Rejected:
		return true
	}
	return false
}

// Wait returns how many seconds the task waited in its queue: from its sending, or from its
// ETA if that is later, until its start. It returns false when that is not known.
func (t *Task) Wait() (seconds float64, known bool) {
	if t.Sent == 0 || t.Started == 0 {
		return 0, false
	}
	from := t.Sent
	if eta, ok := parseETA(t.ETA); ok {
		from = max(from, eta)
	}
	return max(0, float64(t.Started-from)), true
}

// Due returns the ETA of the task. It returns false when it has none.
func (t *Task) Due() (at time.Time, known bool) {
	eta, ok := parseETA(t.ETA)
	return eta.Time(), ok
}

// Family is a task with its relatives, as far as they are in memory.
type Family struct {
	Task
	// ParentTask and RootTask are nil when they are not known.
	ParentTask, RootTask *Task
	// Children are the tasks that it has called, in the order of their first events, at most
	// MaxChildren. ChildrenTotal counts all.
	Children      []Task
	ChildrenTotal int
}

// MaxChildren bounds the children in a [Family].
const MaxChildren = 200

// Filter chooses tasks. Its zero value chooses all.
type Filter struct {
	States             []string // one of these
	Error              string   // class of the error, as in Page.Errors
	Name, Worker       string
	Queue, Root        string
	Since, Until       time.Time // of the last event
	Search             string    // words that all occur in the id, the names, the values or the errors
	Limit              int       // default and most: MaxPage
	After              string    // Page.Next of the page before
	OldestFirst, Terse bool      // Terse leaves out the values and errors of the tasks
}

// MaxPage is the greatest number of tasks in a [Page].
const MaxPage = 500

// Page is a part of the tasks that a filter chooses, the latest event first.
type Page struct {
	Tasks []Task
	Next  string // After of the next page; "" for none
	Total int    // tasks that match
	Known int    // tasks in memory
	// States counts the tasks that match all of the filter but its states, by state.
	States map[string]int
	// Errors counts those of tasks that match all of the filter but its error, by class.
	Errors map[string]int
}

// Type is a kind of task with its figures since the monitor listens.
type Type struct {
	Name                                                string
	Sent, Received, Started, Succeeded, Failed, Retried int64
	Rejected, Revoked                                   int64
	Runtime                                             Quantiles // of the successes of the last 15 minutes
	LastSeen                                            time.Time
	InMemory                                            int // tasks
}

// Quantiles describes durations. They are exact to 5 percent.
type Quantiles struct {
	Count         int64
	Sum           time.Duration
	P50, P95, P99 time.Duration
}

// Counts are the events of one second, or of more.
type Counts struct {
	Sent, Received, Started, Succeeded, Failed, Retried, Rejected, Revoked uint32
}

// Series holds the events of the last minutes.
type Series struct {
	// Begin is the time of the first of Counts, each of one second. The last is the last whole
	// second. Seconds before the monitor began to listen are missing.
	Begin  time.Time
	Counts []Counts
	// Latencies are those of LatencyStep each, the first from LatencyBegin on. The last may be
	// of a step that is not over.
	LatencyBegin time.Time
	Latencies    []Latency
}

// LatencyStep is the time that one [Latency] is for.
const LatencyStep = 10 * time.Second

// Window is the time that Series reach back.
const Window = 15 * time.Minute

// Latency holds the durations of a time. Wait is known for tasks of clients that tell of
// what they send.
type Latency struct{ Runtime, Wait Quantiles }

// Status says how the monitor itself is.
type Status struct {
	// Began is when it began to listen, and Joined since when it hears events without a
	// break; zero: not yet.
	Began, Joined time.Time
	// Breaks counts how often the connection broke. Events in between are lost.
	Breaks int64
	// LastEvent is when an event arrived, zero: none yet.
	LastEvent time.Time
	Events    int64 // all events that were understood
	Malformed int64 // messages and events that were not
	// Unseen counts events of tasks whose earlier events were not heard: a gap, or tasks that
	// began before the monitor.
	Unseen int64
	// Tasks, Workers and Bytes are what is kept, DroppedTasks and DroppedWorkers what was
	// dropped to stay within the bounds.
	Tasks, Workers, Bytes        int
	DroppedTasks, DroppedWorkers int64
}
