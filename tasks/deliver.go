package tasks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Error texts of results. Producers may compare the first two; they are those
// of the Python service.
const (
	errMissingData = "Missing required data"
	errNoRecipient = "User email not found"
	errLookup      = "user lookup failed"
	errNotAddress  = "recipient address is not usable"
	errRender      = "mail could not be made of this data"
	errUnsure      = "delivery unsure: no answer from the mail server"
	errSend        = "mail could not be sent"
	errHeld        = "broker could not be asked"
)

// delivery is one mail to one recipient.
type delivery struct {
	address string       // recipient; "" means that of the user
	userID  protocol.Raw // nil when the address is given

	data    templates.Mail
	invalid error    // why data cannot be used, if it cannot
	sent    Result   // the result once the mail is sent, as far as it is the task's own
	secrets []string // texts of data that stand in the mail and nowhere else

	// urgent mails are worthless when late. When it is not known whether one
	// arrived it is sent once more: a second copy is better than none.
	urgent bool
}

// deliver looks up, renders and sends, in this order: nothing is rendered for
// nobody, and no connection waits for a template.
func (s *Service) deliver(ctx context.Context, d delivery) (Result, error) {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		t = &worker.Task{} // no retries outside of a worker
	}
	if d.invalid != nil {
		return s.giveUp(t, d, d.invalid.Error(), d.invalid)
	}
	to, err := s.recipient(ctx, d)
	if errors.Is(err, store.ErrNoUser) {
		return s.result(Result{Error: errNoRecipient, UserID: d.userID}), nil
	}
	if err != nil {
		return s.again(ctx, t, d, errLookup, err)
	}
	body, err := s.cfg.Templates.Render(d.data)
	if err != nil {
		return s.giveUp(t, d, errRender, err)
	}
	if err := t.Held(ctx); errors.Is(err, worker.ErrLost) {
		return Result{}, err
	} else if err != nil {
		return s.free(ctx, t, d, errHeld, 0, err)
	}
	receipt, err := s.cfg.Mailer.Send(ctx, mail.Message{
		To:      to,
		Subject: body.Subject,
		Text:    body.Text,
		HTML:    body.HTML,
		TaskID:  t.ID,
		Kind:    string(d.data.Kind()),
		Date:    s.cfg.Now(),
		Secrets: d.secrets,
	})
	if err != nil {
		return s.notSent(ctx, t, d, err)
	}
	s.logger(t).InfoContext(ctx, "mail sent", "kind", d.data.Kind(), "to", mail.MaskAddress(to),
		"message_id", receipt.MessageID, "reply", receipt.Reply, "duration", receipt.Duration)
	r := d.sent
	r.Success, r.UserID, r.Email = true, d.userID, to
	return s.result(r), nil
}

// recipient returns the address to send to. An id that is no number belongs to
// nobody.
func (s *Service) recipient(ctx context.Context, d delivery) (string, error) {
	if d.userID == nil {
		return d.address, nil
	}
	id, ok := integer(d.userID)
	if !ok {
		return "", store.ErrNoUser
	}
	return s.cfg.Users.Email(ctx, id)
}

// notSent decides what becomes of a mail that the server did not take, or not
// for certain.
func (s *Service) notSent(ctx context.Context, t *worker.Task, d delivery, err error) (Result, error) {
	e, ok := errors.AsType[*mail.SendError](err)
	switch {
	case !ok && errors.Is(err, mail.ErrAddress), ok && errors.Is(e.Err, mail.ErrAddress):
		return s.giveUp(t, d, errNotAddress, err)
	case !ok:
		return s.giveUp(t, d, errSend, err)
	case e.Command == "COMPOSE":
		return s.giveUp(t, d, errRender, err)
	case e.Unknown() && d.urgent && t.Retries == 0 && !t.LastAttempt():
		// The Message-ID is made of the task id, so the copy can be told as one.
		// Only after the first attempt: a server that never answers here would
		// otherwise send a copy with every retry.
		return Result{}, s.retry(t, d, errUnsure, err)
	case e.Unknown():
		// A second copy of the others is worse than a late one: a person
		// decides, from the dead letters.
		return s.giveUp(t, d, errUnsure, err)
	case e.ConfigurationFault():
		return s.free(ctx, t, d, reply("mail server refuses this service", e), s.configurationDelay(), err)
	case e.Retryable():
		return s.again(ctx, t, d, reply("mail server did not take the mail", e), err)
	case e.AddressFault():
		return s.giveUp(t, d, reply("recipient address refused", e), err)
	default:
		return s.giveUp(t, d, reply("mail refused", e), err)
	}
}

// again retries, or gives up after the last attempt.
func (s *Service) again(ctx context.Context, t *worker.Task, d delivery, text string, err error) (Result, error) {
	// The attempt was cut off: what becomes of the task is the engine's
	// business, and no fault of the mail.
	if cause := context.Cause(ctx); cause != nil {
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	if t.LastAttempt() {
		return s.giveUp(t, d, text, err)
	}
	return Result{}, s.retry(t, d, text, err)
}

// free retries without spending an attempt, for faults that all mails share.
func (s *Service) free(ctx context.Context, t *worker.Task, d delivery, text string, after time.Duration, err error) (Result, error) {
	if cause := context.Cause(ctx); cause != nil {
		return Result{}, fmt.Errorf("%s: %w", text, cause)
	}
	s.logger(t).ErrorContext(ctx, "mail waits for a fault that is not its own to be mended", "kind", d.data.Kind(), "error", err)
	return Result{}, &worker.RetryError{Err: &failure{text: text, err: err}, Free: true, Countdown: after}
}

func (s *Service) retry(t *worker.Task, d delivery, text string, err error) error {
	s.logger(t).Warn("mail will be retried", "kind", d.data.Kind(), "retries", t.Retries, "error", err)
	return worker.Retry(&failure{text: text, err: err})
}

// giveUp ends the task with an answer and leaves the message to a person.
func (s *Service) giveUp(t *worker.Task, d delivery, text string, err error) (Result, error) {
	s.logger(t).Error("mail given up", "kind", d.data.Kind(), "retries", t.Retries, "reason", text, "error", err)
	return Result{}, worker.GiveUp(s.result(Result{Error: text, UserID: d.userID}), text)
}

// configurationDelay is the pause before a server that refuses our login is
// tried again with the same mail: longer than a retry, as somebody has to do
// something first, and too many refused logins get an account locked.
func (s *Service) configurationDelay() time.Duration {
	const factor = 5
	spread := 1 + jitter*(2*rand.Float64()-1)
	return time.Duration(factor * spread * float64(s.cfg.RetryDelay))
}

// reply adds what producers may know of the server's answer: its codes and the
// command, none of its words.
func reply(text string, e *mail.SendError) string {
	stage := e.Command
	if stage == "." {
		stage = "end of data"
	}
	switch c := e.EnhancedCode; {
	case e.Code == 0:
		return fmt.Sprintf("%s: no answer at %s", text, stage)
	case c == [3]int{}:
		return fmt.Sprintf("%s: %d at %s", text, e.Code, stage)
	default:
		return fmt.Sprintf("%s: %d %d.%d.%d at %s", text, e.Code, c[0], c[1], c[2], stage)
	}
}

// failure is the error of an attempt as the producer sees it in the state
// RETRY. The cause is for logs, where Unwrap finds it.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }
