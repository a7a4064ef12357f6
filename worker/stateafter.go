package worker

import (
	"context"
	"errors"

	"github.com/evently/workers/worker/protocol"
)

// States of [StateAfter] that are no states of results: celery.states has them
// for what is in none.
const (
	StateRejected = "REJECTED"
	StateIgnored  = "IGNORED"
)

// StateAfter tells a Middleware what an error of its Handler leads to, in the
// words of Celery's signal task_postrun: "SUCCESS", "RETRY", "FAILURE", "REVOKED",
// [StateRejected] after [Reject] and [Requeue], [StateIgnored] after [ErrIgnore]
// and [Replace]. It is "" when the message goes back to its queue, or is another
// worker's now. ctx is the one that the Handler ran in.
//
// What happens after the handler is not known yet: a result that has no form in
// JSON is a FAILURE in the end, and so is a retry that cannot be published.
func StateAfter(ctx context.Context, t *Task, err error) (state string) {
	defer func() {
		if recover() != nil { // a method of err
			state = protocol.StateFailure
		}
	}()
	cause := context.Cause(ctx)
	switch { // what is decided while the handler still runs
	case errors.Is(cause, ErrTimeLimit):
		return protocol.StateFailure
	case errors.Is(cause, ErrRevoked):
		return protocol.StateRevoked
	}
	o := decide(t, Definition{}, nil, err, cause)
	_, rejected := errors.AsType[*RejectError](err)
	switch {
	case o.drop, o.giveBack:
		return ""
	case o.requeue, rejected && o.state == protocol.StateFailure:
		return StateRejected
	case o.state != "":
		return o.state
	}
	return StateIgnored
}
