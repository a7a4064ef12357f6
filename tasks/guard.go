package tasks

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// The guard keeps a mail from being sent twice. Directly before the end of a mail it sets a
// mark of the task in the broker, which is set only while this worker holds the message, and
// which outlives the process. A run that finds the mark of an earlier one knows that the mail
// may have been delivered: the earlier worker died after the end of the mail, or the answer of
// the mail server got lost. The end of a run removes its mark, unless the outcome is unknown.

// UnknownPolicy selects what happens to a mail that may or may not have been delivered.
type UnknownPolicy string

// The policies.
const (
	// HoldUnknown does not send the mail again. The message becomes a dead letter: a
	// person decides, or a delivery status notification.
	HoldUnknown UnknownPolicy = "hold"
	// ResendUnknown sends the mail once more, with the same Message-ID and Date, so that
	// mail programs recognise the copy.
	ResendUnknown UnknownPolicy = "resend"
)

const (
	// heldPatience is how long the broker is asked whether this worker still holds the
	// message. The relay waits for the end of the mail in the meantime, Postfix under
	// stress for ten seconds.
	heldPatience = 8 * time.Second
	// heldAgain and heldAgainMost are the first and the longest pause between two
	// questions.
	heldAgain, heldAgainMost = 50 * time.Millisecond, time.Second

	// replyMargin is added to the longest wait for the answer to the end of a mail, for
	// clocks that differ and for a worker that is slow to store the outcome.
	replyMargin = 10 * time.Second
)

// mark is the mark of a mail.
type mark struct {
	phase  string
	copies int // sent so far, with the one that is being sent
	at     time.Time
	date   time.Time // of the mail; zero: the mark does not tell
}

// Phases of a mark.
const (
	markSending = "sending" // the end of the mail is sent, or was sent by a worker that died
	markUnknown = "unknown" // it was sent, and the run ended without an answer

	markNone = "none" // a whole mark: the mail was not sent after all
)

func (m mark) String() string {
	text := m.phase + " " + strconv.Itoa(m.copies) + " " + protocol.FormatTime(m.at)
	if m.date.IsZero() {
		return text
	}
	return text + " " + protocol.FormatTime(m.date)
}

// parseMark reads a mark. One that it cannot read counts as that of the last copy, which is
// followed by no other.
func parseMark(text string) mark {
	unreadable := mark{phase: markUnknown, copies: mostCopies}
	fields := strings.Fields(text)
	if len(fields) < 3 || len(fields) > 4 || fields[0] != markSending && fields[0] != markUnknown {
		return unreadable
	}
	copies, err := strconv.Atoi(fields[1])
	at, timeErr := protocol.ParseTime(fields[2])
	if err != nil || timeErr != nil {
		return unreadable
	}
	m := mark{phase: fields[0], copies: copies, at: at}
	if len(fields) == 4 {
		if m.date, err = protocol.ParseTime(fields[3]); err != nil {
			return unreadable
		}
	}
	return m
}

// mostCopies is the number of times that a mail is sent at most.
const mostCopies = 2

// look asks what an earlier run of a redelivered message has left, before the mail is made: the
// copy gets the Date of the first one, and a mail that must not be sent again is not begun. The
// errors are those of afterEarlier, errDelivered and those of ask.
func (s *Service) look(ctx context.Context, a *attempt) error {
	if !a.task.Redelivered && a.task.SetAside().IsZero() && a.task.HeaderTime(earlierHeader).IsZero() {
		return nil
	}
	before, err := s.ask(ctx, a, "")
	switch {
	case err != nil:
		return err
	case before == "":
		return nil
	case before == worker.MarkSettled:
		return errDelivered
	}
	earlier := parseMark(before)
	if !earlier.date.IsZero() {
		a.seen = earlier.date
	}
	again, err := s.sentAgain(a, earlier, s.cfg.Now())
	if again {
		a.earlier = earlier
	}
	return err
}

