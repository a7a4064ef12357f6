package tasks

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
)

// notSent decides the outcome of a mail that the server did not accept, or not for certain.
func (s *Service) notSent(ctx context.Context, a *attempt, err error) (Result, error) {
	if e, ok := errors.AsType[*mail.SendError](err); ok {
		return s.sendFailed(ctx, a, e, err)
	}
	switch {
	case isUnasked(err):
		return s.free(ctx, a, errHeld, a.inTime(spread(heldPause)), err)
	case errors.Is(err, mail.ErrAddress):
		return s.giveUp(a, errNotAddress, err)
	}
	return s.giveUp(a, errSend, err)
}

// sendFailed decides the outcome of a mail by the error of its delivery.
func (s *Service) sendFailed(ctx context.Context, a *attempt, e *mail.SendError, err error) (Result, error) {
	switch {
	case !e.Unknown() && errors.Is(err, worker.ErrLost):
		return Result{}, err // another worker sends it
	case isUnasked(err):
		return s.free(ctx, a, errHeld, a.inTime(spread(heldPause)), err)
	case e.Command == "WAIT" && errors.Is(err, worker.ErrWaited):
		return s.free(ctx, a, errBusy, a.inTime(spread(busyPause)), err)
	case errors.Is(e.Err, mail.ErrAddress):
		return s.giveUp(a, errNotAddress, err)
	case e.Command == "COMPOSE":
		return s.giveUp(a, errRender, err)
	case e.Unknown():
		return s.unsure(a, e, err)
	case e.ConfigurationFault():
		return s.free(ctx, a, reply("mail server refuses this service", e), s.configurationPause(a), err)
	case e.Quota():
		return s.free(ctx, a, reply("mail server takes no more mails for now", e), s.quotaPause(a), err)
	case e.Throttled():
		return s.free(ctx, a, reply("mail server puts this service off", e), s.throttledPause(a, e), err)
	case e.Retryable() && e.Code >= 500:
		return s.again(ctx, a, reply("mail refused", e), e, err)
	case e.Retryable():
		return s.again(ctx, a, reply("mail server did not take the mail", e), e, err)
	case e.AddressFault():
		return s.giveUp(a, reply("recipient address refused", e), err)
	default:
		return s.giveUp(a, reply("mail refused", e), err)
	}
}

// unsure settles an attempt that sent the end of data and got no answer.
func (s *Service) unsure(a *attempt, e *mail.SendError, err error) (Result, error) {
	if a.urgent() && !a.resent() && !a.task.LastAttempt() {
		// The copy has the same Message-ID and Date, so that mail programs recognise
		// it. There is one copy: otherwise a server that never answers here would
		// deliver one with every retry.
		return Result{}, s.retry(a, errUnsure, worker.RetryError{Err: err, Countdown: s.pause(a, e), Headers: a.headers(true)})
	}
	// A second copy of another mail is worse than a late mail: a person decides
	// about the dead letter.
	return s.giveUp(a, errUnsure, err)
}

// leftBehind settles an attempt whose handler has not returned by the hard time limit.
func (s *Service) leftBehind(a *attempt) error {
	if !a.stage.CompareAndSwap(stageOpen, stageLeft) {
		_, err := s.unsure(a, nil, worker.ErrTimeLimit)
		return err
	}
	_, err := s.again(context.Background(), a, errTimeLimit, nil, worker.ErrTimeLimit)
	return err
}

// panicked settles an attempt that has panicked. The value of the panic is not logged,
// because it may have a secret in it.
func (s *Service) panicked(ctx context.Context, a *attempt, value any) (Result, error) {
	err := fmt.Errorf("panic of type %T", value)
	s.logger(a.task).ErrorContext(ctx, "mail delivery panicked", "kind", a.data.Kind(), "error", err, "stack", string(debug.Stack()))
	if a.stage.Load() == stageFinal {
		return s.unsure(a, nil, err)
	}
	return s.again(ctx, a, errInternal, nil, err)
}

// again retries the mail, or gives up after the last attempt. e is the reply of the mail
// server, nil without one.
func (s *Service) again(ctx context.Context, a *attempt, text string, e *mail.SendError, err error) (Result, error) {
	if cause := endedByEngine(ctx); cause != nil {
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	if a.task.LastAttempt() {
		return s.giveUp(a, text, err)
	}
	return Result{}, s.retry(a, text, worker.RetryError{Err: err, Countdown: s.pause(a, e), Headers: a.headers(false)})
}

func (s *Service) retry(a *attempt, text string, r worker.RetryError) error {
	s.logger(a.task).Warn("mail will be retried", "kind", a.data.Kind(), "retries", a.task.Retries, "error", r.Err)
	r.Err = &failure{text: text, err: r.Err}
	return &r
}

// endedByEngine returns why the engine ended the attempt, if that is no reason for a retry:
// the message is requeued, held by another worker, or revoked. After the soft time limit
// the mail is retried as after any other failure.
func endedByEngine(ctx context.Context) error {
	cause := context.Cause(ctx)
	for _, end := range []error{worker.ErrStopped, worker.ErrLost, worker.ErrRevoked, worker.ErrTimeLimit} {
		if errors.Is(cause, end) {
			return cause
		}
	}
	return nil
}

// free retries the mail without counting a retry, for faults that all mails share.
func (s *Service) free(ctx context.Context, a *attempt, text string, after time.Duration, err error) (Result, error) {
	if cause := endedByEngine(ctx); cause != nil {
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	s.logger(a.task).ErrorContext(ctx, "mail deferred, no retry spent", "kind", a.data.Kind(), "error", err)
	return Result{}, &worker.RetryError{Err: &failure{text: text, err: err}, Free: true, Countdown: after, Headers: a.headers(false)}
}

// giveUp ends the task with an answer. The message becomes a dead letter.
func (s *Service) giveUp(a *attempt, text string, err error) (Result, error) {
	s.logger(a.task).Error("mail given up", "kind", a.data.Kind(), "retries", a.task.Retries, "reason", text, "error", err)
	return Result{}, worker.GiveUp(s.result(Result{Error: text, UserID: a.userID}), text)
}

// reply adds the codes and the command of the server's answer, which producers may see,
// but not its words.
func reply(text string, e *mail.SendError) string { return text + ": " + e.Summary() }

// failure is the error of an attempt as the producer sees it in the state RETRY. Unwrap
// returns the cause, which is for logs.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }
