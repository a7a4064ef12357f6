package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/templates"
)

// Codes tells which codes are still of use. [codes.Reader] is one.
type Codes interface {
	// Code returns the code that the auth service expects for an address, which is as
	// that service wrote it. ok is false if it expects none: the code was used, or has
	// expired. The error says that the question could not be answered. It has neither an
	// address nor a code in it.
	Code(ctx context.Context, address string) (code string, ok bool, err error)
}

// errLate is the error of a mail that was withheld because it is of no use any more.
var errLate = errors.New("mail is of no use any more")

// deadline returns the time after which the mail is of no use, the zero time for none: the
// end of its lifetime, or the time at which its message expires.
func (a *attempt) deadline() time.Time {
	end := a.task.Expires
	if a.urgent() {
		from := a.seen
		if at := a.task.SetAside(); !at.IsZero() && at.Before(from) {
			from = at // it became a dead letter before a retry could add firstSeenHeader
		}
		if at := from.Add(a.lifetime); end.IsZero() || at.Before(end) {
			end = at
		}
	}
	return end
}

// isLate reports whether the mail is of no use any more at a time.
func (a *attempt) isLate(at time.Time) bool {
	end := a.deadline()
	return !end.IsZero() && at.After(end)
}

// inTime shortens a pause that ends after the lifetime of the mail, so that the producer
// learns in time that the mail has expired.
func (a *attempt) inTime(pause time.Duration) time.Duration {
	if !a.urgent() {
		return pause
	}
	return max(min(pause, a.deadline().Sub(a.now)+time.Second), time.Second)
}

// outlives reports whether a pause ends after the message has expired. The engine would then
// revoke the retry, and nothing would tell that the mail was not sent.
func (a *attempt) outlives(pause time.Duration) bool {
	return !a.task.Expires.IsZero() && a.now.Add(pause).After(a.task.Expires)
}

// checkCode asks whether the code in the mail is still of use. If not, it returns the answer
// and true. A question that cannot be answered keeps no code from its reader.
func (s *Service) checkCode(ctx context.Context, a *attempt) (answer Result, stale bool) {
	if a.code == "" || s.cfg.Codes == nil {
		return Result{}, false
	}
	ended := s.history.step(ctx, a, "code check")
	valid, ok, err := s.cfg.Codes.Code(ctx, a.writtenAddress)
	ended(err)
	switch {
	case err != nil:
		s.codeUnchecked.Do(func() {
			a.log.WarnContext(ctx, "code sent although its validity could not be checked; logged once", "kind", a.data.Kind(), "error", err)
		})
	case !ok:
		return s.expired(a, errExpired, "code is used or expired"), true
	case templates.Bare(valid) != a.code:
		return s.expired(a, errReplaced, "a newer code was made"), true
	}
	return Result{}, false
}

// expired returns the answer for a mail that is of no use any more. The message does not
// become a dead letter: a person could not help either, and after an outage there are many.
func (s *Service) expired(a *attempt, text, reason string) Result {
	a.guard.withdraw(a.task)
	a.endNotSent()
	s.history.end(a, ending{state: ledger.Expired, reason: reason})
	a.log.Warn("mail expired, not sent", "kind", a.data.Kind(), "retries", a.task.Retries, "reason", reason)
	return s.result(Result{Error: text, UserID: a.userID})
}
