package broker

import (
	"context"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// Session describes a consumer to its Broker.
type Session struct {
	Node   string   // node name, such as worker@host
	Queues []string // without duplicates, in the order of declaration
	// Decoder reads the messages.
	Decoder protocol.Decoder
	// Lost is called for each claim that turned out to be lost.
	Lost func(claim string)
	// DeadLettered is called for each message that Claim, or the recovery of messages
	// of crashed workers, moved to the dead letters.
	DeadLettered func(queue, reason string)
	// Refused is called by Claim, after DeadLettered, for a message that it moved to the
	// dead letters, with ctx of Claim. The worker answers what waits for the task and
	// settles the delivery, which has no claim. nil: nothing is answered.
	Refused func(ctx context.Context, d Delivery)
}

// Delivery is one claimed message.
type Delivery struct {
	Claim string // id of this claim, unique; "" once it was acknowledged
	Queue string // queue of the message
	// Raw holds the bytes of the message, as they were in the queue, or with the parts
	// that its producer has left out. Of one that was refused it may be the end.
	Raw []byte
	// Message is the message as Session.Decoder reads it, where the Broker had to read
	// it anyway; else nil.
	Message *protocol.Message
	// Crashes is the number of earlier deliveries that were not settled, as far as
	// they were counted.
	Crashes int
	// Refused is set in a call of Session.Refused.
	Refused *Refusal
	// Entries are for Broker.Return, which appends them to their streams if the claim is
	// held. A message goes back even if they are refused. Only a broker that is an Outbox
	// gets any.
	Entries []Entry
}

// Refusal describes why a message was moved to the dead letters.
type Refusal struct {
	Reason string // a protocol.Reason
	Letter string // name of the dead letter, unique
}

// Start describes a run that begins.
type Start struct {
	Result *protocol.Result // in state STARTED, or nil
	ID     string           // of the task
	// Member is the entry that the task will have in its chord, without state and
	// result, or nil.
	Member *canvas.MemberEntry
	// Stored asks for a SUCCESS of an earlier run.
	Stored bool
	// Fingerprint is that of the task. A SUCCESS that has another one belongs to another
	// message with the same id; a SUCCESS without one is of a worker that writes none.
	Fingerprint string
}

// Started describes earlier runs of a message that was delivered before.
type Started struct {
	// Crashed is the number of runs that were not settled, as far as they were counted.
	Crashed int
	// Counted reports that the chord has counted the task. It ran to its end, and only
	// what follows in the chord is missing.
	Counted bool
	// Success is the stored SUCCESS, if it was asked for and exists.
	Success *protocol.Result
}
