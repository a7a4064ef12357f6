package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/worker"
)

const (
	// heldPatience is how long the broker is asked whether this worker still holds the
	// message. The relay waits for the end of the mail in the meantime, Postfix under
	// stress for ten seconds.
	heldPatience = 8 * time.Second
	// heldAgain and heldAgainMost are the first and the longest pause between two
	// questions.
	heldAgain, heldAgainMost = 50 * time.Millisecond, time.Second
)

// finish returns nil if the end of the mail may be sent. It is called directly before that.
// After an error the mail is not delivered.
func (a *attempt) finish(ctx context.Context) error {
	err := a.held(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !a.stage.CompareAndSwap(stageOpen, stageFinal) {
		return worker.ErrTimeLimit
	}
	return nil
}

// held asks the broker whether this worker still holds the message. It repeats the question
// while the broker does not answer, because a lost connection must not cost an attempt.
func (a *attempt) held(ctx context.Context) error {
	var fault error
	err := a.task.Wait(ctx, heldPatience, func(ctx context.Context) error {
		for pause := heldAgain; ; pause = min(2*pause, heldAgainMost) {
			if fault = a.task.Held(ctx); fault == nil || errors.Is(fault, worker.ErrLost) {
				return fault
			}
			again := time.NewTimer(pause)
			select {
			case <-again.C:
			case <-ctx.Done():
				again.Stop()
				return context.Cause(ctx)
			}
		}
	})
	if errors.Is(err, worker.ErrWaited) && ctx.Err() == nil {
		return &unaskedError{err: fault}
	}
	return err
}

// unaskedError says that the broker did not answer whether this worker holds the message.
type unaskedError struct{ err error }

func (e *unaskedError) Error() string { return "ask for the claim: " + e.err.Error() }
func (e *unaskedError) Unwrap() error { return e.err }

func isUnasked(err error) bool {
	_, ok := errors.AsType[*unaskedError](err)
	return ok
}
