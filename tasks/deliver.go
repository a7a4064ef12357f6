package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
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
	errLookup      = "user lookup failed"
	errNotAddress  = "recipient address is not usable"
	errRender      = "mail could not be made of this data"
	errUnsure      = "delivery unsure: no answer from the mail server"
	errSend        = "mail could not be sent"
	errHeld        = "broker could not be asked"
	errBusy        = "no connection to the mail server was free"
	errBusyLookup  = "no connection to the database was free"
	errTimeLimit   = "time limit exceeded"
	errInternal    = "internal error"
)

// delivery is one mail to one recipient.
type delivery struct {
	address string       // recipient; "" for the address of the user
	userID  protocol.Raw // nil if address is set

	data    templates.Mail
	invalid error    // why no mail can be made of data; nil if it can
	leftOut []string // keys whose values are unreadable and not in data
	sent    Result   // fields of the result that only this task has, once the mail is sent
	secrets []string // texts of data that must appear in the mail only

	// lifetime is how long the mail is of use; 0 is no limit. A mail with a lifetime is
	// urgent: it is retried sooner, not sent after its lifetime, and sent a second time
	// if it is unknown whether it arrived.
	lifetime time.Duration
}

func (d *delivery) urgent() bool { return d.lifetime > 0 }

// deliver looks up the recipient, renders the mail and sends it, in this order: no mail is
// rendered without a recipient, and no connection waits for a template.
func (s *Service) deliver(ctx context.Context, d delivery) (r Result, err error) {
	a := s.attempt(ctx, d)
	a.task.OnTimeLimit(func() error { return s.leftBehind(a) })
	defer func() {
		if v := recover(); v != nil {
			r, err = s.panicked(ctx, a, v)
		}
	}()
	if d.invalid != nil {
		return s.giveUp(a, d.invalid.Error(), d.invalid)
	}
	if a.expired() {
		return s.expired(a), nil
	}
	to, err := s.recipient(ctx, a)
	if bad, ok := errors.AsType[*dataError](err); ok {
		return s.giveUp(a, bad.Error(), bad)
	}
	if errors.Is(err, store.ErrNoUser) {
		return s.result(Result{Error: errNoRecipient, UserID: d.userID}), nil
	}
	if fault, ok := errors.AsType[*store.AccessError](err); ok {
		return s.free(ctx, a, errLookup+": "+fault.Words, s.lookupPause(a), err)
	}
	if errors.Is(err, worker.ErrWaited) {
		return s.free(ctx, a, errBusyLookup, a.inTime(spread(busyPause)), err)
	}
	if err != nil {
		return s.again(ctx, a, errLookup, nil, err)
	}
	body, err := s.cfg.Templates.Render(d.data)
	if _, ok := errors.AsType[*worker.RejectError](err); ok {
		return Result{}, err
	}
	if err != nil {
		return s.giveUp(a, errRender, err)
	}
	if body.LinkLeftOut {
		s.linkLeftOut.Do(func() {
			s.logger(a.task).WarnContext(ctx, "link left out of mail: its host is not in SITE_URL or LINK_HOSTS; logged once", "kind", d.data.Kind())
		})
	}
	if len(d.leftOut) > 0 {
		s.logger(a.task).WarnContext(ctx, "values left out of mail: unreadable", "kind", d.data.Kind(), "keys", d.leftOut)
	}
	receipt, err := s.cfg.Mailer.Send(ctx, mail.Message{
		To:      to,
		Subject: body.Subject,
		Text:    body.Text,
		HTML:    body.HTML,
		TaskID:  a.task.Fingerprint(),
		Kind:    string(d.data.Kind()),
		Date:    a.seen,
		Secrets: d.secrets,

		Wait:        a.wait,
		BeforeFinal: a.finish,
	})
	if err != nil {
		return s.notSent(ctx, a, err)
	}
	s.logger(a.task).InfoContext(ctx, "mail sent", "kind", d.data.Kind(), "to", mail.MaskAddress(to),
		"message_id", receipt.MessageID, "reply", receipt.Reply, "duration", receipt.Duration.Seconds())
	r = d.sent
	r.Success, r.UserID, r.Email = true, d.userID, to
	return s.result(r), nil
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
