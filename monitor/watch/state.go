package watch

import (
	"time"

	"github.com/evently/workers/worker/broker"
)

// Age is the age of a message.
type Age struct {
	Known   bool // false: there is no message, or no look yet
	Seconds float64
	// AtLeast says that the message was there before the first look, or came back.
	AtLeast bool
}

// State is all that one look has shown. It does not change.
type State struct {
	At    time.Time // of the last look that was answered, by the clock of this machine; zero: none yet
	Skew  time.Duration
	Since time.Time // of the first look
	// Fault tells why there was no answer since At, "" after an answer.
	Fault string
	// Refusal is the reply of a broker that answered at At and refuses writes, see
	// [broker.QueueLook].
	Refusal string
	// Remedy tells the cause of Fault or Refusal in a clause, and what to do; "": not known.
	Remedy string

	Unacked int // messages that workers hold, also ones that wait for their time; -1: unknown
	Queues  []Queue
	// Answered is the number of workers that told which queues they consume, when they were
	// asked last.
	Answered int
	// Left is the number of queues that are not watched because there are too many.
	Left int
}

// Queue returns a queue by its name.
func (s *State) Queue(name string) (Queue, bool) {
	for _, q := range s.Queues {
		if q.Name == name {
			return q, true
		}
	}
	return Queue{}, false
}

// Queue is the state of one queue.
type Queue struct {
	Name     string
	Messages int
	Lists    []List
	Oldest   Age
	// Consumers are the nodes that consume the queue, as far as they have answered.
	Consumers []string
	// Configured says that the queue is one of this configuration.
	Configured bool
	// In and Out are messages a second: what the list has shown in the last ten seconds, or
	// what workers of this kind told in the last fifteen, if that is more. Messages that
	// Python workers took between two looks are not in it.
	In, Out float64
	// Arrived and Taken count the messages since the first look in the same way.
	Arrived, Taken int64
	// Empty is the time until the queue is empty at the rate of the last minute; 0: it is empty,
	// or does not become so.
	Empty time.Duration
	// Broken says that a key of the queue has another type.
	Broken bool
	Waits  Waits
	Paused *broker.Pause // nil: it is not
}

// List is the state of the list of one priority.
type List struct {
	Priority, Messages int
	Oldest             Age
}

// Buckets are the upper bounds of the wait histogram, in seconds. A look a second cannot tell
// shorter waits apart.
var Buckets = [...]float64{1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}

// Waits is a histogram of the time that messages have waited in a queue before a worker took
// them.
type Waits struct {
	Counts [len(Buckets) + 1]uint64 // the last one counts longer waits
	Sum    float64                  // seconds
	// Unknown counts messages that were there before the first look.
	Unknown uint64
}

// add adds messages.
func (w *Waits) add(one waits) {
	n := uint64(one.messages)
	if one.atLeast {
		w.Unknown += n
		return
	}
	seconds := one.wait.Seconds()
	i := 0
	for i < len(Buckets) && seconds > Buckets[i] {
		i++
	}
	w.Counts[i] += n
	w.Sum += seconds * float64(n)
}

// Count returns the number of messages whose wait is known.
func (w *Waits) Count() (n uint64) {
	for _, c := range w.Counts {
		n += c
	}
	return n
}

// Quantile returns the upper bound of the bucket that holds a share of the waits. ok is false
// without waits, and beyond the last bound.
func (w *Waits) Quantile(share float64) (seconds float64, ok bool) {
	total := w.Count()
	var n uint64
	for i, c := range w.Counts {
		if n += c; total > 0 && float64(n) >= share*float64(total) && i < len(Buckets) {
			return Buckets[i], true
		}
	}
	return 0, false
}
