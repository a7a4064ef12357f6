package broker

import (
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// Changes are writes that belong together. They are carried out in the order of the
// fields.
type Changes struct {
	// Claim is the claim that must be held for anything to happen; "" for none.
	Claim string
	// Once names changes that must happen once, whichever and however many publishers ask for
	// them; "" for others. The name is kept for a day. Backend.Publish returns ErrRepeated for
	// changes that were carried out before. They must be few: their messages are published
	// together.
	Once    string
	Sizes   []canvas.GroupSize
	Groups  []canvas.SavedGroup
	Joins   []canvas.GroupJoin
	Results []*protocol.Result // stored and announced, unless SUCCESS is stored
	Members []canvas.ChordPart // settled members of chords
	Publish []Publication
}

// Settlement describes the end of a delivery. The fields that are set are carried
// out together with the acknowledgement.
type Settlement struct {
	Delivery Delivery
	// Step counts the settlements of one delivery, from 0. A step is carried out once.
	Step int
	// Result is stored and announced, unless SUCCESS is stored already. A SUCCESS is
	// stored even when the claim is lost.
	Result *protocol.Result
	// Tracked reports that STARTED is probably stored. It saves a Broker a question and
	// decides nothing.
	Tracked bool
	// Changes holds retries, callbacks and chord members.
	Changes Changes
	// Bodies holds what follows the chords that an earlier step completed.
	Bodies []ChordBody
	// DeadLetter is the reason for a copy in the dead letters; "" for none.
	DeadLetter string
	// Requeue puts the message itself to the end of its queue.
	Requeue Requeuing
	// Mark replaces the mark of the task, or removes it when Value is ""; nil: it stays.
	// Only a broker that is a Marker gets it.
	Mark *Mark
	// Names end the marks of names, as Mark does that of the task.
	Names []NameEnd
	// Entries are appended to their streams. Only a broker that is an Outbox gets any.
	Entries []Entry
	// Succeeded reports that the run has succeeded. Then Mark and Entries are carried out
	// even when the claim is lost. But a mark that a lost run removes becomes MarkSettled,
	// because the run that has the message must learn of it.
	Succeeded bool
}

// Plain reports whether the settlement consists of a result, if any, and the
// acknowledgement.
func (s *Settlement) Plain() bool {
	c := &s.Changes
	return s.Step == 0 && s.Delivery.Claim != "" && s.DeadLetter == "" && s.Requeue == NoRequeue && len(s.Bodies) == 0 &&
		len(c.Sizes)+len(c.Groups)+len(c.Joins)+len(c.Results)+len(c.Members)+len(c.Publish) == 0
}

// MarkSettled is the value of the mark of a task whose run has succeeded and removed its mark,
// but had lost its claim.
const MarkSettled = "settled"

// Mark is a mark of a task. It is kept beside the messages, and outlives the worker.
type Mark struct {
	Task  string // fingerprint of the task
	Value string
}

// NameEnd ends the mark of a name, which several tasks share.
type NameEnd struct {
	// Value replaces the mark, whichever run has set it. Without a value the mark is removed if
	// Run has set it, and the claim is held.
	Mark
	Run string
}

// Entry is an entry of a stream: names and values, in turn.
type Entry struct {
	Stream string
	Fields []string
}

// Requeuing selects whether a message goes back to the end of its queue, and how it is
// marked.
type Requeuing int

const (
	NoRequeue          Requeuing = iota
	RequeueRedelivered           // marked as redelivered, as Celery does
	RequeueUntouched             // unchanged, because no handler has seen it
)

// ChordBody describes what follows a complete chord. It is carried out once.
type ChordBody struct {
	GroupID string
	// Failed reports that the body will not run. The results of the members stay.
	Failed  bool
	Changes Changes
}

// Settled describes what remains to be done for a delivery. Nothing remains when both
// fields are empty.
type Settled struct {
	// Complete holds chords that wait for their bodies.
	Complete []CompleteChord
	// Busy holds members of chords that another worker is completing, or died
	// completing. They must be settled again after a moment.
	Busy []canvas.ChordPart
}

// Done reports whether the delivery is settled.
func (s Settled) Done() bool { return len(s.Complete) == 0 && len(s.Busy) == 0 }

// CompleteChord is a chord whose members are all settled.
type CompleteChord struct {
	Part   canvas.ChordPart // the last member
	Joined canvas.Joined
}

// Publication is a message to be put into a queue.
type Publication struct {
	// Queue names the queue. With a named exchange, Exchange and RoutingKey are set
	// instead.
	Queue, Exchange, RoutingKey string
	Priority                    int // 0..9, as in the message; 0 is served first
	Raw                         []byte
	// Sent is the task-sent event, or nil. The caller emits it after the publication.
	Sent *Emission
}
