package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Error texts of results. The first two are the texts of the Python service, and producers
// may compare them.
const (
	errMissingData = "Missing required data"
	errNoRecipient = "User email not found"
	errExpired     = "expired"
	errReplaced    = "superseded"
	errLookup      = "user lookup failed"
	errNotAddress  = "recipient address is not usable"
	errRender      = "mail could not be made of this data"
	errUnsure      = "delivery unsure: no answer from the mail server"
	errSend        = "mail could not be sent"
	errEarlier     = "an earlier attempt may still be running"
	errHeld        = "broker could not be asked"
	errRelay       = "mail server is unavailable"
	errDatabase    = "database is unavailable"
	errBusy        = "no connection to the mail server was free"
	errBusyLookup  = "no connection to the database was free"
	errTimeLimit   = "time limit exceeded"
	errInternal    = "internal error"
	errSuppressed  = "recipient address is suppressed"
	errOther       = "another task may be sending this mail"
)

// delivery is one mail to one recipient.
type delivery struct {
	address string       // recipient; "" for the address of the user
	userID  protocol.Raw // nil if address is set

	data    templates.Mail
	missing bool     // a value is missing that data must have
	invalid error    // why no mail can be made of data; nil if it can
	leftOut []string // keys whose values are unreadable and not in data
	sent    Result   // fields of the result that only this task has, once the mail is sent
	secrets []string // texts of data that must appear in the mail only

	reference      string   // id of the booking or waitlist entry that the mail is about
	aliases        []string // further ids of the same booking
	optional       bool     // the recipient can do without mails of this kind
	code           string   // code that must still be valid when the mail is sent; "" for none
	writtenAddress string   // address as the producer wrote it, for the check of the code

	// lifetime is how long the mail is of use; 0 is no limit. A mail with a lifetime is
	// urgent: it is retried sooner, not sent after its lifetime, and sent a second time
	// if it is unknown whether it arrived.
	lifetime time.Duration
}

func (d *delivery) urgent() bool { return d.lifetime > 0 }

// deliver looks up the recipient, renders the mail and sends it, in this order: no mail is
// rendered without a recipient, and no connection waits for a template. Every run ends in one
// of the functions of outcome.go or deadline.go, or in an answer here.
func (s *Service) deliver(ctx context.Context, d delivery) (r Result, err error) {
	a := s.attempt(ctx, d)
	a.task.OnTimeLimit(func() error { return s.leftBehind(a) })
	defer func() {
		if v := recover(); v != nil {
			r, err = s.panicked(ctx, a, v)
		}
	}()
	switch {
	case a.missing:
		return s.refuse(a, errMissingData, stepArguments), nil
	case a.invalid != nil:
		return s.giveUp(a, a.invalid.Error(), nil, a.invalid)
	}
	if err := s.look(ctx, a); err != nil {
		return s.notSent(ctx, a, err)
	}
	if a.isLate(a.now) {
		return s.expired(a, errExpired, errExpired), nil
	}
	ended := s.history.timed(ctx, a, "lookup")
	a.to, err = s.recipient(ctx, a)
	ended(err)
	if err != nil {
		return s.noRecipient(ctx, a, err)
	}
	if err := s.occasions.look(ctx, a); err != nil {
		return s.notSent(ctx, a, err)
	}
	if answer, withheld := s.checkSuppression(ctx, a); withheld {
		return answer, nil
	}
	ended = s.history.timed(ctx, a, "render")
	body, err := s.render(ctx, a)
	ended(err)
	if err != nil {
		return s.notRendered(a, err)
	}
	// Before the limits: a code that is not sent must take no share of the rates.
	if answer, stale := s.checkCode(ctx, a); stale {
		return answer, nil
	}
	ended = s.history.step(ctx, a, "limits")
	wait := s.limiter.admit(ctx, a)
	ended(nil)
	if wait != nil {
		return s.throttled(ctx, a, wait)
	}
	receipt, err := s.transmit(ctx, a, body)
	if earlier, ok := errors.AsType[*dateError](err); ok {
		a.seen = earlier.date
		receipt, err = s.transmit(ctx, a, body)
	}
	if err != nil {
		return s.notSent(ctx, a, err)
	}
	return s.accepted(ctx, a, receipt), nil
}

// transmit hands the mail to the mail server.
func (s *Service) transmit(ctx context.Context, a *attempt, body templates.Rendered) (mail.Receipt, error) {
	sending, cancel := a.untilAnswered(ctx)
	defer cancel()
	return s.cfg.Mailer.Send(sending, mail.Message{
		To:      a.to,
		Subject: body.Subject,
		Text:    body.Text,
		HTML:    body.HTML,
		TaskID:  a.task.Fingerprint(),
		Kind:    string(a.data.Kind()),
		Date:    a.seen,
		Secrets: a.secrets,

		Wait:        a.wait,
		BeforeFinal: func(ctx context.Context) error { return s.finish(ctx, a) },
	})
}

