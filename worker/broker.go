package worker

import (
	"context"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// Broker carries messages to the engine and what became of them back. It is
// broker and result backend in one, because a result that is stored and a
// message that is acknowledged in two steps can be torn apart by a crash.
//
// Package worker/redis implements it. Every method returns within a deadline of
// its own; errors are passing faults, and the engine tries again. The methods
// may be called from many goroutines.
type Broker interface {
	Backend
	Remote

	// Consume says what to consume, before Run and the first Claim. It does
	// no I/O. A Broker need not serve more than one worker, nor one more than
	// once; then the error says so.
	Consume(s Session) error

	// Run keeps the leases of all claims, gives back what crashed workers held,
	// and returns after ctx ended, nil then. It outlives fetching: leases are
	// kept while running tasks drain.
	Run(ctx context.Context) error

	// Wait blocks until a message may be waiting in one of the queues, ctx ends,
	// or some seconds have passed, whichever is first. It takes nothing.
	Wait(ctx context.Context) error

	// Claim takes up to max messages. A message is at no time in neither the
	// queue nor the hands of a worker that answers for it. What cannot be a
	// message at all was moved to the dead letters by the same step.
	Claim(ctx context.Context, max int) ([]Delivery, error)

	// ClaimAfter is a Claim in the round trip of the next SettleAll: of as many messages
	// as that ends, up to ends, and of max more, which is negative when so many must end
	// before there is room for any. It calls ready when SettleAll may be
	// called. asked is how many it asked for; when that is 0, after a millisecond at most,
	// nothing was claimed, and nothing is known of the queues.
	ClaimAfter(ctx context.Context, max, ends int, ready func()) (ds []Delivery, asked int, err error)

	// Start says that d begins to run: it stores the result in state STARTED
	// unless that is nil, and for a message that was delivered before it finds
	// out what became of the earlier runs. The error is ErrLost when the claim is
	// not ours any more.
	Start(ctx context.Context, d Delivery, s Start) (Started, error)

	// Held reports whether the claim is still ours.
	Held(ctx context.Context, claim string) (bool, error)

	// Settle ends a delivery in one atomic step. It returns ErrLost when the
	// claim was not ours any more; then nothing was done but storing a SUCCESS.
	// To settle a second time what was settled before is harmless.
	//
	// When the step completes a chord, or finds one that another worker is
	// completing, everything is done but the end: the claim is still ours and
	// Settled says what remains. The caller settles the same delivery again,
	// with the next Step and the bodies of those chords.
	Settle(ctx context.Context, s Settlement) (Settled, error)

	// SettleAll ends deliveries as Settle does, in few round trips. Each settlement is
	// plain, and its message was not delivered before. There is an error, or nil, for
	// each; they may come from one fault.
	SettleAll(ctx context.Context, ss []Settlement) []error

	// Return gives messages back to the front of their queues, in the order
	// of their claims, to be delivered again.
	Return(ctx context.Context, ds []Delivery) error

	// Take takes one token of a rate limit that all workers share and returns 0,
	// or takes none and returns the time to wait for the next. every is the time
	// between two tokens.
	Take(ctx context.Context, limit string, every time.Duration) (wait time.Duration, err error)

	// Reset drops all connections. The engine calls it when consuming stalls.
	Reset()
}

// Backend publishes tasks and keeps their results: what a [Client] needs of a
// Broker. Every method but Await returns within a deadline of its own.
type Backend interface {
	// Publish carries out changes that belong together. Their members are not
	// looked at: only what ends a delivery completes a chord. The error is
	// ErrLost when Changes.Claim is set and not ours any more.
	Publish(ctx context.Context, c Changes) error

	// Results returns what is stored for each id, nil for nothing.
	Results(ctx context.Context, ids []string) ([]*protocol.Result, error)

	// Await returns the result of a task once it is final, or the error of ctx.
	Await(ctx context.Context, id string) (*protocol.Result, error)

	// Forget removes results, and the structures of groups of these ids.
	Forget(ctx context.Context, ids []string) error

	// Group returns the saved structure of a group, {"result": result tuple};
	// nil for none.
	Group(ctx context.Context, id string) (protocol.Raw, error)

	// Revoke remembers, for all workers and across their restarts, what must not
	// run any more. Unless a task has begun or ended, REVOKED is stored for its id.
	Revoke(ctx context.Context, r Revocation) error

	// Emit publishes events. It keeps nothing of them after it has returned.
	Emit(ctx context.Context, es ...Emission) error

	// Broadcast publishes a request of remote control that wants no answer.
	Broadcast(ctx context.Context, request []byte) error

	// Revoked returns what was revoked after the moment that since stands for,
	// and what to ask with the next time. "" asks for everything.
	Revoked(ctx context.Context, since string) (r Revocation, next string, err error)
}

// Revocation names tasks that must not run any more.
type Revocation struct {
	IDs []string
	// Stamps revoke all tasks that carry one of these values under the name of a
	// stamped header. A value is JSON.
	Stamps map[string][]protocol.Raw
}

// Session is what a Broker is told before it consumes.
type Session struct {
	Node   string   // node name, such as worker@host
	Queues []string // without duplicates, in the order of declaration
	// Decoder reads the messages.
	Decoder protocol.Decoder
	// Lost is called for each claim that was found to be no longer ours.
	Lost func(claim string)
	// DeadLettered is called for each message that Claim, or the recovery of
	// what others held, set aside.
	DeadLettered func(queue, reason string)
}

// Delivery is one claimed message.
type Delivery struct {
	Claim string // id of this claim, unique; "" once it was acknowledged
	Queue string // queue that the message came from
	Raw   []byte // the message, as it lay in the queue
	// Message is the message as Session.Decoder reads it, where the Broker had to read
	// it anyway; else nil.
	Message *protocol.Message
	// Crashes is the number of earlier deliveries that did not end, as far as
	// they were counted.
	Crashes int
}

// Start is what a Broker is told when a message begins to run.
type Start struct {
	Result *protocol.Result // in state STARTED, or nil
	// Member is the entry that the task will have in its chord, without state
	// and result, or nil.
	Member *canvas.MemberEntry
	// Stored asks for a SUCCESS of an earlier run.
	Stored bool
}

// Started is what a Broker knows of earlier runs of a message that was delivered
// before.
type Started struct {
	// Crashed is the number of runs that did not end, as far as they were counted.
	Crashed int
	// Counted reports that the chord has counted the task: it ran to its end,
	// and only what follows in the chord is missing.
	Counted bool
	// Success is the result that is stored, if it was asked for and is one.
	Success *protocol.Result
}

// Changes are writes that belong together. They are carried out in the order of
// the fields.
type Changes struct {
	// Claim, when not "", must be ours for anything to happen.
	Claim   string
	Sizes   []canvas.GroupSize
	Groups  []canvas.SavedGroup
	Joins   []canvas.GroupJoin
	Results []*protocol.Result // stored and announced, unless SUCCESS is stored
	Members []canvas.ChordPart // chord members that have ended
	Publish []Publication
}

// Settlement says how a delivery ends. The parts that are set are carried out
// together with the acknowledgement.
type Settlement struct {
	Delivery Delivery
	// Step counts the settlements of one delivery, from 0. A step that was
	// carried out is not carried out again.
	Step int
	// Result is stored and announced, unless SUCCESS is stored already. A SUCCESS
	// is stored even when the claim is lost.
	Result *protocol.Result
	// Tracked says that STARTED is probably stored. It decides nothing, and spares a
	// Broker a question.
	Tracked bool
	// Changes are all else: retries, callbacks, chord members.
	Changes Changes
	// Bodies are what follows chords that an earlier step has completed.
	Bodies []ChordBody
	// DeadLetter, when not "", is the reason for a copy in the dead letters.
	DeadLetter string
	// Requeue puts the message itself to the end of its queue.
	Requeue Requeuing
}

// Plain reports whether nothing follows the delivery but its result, if there is one, and
// its acknowledgement.
func (s *Settlement) Plain() bool {
	c := &s.Changes
	return s.Step == 0 && s.Delivery.Claim != "" && s.DeadLetter == "" && s.Requeue == NoRequeue && len(s.Bodies) == 0 &&
		len(c.Sizes)+len(c.Groups)+len(c.Joins)+len(c.Results)+len(c.Members)+len(c.Publish) == 0
}

// Requeuing says whether a message goes back to the end of its queue, and as what.
type Requeuing int

const (
	NoRequeue          Requeuing = iota
	RequeueRedelivered           // marked as redelivered, as Celery does
	RequeueUntouched             // as it was: nobody has looked at it
)

// ChordBody is what follows a chord that is complete. It happens once.
type ChordBody struct {
	GroupID string
	// Failed: the body will not run. The results of the members stay.
	Failed  bool
	Changes Changes
}

// Settled says what remains to be done for a delivery; nothing when both are
// empty.
type Settled struct {
	// Complete are chords that wait for their bodies.
	Complete []CompleteChord
	// Busy are chords that another worker is about to complete, or died at it.
	// Their members are to be settled again after a moment.
	Busy []canvas.ChordPart
}

// Done reports whether the delivery has ended.
func (s Settled) Done() bool { return len(s.Complete) == 0 && len(s.Busy) == 0 }

// CompleteChord is a chord all of whose members have ended.
type CompleteChord struct {
	Part   canvas.ChordPart // the member that was the last
	Joined canvas.Joined
}

// Publication is a message on its way into a queue.
type Publication struct {
	// Queue, or with a named exchange the exchange and the routing key.
	Queue, Exchange, RoutingKey string
	Priority                    int // 0..9, as in the message; 0 is served first
	Raw                         []byte
	// Sent is the event that tells of the publication, or nil. It is the caller
	// that emits it, when the message is on its way.
	Sent *Emission
}

// DeadLetter is a message that was set aside for a person.
type DeadLetter struct {
	ID       string    `json:"id"`
	Queue    string    `json:"queue"`
	Reason   string    `json:"reason"`
	TaskName string    `json:"task,omitempty"`    // "" when it cannot be read
	TaskID   string    `json:"task_id,omitempty"` // likewise
	At       time.Time `json:"at"`
	Size     int       `json:"size"` // bytes of Raw
	Raw      []byte    `json:"-"`    // exact bytes; may hold secrets of the producer
}
