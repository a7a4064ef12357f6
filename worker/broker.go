package worker

import (
	"context"
	"time"

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
	// Consume says what to consume, before Run and the first Claim. It does
	// no I/O.
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

	// Start says that d begins to run: it stores the result in state STARTED
	// unless result is nil, and counts the runs of messages that were delivered
	// before. It returns the number of earlier runs that did not end, as far as
	// they were counted, or ErrLost.
	Start(ctx context.Context, d Delivery, result *protocol.Result) (crashed int, err error)

	// Held reports whether the claim is still ours.
	Held(ctx context.Context, claim string) (bool, error)

	// Settle ends a delivery in one atomic step. It returns ErrLost when the
	// claim was not ours any more; then nothing was done but storing a SUCCESS.
	// To settle a second time what was settled before is harmless.
	Settle(ctx context.Context, s Settlement) error

	// Return gives messages back to the front of their queues, in the order
	// of their claims, to be delivered again.
	Return(ctx context.Context, ds []Delivery) error

	// Reset drops all connections. The engine calls it when consuming stalls.
	Reset()
}

// Session is what a Broker is told before it consumes.
type Session struct {
	Node   string   // node name, such as worker@host
	Queues []string // without duplicates, in the order of declaration
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
}

// Settlement says how a delivery ends. The parts that are set are carried out
// together with the acknowledgement.
type Settlement struct {
	Delivery Delivery
	// Result is stored and announced, unless SUCCESS is stored already.
	Result *protocol.Result
	// Publish is put into its queue: the retry of a task.
	Publish *Publication
	// DeadLetter, when not "", is the reason for a copy in the dead letters.
	DeadLetter string
	// Requeue puts the message itself to the end of its queue.
	Requeue bool
}

// Publication is a message on its way into a queue.
type Publication struct {
	Queue    string
	Priority int // 0..9, as in the message; 0 is served first
	Raw      []byte
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
