package broker

import (
	"errors"
	"time"
)

// QueueList is one of the lists of a queue: that of a priority.
type QueueList struct {
	Queue    string
	Priority int // the lowest priority of its messages
}

// ListLook asks for the state of a list.
type ListLook struct {
	QueueList
	// Since is the newest message of the look before, nil for none.
	Since []byte
}

// Values of ListState.Arrived.
const (
	// ArrivedAll says that every message of the list is newer than ListLook.Since.
	ArrivedAll = -1
	// ArrivedUnknown says that the newer messages were not counted: there are too many, there
	// was no Since, or the server cannot search.
	ArrivedUnknown = -2
)

// ListState is the state of a list at one moment.
type ListState struct {
	Messages int // -1: its key has another type
	// Arrived is the number of messages that are newer than ListLook.Since, or one of the
	// constants.
	Arrived int
	// Newest is the message that was published last, nil without messages. It is empty when it
	// is the one of Since, or larger than a bound.
	Newest []byte
	// Oldest identifies the message that is taken next, "" without messages.
	Oldest string
}

// QueueLook is the answer to one look at lists.
type QueueLook struct {
	At      time.Time // by the clock of the broker
	Unacked int       // messages that workers hold, also ones that wait for their time; -1: unknown
	Lists   []ListState
	// Refusal is the reply of a broker that answers reads and refuses writes, such as "OOM
	// command not allowed when used memory > 'maxmemory'."; "" when it takes writes, or when
	// that is unknown. Nothing can be published or taken then. Remedy tells the cause in a
	// clause, and what to do.
	Refusal, Remedy string
}

// QueuedMessage is a message in a list, or in the unacked set.
type QueuedMessage struct {
	Size int
	Raw  []byte // nil when it is larger than the bound of a read
}

// HeldMessage is a message that a worker holds: it runs, or waits for a slot or for its time.
type HeldMessage struct {
	Claim string // id of the claim, unique
	// Node is the name of the worker of this kind that holds the message, "" when it is not
	// known. Python says that a Python worker holds it; its name is not known.
	Node   string
	Python bool
	Queue  string
	QueuedMessage
}

// Errors of changes of held messages.
var (
	// ErrNotHeld says that no worker holds the message any more.
	ErrNotHeld = errors.New("no worker holds this message any more: it has run, or is back in its queue")
	// ErrHeldByPython says that only the Python worker that holds a message can release it.
	ErrHeldByPython = errors.New("a Python worker holds this message in its memory, and would run it a second time: only revoking it is possible")
	// ErrDue says that the time of a message has come, or comes in a moment.
	ErrDue = errors.New("the message is due: it runs as soon as its worker has a free slot")
)

// Pause keeps all workers of this kind from taking messages from a queue, also ones that start
// later.
type Pause struct {
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"`   // who has paused the queue
	Note string    `json:"note,omitempty"` // and why
	// Python are the Python workers that were told to cancel their consumers.
	Python []string `json:"python,omitempty"`
}

// PauseNotice returns the name of the notice on the Board that pauses a queue. Its value is a
// Pause as JSON; workers heed it with any content.
func PauseNotice(queue string) string { return "queue.paused." + queue }