// finish returns nil if the end of the mail may be sent. It is called directly before that.
// After an error the mail is not delivered.
func (s *Service) finish(ctx context.Context, a *attempt) error {
	if a.isLate(s.cfg.Now()) {
		return errLate
	}
	if err := s.occasions.hold(ctx, a); err != nil {
		if len(a.occurrences) > 1 && !isUnasked(err) {
			_, _ = s.ask(ctx, a, "") // without an answer the names that it has set stay
		}
		return err
	}
	m := mark{phase: markSending, copies: a.copiesBefore() + 1, at: s.cfg.Now(), date: a.seen}
	var unknown []broker.Entry
	if a.earlier != (mark{}) {
		unknown = s.history.unknown(a)
	}
	before, err := s.mark(ctx, a, m, unknown...)
	if err == nil && before == worker.MarkSettled {
		err = errDelivered
	} else if err == nil && before != "" {
		err = s.afterEarlier(ctx, a, parseMark(before), m)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		s.unmark(ctx, a, before, s.history.cutShort(a, before)...)
		return context.Cause(ctx)
	}
	if !a.guard.final() {
		return worker.ErrTimeLimit
	}
	return nil
}

// untilAnswered returns a context for the delivery. It ends with ctx, except if the message is
// lost after the end of the mail was sent: then the answer is still worth knowing, and the
// Mailer bounds the wait for it.
func (a *attempt) untilAnswered(ctx context.Context) (context.Context, context.CancelFunc) {
	delivery, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if _, sent := a.guard.sent(); !sent || !errors.Is(cause, worker.ErrLost) {
			cancel(cause)
		}
	})
	return delivery, func() {
		stop()
		cancel(nil)
	}
}

// unmark brings back the mark of an earlier run, because this run has not sent the mail and may
// be cut short, and the end of such a run ends no mark.
func (s *Service) unmark(ctx context.Context, a *attempt, before string, entries ...broker.Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heldAgainMost)
	defer cancel()
	if _, err := a.task.Mark(ctx, cmp.Or(before, markNone), entries...); err != nil && !errors.Is(err, worker.ErrLost) {
		a.log.WarnContext(ctx, "mark of a mail stays although the mail was not sent", "kind", a.data.Kind(), "error", err)
	}
}

// afterEarlier decides about a mail that an earlier run may have delivered. It returns nil
// if the mail is sent once more. Otherwise the error is an *earlierError, or a *dateError if it
// has to be composed with another Date first.
func (s *Service) afterEarlier(ctx context.Context, a *attempt, earlier, m mark) error {
	if again, err := s.sentAgain(a, earlier, m.at); err != nil || !again {
		return err
	}
	if !earlier.date.IsZero() && earlier.date.Unix() != a.seen.Unix() {
		s.unmark(ctx, a, earlier.String()) // this run has sent nothing yet
		return &dateError{date: earlier.date}
	}
	if m.copies != earlier.copies+1 {
		m.copies = earlier.copies + 1
		if _, err := s.mark(ctx, a, m, s.history.unknown(a)...); err != nil {
			return err
		}
	}
	a.log.WarnContext(ctx, "mail sent once more, outcome of the first time unknown", "kind", a.data.Kind(), "first", earlier.at)
	return nil
}

// sentAgain reports whether the mail is a copy of one that an earlier run may have delivered. It
// is no copy if a person has retried the dead letter, who knows of the earlier one. The error is
// an *earlierError if the mail must not be sent.
func (s *Service) sentAgain(a *attempt, earlier mark, now time.Time) (bool, error) {
	if !earlier.at.IsZero() && earlier.at.Before(a.task.SetAside()) {
		return false, nil
	}
	if wait := s.stillRunning(a, earlier, now); wait > 0 {
		return false, &earlierError{wait: wait}
	}
	if earlier.copies >= mostCopies || !s.sendsAgain(a) {
		return false, &earlierError{}
	}
	return true, nil
}

