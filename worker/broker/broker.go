package broker

import (
	"context"
	"errors"
	"fmt"
)

// ErrLost is returned for a claim that this worker no longer holds: its lease ran
// out, and another worker may have the message.
var ErrLost = errors.New("message is no longer held by this worker")

// ErrRepeated is returned for changes whose name was used before; see Changes.Once.
var ErrRepeated = errors.New("changes of this name were carried out before")

// SetAsideHeader is the name of the header with the time at which a message became
// a dead letter. Messages that were retried from there carry it.
const SetAsideHeader = "dead_letter_at"

// RouteError reports a message that no queue would receive: none is bound to its
// exchange under its routing key, or Queue is not the name of a queue. Celery drops such
// messages, or writes them into keys that are something else.
type RouteError struct {
	Exchange, RoutingKey string
	Queue, Fault         string // and why Queue is no queue
}

func (e *RouteError) Error() string {
	if e.Queue != "" {
		return fmt.Sprintf("%q is not the name of a queue: %s", e.Queue, e.Fault)
	}
	return fmt.Sprintf("no queue is bound to the exchange %q under the routing key %q", e.Exchange, e.RoutingKey)
}

// Broker delivers messages to the worker and stores their outcomes. It is broker and
// result backend in one, because a crash could separate a stored result from the
// acknowledgement of its message if they were two steps.
//
// Every method returns within its deadline. Errors are passing faults, and
// the worker tries again. Methods may be called from many goroutines.
type Broker interface {
	// Consume sets what to consume, before Run and the first Claim. It does no I/O. A
	// Broker need not serve more than one worker; a second call then fails.
	Consume(s Session) error

	// Run renews the leases of all claims and returns messages of crashed workers to
	// their queues, marked as redelivered (protocol.MarkRedelivered). It returns nil
	// after ctx ended. It runs longer than claiming: leases are renewed while running
	// tasks drain.
	Run(ctx context.Context) error

	// Wait blocks until a message may be waiting in one of the queues, ctx ends, or
	// some seconds have passed, whichever is first. It takes nothing.
	Wait(ctx context.Context) error

	// Claim moves up to max messages from the queues to the unacked set, atomically. A
	// crash cannot lose one. Within a queue it takes the lowest priority number first.
	// The same step moves bytes that cannot be a message to the dead letters: at least
	// all bytes that protocol.ParseEnvelope refuses.
	Claim(ctx context.Context, max int) ([]Delivery, error)

	// Start records that d begins to run. It stores the result in state STARTED unless
	// that is nil. The error is ErrLost when the claim is lost.
	//
	// A message that is marked as redelivered was delivered before. For it Start returns
	// what became of the earlier runs, and counts one more crash, unless Return or a
	// Settlement with Requeue put the message back.
	Start(ctx context.Context, d Delivery, s Start) (Started, error)

	// Held reports whether this worker still holds the claim.
	Held(ctx context.Context, claim string) (bool, error)

	// Settle ends a delivery in one atomic step. It returns ErrLost when the claim
	// was lost; then it did nothing but store a SUCCESS. Settling again is harmless.
	//
	// When the step completes a chord, or finds one that another worker is
	// completing, it does everything but the acknowledgement. The claim is then still
	// held, and Settled says what remains. The caller settles the same delivery
	// again, with the next Step and the bodies of those chords.
	Settle(ctx context.Context, s Settlement) (Settled, error)

	// Return puts messages back to the front of their queues, marked as redelivered, in
	// the order in which they were claimed. The order of ds does not matter. Lost claims
	// are skipped.
	Return(ctx context.Context, ds []Delivery) error

	// Reset drops all connections. The worker calls it when consuming stalls.
	Reset()
}
