package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// notSent decides the outcome of a mail that the server did not accept, or not for certain.
func (s *Service) notSent(ctx context.Context, a *attempt, err error) (Result, error) {
	e, _ := errors.AsType[*mail.SendError](err)
	if e != nil && e.Unknown() {
		return s.unsure(a, e, err)
	}
	switch {
	case errors.Is(err, worker.ErrLost):
		return Result{}, err // another worker sends it
	case errors.Is(err, errDelivered), errors.Is(err, errOtherSent):
		return s.delivered(a, err), nil
	case errors.Is(err, errLate):
		return s.expired(a, errExpired, "expired before the end of the mail"), nil
	case isUnasked(err):
		return s.park(ctx, a, errHeld, a.inTime(spread(heldPause)), e, err)
	}
	if other, ok := errors.AsType[*otherError](err); ok {
		return s.awaitOther(ctx, a, other)
	}
	if earlier, ok := errors.AsType[*earlierError](err); ok {
		return s.afterUnknown(ctx, a, earlier, err)
	}
	if open, ok := errors.AsType[*breaker.OpenError](err); ok {
		return s.unavailable(ctx, a, errRelay, open, err)
	}
	switch {
	case e != nil && e.Command == "WAIT" && errors.Is(err, worker.ErrWaited):
		return s.park(ctx, a, errBusy, a.inTime(spread(busyPause)), e, err)
	case errors.Is(err, mail.ErrAddress):
		return s.giveUp(a, errNotAddress, e, err)
	case e != nil && e.Command == "COMPOSE":
		return s.giveUp(a, errRender, e, err)
	case e == nil && ctx.Err() != nil:
		return s.again(ctx, a, errSend, nil, err)
	case e == nil:
		return s.giveUp(a, errSend, nil, err)
	}
	return s.refused(ctx, a, e, err)
}

// refused decides the outcome of a mail that the server did not take for certain. Trouble
// that is not of this mail costs no attempt: a fault before the first command about the mail,
// and a server that defers or refuses all mails.
func (s *Service) refused(ctx context.Context, a *attempt, e *mail.SendError, err error) (Result, error) {
	switch {
	case e.ConfigurationFault():
		return s.putOff(ctx, a, "mail server refuses this service", s.pauses.configuration(a, e), e, err)
	case e.Quota():
		return s.putOff(ctx, a, "mail server takes no more mails for now", s.pauses.quota(a), e, err)
	case e.Throttled(), e.Code == 421:
		s.limiter.slow(ctx, a, e)
		return s.putOff(ctx, a, "mail server puts this service off", s.pauses.throttled(a, e), e, err)
	case !concernsMail(e) && e.Retryable():
		return s.free(ctx, a, reply("mail server did not take the mail", e), s.pauses.outage(a), e, err)
	case e.Code == 0 && ctx.Err() == nil && a.breaksFree(&s.taken):
		return s.free(ctx, a, reply("mail server did not take the mail", e), s.pauses.outage(a), e, err, a.brokenAgain()...)
	case e.Retryable() && e.Code >= 500:
		return s.again(ctx, a, reply("mail refused", e), e, err)
	case e.Retryable():
		return s.again(ctx, a, reply("mail server did not take the mail", e), e, err)
	case e.AddressFault():
		return s.giveUp(a, reply("recipient address refused", e), e, err)
	default:
		return s.giveUp(a, reply("mail refused", e), e, err)
	}
}

// putOff retries the mail without counting a retry, after an answer that may concern all mails.
// If the answers concern this mail, it is given up after Config.GiveUpAfter.
func (s *Service) putOff(ctx context.Context, a *attempt, text string, pause time.Duration, e *mail.SendError, err error) (Result, error) {
	if !a.isDeferredAlone(e, &s.taken) {
		return s.free(ctx, a, reply(text, e), pause, e, err)
	}
	left := s.cfg.GiveUpAfter - a.deferred()
	if left <= 0 && endedByEngine(ctx) == nil {
		return s.giveUp(a, reply("mail server has put the mail off for too long", e), e, err)
	}
	pause = min(pause, max(left, time.Second))
	return s.free(ctx, a, reply(text, e), pause, e, err, a.deferredAgain(pause)...)
}

