package tasks

import (
	"context"
	"errors"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
)

// Suppressions tells which addresses get no mail. [suppressions.Checker] is one.
type Suppressions interface {
	// Check returns the suppression that keeps a mail from being sent, nil for none. The
	// error says that the question could not be answered in a short time. It is logged
	// already.
	Check(ctx context.Context, q suppressions.Question) (*suppressions.Suppression, error)
}

// checkSuppression asks whether the address gets mails of this kind. If not, it returns the
// answer and true. A question that cannot be answered keeps no mail from its reader. A mail
// that may have been delivered before is not called suppressed.
func (s *Service) checkSuppression(ctx context.Context, a *attempt) (answer Result, withheld bool) {
	if s.cfg.Suppressions == nil || a.copiesBefore() > 0 {
		return Result{}, false
	}
	ended := s.history.step(ctx, a, "suppressions")
	found, err := s.cfg.Suppressions.Check(ctx, suppressions.Question{Address: a.to, Optional: a.optional, Code: a.code != ""})
	ended(err)
	if err != nil {
		s.history.observeUnchecked()
		return Result{}, false
	}
	if found == nil {
		return Result{}, false
	}
	return s.suppressed(a, found), true
}

// suppressed returns the answer for a mail to an address that gets none. The message does not
// become a dead letter: to send it again is of no use before the suppression is released,
// and the producer learns the reason.
func (s *Service) suppressed(a *attempt, found *suppressions.Suppression) Result {
	a.guard.withdraw(a.task)
	a.endNotSent()
	why := string(found.Class) + " since " + found.First.UTC().Format("2006-01-02 15:04 UTC")
	s.history.end(a, ending{state: ledger.Suppressed, stage: stepSuppress, class: string(found.Class), reason: why})
	a.log.Warn("mail not sent, address is suppressed", "kind", a.data.Kind(), "class", found.Class, "since", found.First)
	return s.result(Result{Error: errSuppressed + ": " + why, UserID: a.userID})
}

// faultOfAddress returns what a reply says about the address, "" if it says nothing that may
// suppress it. It looks at each condition that can have another cause: a reply to a command
// that is not about this mail, a refusal of the sender, and a code of policy.
func faultOfAddress(e *mail.SendError) suppressions.Class {
	switch {
	case e.Code == 0, !concernsMail(e), e.Command == "MAIL", errors.Is(e.Err, mail.ErrAddress), errors.Is(e.Err, mail.ErrWithheld):
		return ""
	case e.ConfigurationFault(), e.Quota(), e.Throttled(), e.Greylisted, e.EnhancedCode[1] == 7:
		return ""
	}
	class := bounce.Classify(e.Code, enhanced(e), e.Text)
	permanent := e.Code >= 500
	switch {
	case class == bounce.MailboxFull:
		return suppressions.MailboxFull
	case class == bounce.BadDomain && permanent:
		return suppressions.BadDomain
	case class == bounce.BadAddress && e.AddressFault() && isOfAddress(e.EnhancedCode):
		return suppressions.BadAddress
	case (class == bounce.BadAddress || class == bounce.Unknown) && e.AddressFault() && e.Command == "RCPT":
		return suppressions.Unknown
	}
	return ""
}

// isOfAddress reports whether an enhanced code says that the mailbox does not exist.
func isOfAddress(code [3]int) bool {
	switch code {
	case [3]int{5, 1, 1}, [3]int{5, 1, 3}, [3]int{5, 1, 6}, [3]int{5, 1, 10}, [3]int{5, 2, 1}:
		return true
	}
	return false
}
