package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/worker"
)

const (
	// heldPatience bounds the questions whether the message is still ours. The relay
	// waits meanwhile with an unfinished mail: ten seconds are the least that Postfix
	// waits, when it is under stress.
	heldPatience = 8 * time.Second
	// heldAgain and heldAgainMost are the pauses between two questions, the first and
	// the longest.
	heldAgain, heldAgainMost = 50 * time.Millisecond, time.Second
)

// finish returns nil when the end of the mail may go out, and is called directly before
// that. After an error nothing is delivered.
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

// held asks the broker whether the message is still ours, again and again when it does
// not answer: a connection that was cut must not cost a mail its attempt.
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

// unaskedError says that the broker did not answer whether the message is still ours.
type unaskedError struct{ err error }

func (e *unaskedError) Error() string { return "ask for the claim: " + e.err.Error() }
func (e *unaskedError) Unwrap() error { return e.err }

func isUnasked(err error) bool {
	_, ok := errors.AsType[*unaskedError](err)
	return ok
}