// isDeferredAlone reports whether a server that can take mails puts this one off: it has taken
// the sender, and answers so about the recipient or the mail. A refusal of the sender or of the
// account, which all mails have, counts only if the relay takes other mails meanwhile.
func (a *attempt) isDeferredAlone(e *mail.SendError, relay *lastTaken) bool {
	switch {
	case a.urgent(), e.Code < 400, !concernsMail(e):
		return false // an urgent mail ends with its lifetime
	case e.Command == "MAIL", e.ConfigurationFault() && !e.BlamesMail():
		return relay.since(a.task.HeaderTime(deferredAtHeader))
	}
	return true
}

// concernsMail reports whether the failed command was about this mail.
func concernsMail(e *mail.SendError) bool {
	switch e.Command {
	case "MAIL", "RCPT", "DATA", "BODY", ".":
		return true
	}
	return false
}

// unsure settles an attempt that sent the end of data and got no answer. e is nil if the run
// ended before the answer was due.
func (s *Service) unsure(a *attempt, e *mail.SendError, err error) (Result, error) {
	m, _ := a.guard.sent()
	copies := max(m.copies, a.copiesBefore()+1)
	if s.sendsAgain(a) && copies < mostCopies && !a.task.LastAttempt() {
		// The copy has the same Message-ID and Date, so that mail programs recognise
		// it. There is one copy: otherwise a server that never answers here would
		// deliver one with every retry.
		a.task.EndMark(mark{phase: markUnknown, copies: copies, at: a.now}.String())
		pause := s.pauses.retry(a, e)
		a.keepNames()
		s.history.end(a, ending{state: ledger.Unknown, reason: errUnsure, next: pause, e: e})
		return Result{}, s.retry(a, errUnsure, worker.RetryError{Err: err, Countdown: pause, Headers: a.headers(worker.TimeHeader(unsureHeader, a.now))})
	}
	// A second copy of another mail is worse than a late mail: a person decides
	// about the dead letter.
	return s.giveUp(a, errUnsure, e, err)
}

// afterUnknown settles an attempt that found the mark of an earlier run, which may have
// delivered the mail.
func (s *Service) afterUnknown(ctx context.Context, a *attempt, earlier *earlierError, err error) (Result, error) {
	if earlier.wait > 0 {
		return s.later(ctx, a, ending{state: ledger.Queued, reason: errEarlier, next: earlier.wait}, err, worker.TimeHeader(earlierHeader, a.now))
	}
	return s.giveUp(a, errUnsure, nil, err)
}