// sendsAgain reports whether mails of this kind are sent once more if their outcome is
// unknown.
func (s *Service) sendsAgain(a *attempt) bool {
	return a.urgent() || s.cfg.UnknownPolicy == ResendUnknown
}

// stillRunning returns how long the worker of an earlier mark may still wait for the answer
// of the mail server. Such a worker has lost its claim, because it was frozen or cut off
// from the broker, and can still store that the mail was sent. An urgent mail does not wait
// for it: its reader is waiting, and it would be sent once more after most such waits.
func (s *Service) stillRunning(a *attempt, earlier mark, now time.Time) time.Duration {
	if earlier.phase != markSending || a.urgent() {
		return 0
	}
	longest := s.cfg.ReplyTimeout + replyMargin
	age := now.Sub(earlier.at)
	if age < -longest { // clocks do not differ that much: the mark is wrong
		return 0
	}
	return min(longest-age, longest)
}

// copiesBefore returns how often the mail may have been sent before this run, by the mark that
// it has found at its beginning, and by its headers.
func (a *attempt) copiesBefore() int {
	if a.task.HeaderTime(unsureHeader).IsZero() {
		return a.earlier.copies
	}
	return max(a.earlier.copies, 1)
}

// isUnsure reports whether an earlier run may have delivered the mail, as far as this run knows.
func (a *attempt) isUnsure() bool {
	return a.copiesBefore() > 0 || a.guard.isUnsure()
}

// dateError says that an earlier run may have delivered the mail with another Date. The message
// of a worker that died does not tell when that worker first saw it, but its mark does. A
// redelivered message has looked for it, but a retry by a Python worker is not marked as one.
type dateError struct{ date time.Time }

func (e *dateError) Error() string { return "an earlier run has sent the mail with another Date" }

// errDelivered is the error of a mail that an earlier run has delivered. That run had lost its
// message, and stored its SUCCESS all the same.
var errDelivered = errors.New("mail was delivered by an earlier run")

// earlierError says that an earlier run may have delivered the mail.
type earlierError struct {
	wait time.Duration // how long that run may still tell the outcome; 0: it does not
}

func (e *earlierError) Error() string {
	if e.wait > 0 {
		return "an earlier run may be waiting for the answer of the mail server"
	}
	return "an earlier run has not told whether the mail was sent"
}

// mark sets the mark of this run if the worker still holds the message, and adds entries to the
// history. It returns the mark of an earlier run, "" for none.
func (s *Service) mark(ctx context.Context, a *attempt, m mark, entries ...broker.Entry) (before string, err error) {
	if !a.guard.begin(m) {
		return "", worker.ErrTimeLimit
	}
	return s.ask(ctx, a, m.String(), append(entries, s.history.sending(a)...)...)
}

// ask sets a mark, or looks for one if value is "". It returns the mark of an earlier run, ""
// for none.
func (s *Service) ask(ctx context.Context, a *attempt, value string, entries ...broker.Entry) (before string, err error) {
	err = a.insist(ctx, func(ctx context.Context) (err error) {
		before, err = a.task.Mark(ctx, value, entries...)
		return err
	})
	if err != nil {
		return "", err
	}
	if before == markNone {
		before = ""
	}
	a.guard.found(before)
	a.keepNames()
	if before == "" && !a.isUnsure() { // no earlier run may have sent the mail
		a.endNames("") // unless the end of the run says something else
	}
	return before, nil
}

// insist repeats a question while the broker does not answer, because a lost connection must not
// cost an attempt.
func (a *attempt) insist(ctx context.Context, question func(context.Context) error) error {
	var fault error
	err := a.task.Wait(ctx, heldPatience, func(ctx context.Context) error {
		for pause := heldAgain; ; pause = min(2*pause, heldAgainMost) {
			fault = question(ctx)
			if fault == nil || errors.Is(fault, worker.ErrLost) {
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
		err = &unaskedError{err: fault}
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