// accepted returns the answer for a mail that the server has accepted.
func (s *Service) accepted(ctx context.Context, a *attempt, receipt mail.Receipt) Result {
	s.taken.note(s.cfg.Now())
	s.limiter.seen.note(domain(a.to), s.cfg.Now())
	a.guard.settle(a.task)
	a.endSent()
	s.history.end(a, ending{state: ledger.Accepted, receipt: receipt})
	a.log.InfoContext(ctx, "mail sent", "kind", a.data.Kind(), "to", mail.MaskAddress(a.to),
		"relay", receipt.Relay, "message_id", receipt.MessageID, "reply", receipt.Reply, "duration", receipt.Duration.Seconds())
	r := a.sent
	r.Success, r.UserID, r.Email = true, a.userID, a.to
	return s.result(r)
}

// delivered returns the answer for a mail that an earlier run has delivered, or another task: that
// of a mail that is sent. The event of an earlier run is in the history. The mail of this task
// ends there if another one has sent it, and if it has begun.
func (s *Service) delivered(a *attempt, by error) Result {
	text := "mail not sent, an earlier run has delivered it"
	if !errors.Is(by, errOtherSent) {
		a.endSent()
	} else {
		text = "mail not sent, another task has sent it"
		if !a.task.HeaderTime(firstSeenHeader).IsZero() && !a.isUnsure() {
			s.history.end(a, ending{state: ledger.Rejected, reason: errOtherSent.Error()})
		}
	}
	a.guard.settle(a.task)
	a.log.Info(text, "kind", a.data.Kind())
	r := a.sent
	r.Success, r.UserID, r.Email = true, a.userID, a.to
	return s.result(r)
}

// refuse returns the answer for a task that is no mail: an answer, not an error, because
// producers expect one. The message does not become a dead letter.
func (s *Service) refuse(a *attempt, text, step string) Result {
	a.endNotSent()
	s.history.end(a, ending{state: ledger.Rejected, reason: text, stage: step})
	return s.result(Result{Error: text, UserID: a.userID})
}

// noRecipient decides the outcome of a mail without an address to send to. A database that
// is unavailable costs no attempt.
func (s *Service) noRecipient(ctx context.Context, a *attempt, err error) (Result, error) {
	if bad, ok := errors.AsType[*dataError](err); ok {
		return s.giveUp(a, bad.Error(), nil, bad)
	}
	if open, ok := errors.AsType[*breaker.OpenError](err); ok {
		return s.unavailable(ctx, a, errDatabase, open, err)
	}
	if fault, ok := errors.AsType[*store.AccessError](err); ok {
		return s.park(ctx, a, errLookup+": "+fault.Words, s.pauses.lookup(a, fault), nil, err)
	}
	switch {
	case errors.Is(err, store.ErrNoUser):
		return s.refuse(a, errNoRecipient, stepLookup), nil
	case errors.Is(err, worker.ErrWaited):
		return s.park(ctx, a, errBusyLookup, a.inTime(spread(busyPause)), nil, err)
	}
	return s.park(ctx, a, errLookup, s.pauses.outage(a), nil, err)
}

// render makes the mail.
func (s *Service) render(ctx context.Context, a *attempt) (templates.Rendered, error) {
	body, err := s.cfg.Templates.Render(a.data)
	if err != nil {
		return body, err
	}
	if body.LinkLeftOut {
		s.linkLeftOut.Do(func() {
			a.log.WarnContext(ctx, "link left out of mail: its host is not in SITE_URL or LINK_HOSTS; logged once", "kind", a.data.Kind())
		})
	}
	if len(a.leftOut) > 0 {
		a.log.WarnContext(ctx, "values left out of mail: unreadable", "kind", a.data.Kind(), "keys", a.leftOut)
	}
	return body, nil
}

// notRendered decides the outcome of a mail that could not be made.
func (s *Service) notRendered(a *attempt, err error) (Result, error) {
	if _, ok := errors.AsType[*worker.RejectError](err); ok {
		return Result{}, err
	}
	return s.giveUp(a, errRender, nil, err)
}

// recipient returns the address to send to. For an id that is missing, or a text that is no
// number, it returns store.ErrNoUser. For an id of another type it returns a *dataError.
func (s *Service) recipient(ctx context.Context, a *attempt) (string, error) {
	if a.userID == nil {
		return a.address, nil
	}
	id, ok := integer(a.userID)
	if !ok {
		if _, isText := scalar(a.userID); isText && !isNumber(a.userID) || isBlank(a.userID) {
			return "", store.ErrNoUser
		}
		return "", &dataError{key: "user_id", want: "a number"}
	}
	if s.acquirer != nil {
		release, err := s.acquirer.Acquire(ctx, a.wait)
		if err != nil {
			return "", err
		}
		defer release()
	}
	email, err := s.cfg.Users.Email(ctx, id)
	return mail.TidyAddress(email), err
}