// unavailable puts a mail back while a circuit breaker is open. An ordinary mail keeps its
// place in the queue. An urgent one is parked, so that it can expire in time. So is a mail that
// only a relay with an open one can take: the others are sent meanwhile, so its queue is not
// held, and at the front of it the mail would be claimed again at once.
func (s *Service) unavailable(ctx context.Context, a *attempt, text string, open *breaker.OpenError, err error) (Result, error) {
	until := open.Next.Sub(s.cfg.Now())
	e, _ := errors.AsType[*mail.SendError](err)
	if a.urgent() || e != nil && e.Relay != "" {
		return s.park(ctx, a, text, a.inTime(later(max(until, urgentOutageLeast))), nil, err)
	}
	if cause := endedByEngine(ctx); cause != nil {
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	s.history.end(a, ending{state: ledger.Queued, reason: text, next: max(until, 0), e: e})
	a.log.DebugContext(ctx, "mail given back, no retry spent", "kind", a.data.Kind(), "error", err)
	return Result{}, worker.GiveBack(&failure{text: text, err: err})
}

// leftBehind settles an attempt whose handler has not returned by the hard time limit.
func (s *Service) leftBehind(a *attempt) error {
	if !a.guard.leave() {
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
	s.history.observePanic()
	a.log.ErrorContext(ctx, "mail delivery panicked", "kind", a.data.Kind(), "error", err, "stack", string(debug.Stack()))
	if _, sent := a.guard.sent(); sent {
		return s.unsure(a, nil, err)
	}
	return s.again(ctx, a, errInternal, nil, err)
}

// again retries the mail, or gives up after the last attempt. e is the reply of the mail
// server, nil without one.
func (s *Service) again(ctx context.Context, a *attempt, text string, e *mail.SendError, err error) (Result, error) {
	if cause := endedByEngine(ctx); cause != nil {
		a.guard.withdraw(a.task)
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	if a.task.LastAttempt() {
		return s.giveUp(a, text, e, err)
	}
	pause := s.pauses.retry(a, e)
	if a.outlives(pause) {
		return s.expired(a, errExpired, text), nil
	}
	a.guard.withdraw(a.task)
	s.history.end(a, ending{state: ledger.Deferred, reason: text, next: pause, e: e})
	return Result{}, s.retry(a, text, worker.RetryError{Err: err, Countdown: pause, Headers: a.headers()})
}

func (s *Service) retry(a *attempt, text string, r worker.RetryError) error {
	a.log.Warn("mail will be retried", "kind", a.data.Kind(), "retries", a.task.Retries, "error", r.Err)
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
func (s *Service) free(ctx context.Context, a *attempt, text string, after time.Duration, e *mail.SendError, err error, more ...protocol.Header) (Result, error) {
	return s.later(ctx, a, ending{state: untaken(e), reason: text, next: after, e: e}, err, more...)
}

// park retries the mail later without counting a retry. The mail was not tried.
func (s *Service) park(ctx context.Context, a *attempt, text string, after time.Duration, e *mail.SendError, err error) (Result, error) {
	return s.later(ctx, a, ending{state: ledger.Queued, reason: text, next: after, e: e}, err)
}

func (s *Service) later(ctx context.Context, a *attempt, end ending, err error, more ...protocol.Header) (Result, error) {
	if cause := endedByEngine(ctx); cause != nil {
		a.guard.withdraw(a.task)
		return Result{}, fmt.Errorf("%s: %w", end.reason, cause)
	}
	if a.outlives(end.next) {
		return s.expired(a, errExpired, end.reason), nil
	}
	a.guard.withdraw(a.task)
	s.history.end(a, end)
	level := slog.LevelWarn
	if _, ok := errors.AsType[*breaker.OpenError](err); ok {
		level = slog.LevelDebug // the breaker has logged the outage
	}
	a.log.Log(ctx, level, "mail deferred, no retry spent", "kind", a.data.Kind(), "pause", end.next.Seconds(), "error", err)
	return Result{}, &worker.RetryError{Err: &failure{text: end.reason, err: err}, Free: true, Countdown: end.next, Headers: a.headers(more...)}
}

// giveUp ends the task with an answer. The message becomes a dead letter.
func (s *Service) giveUp(a *attempt, text string, e *mail.SendError, err error) (Result, error) {
	a.guard.settle(a.task)
	if text == errUnsure {
		a.endUnsure()
	} else {
		a.endNotSent()
	}
	s.history.end(a, ending{state: stateOf(text, e), reason: text, e: e})
	a.log.Error("mail given up", "kind", a.data.Kind(), "retries", a.task.Retries, "reason", text, "error", err)
	return Result{}, worker.GiveUp(s.result(Result{Error: text, UserID: a.userID}), text)
}

// stateOf returns the state of a mail that was given up.
func stateOf(text string, e *mail.SendError) ledger.State {
	switch {
	case text == errUnsure:
		return ledger.Unknown
	case e != nil && !e.Retryable():
		return ledger.Rejected
	}
	return ledger.Dead
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
