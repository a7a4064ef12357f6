package tasks

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Headers that our retries add to the message, because a message of a producer does
// not tell its age and there may be a crash or an outage between two attempts. The values
// are times.
const (
	// firstSeenHeader is when a worker first claimed the message. It is also the Date
	// of the mail: Message-ID and Date show that two mails are copies.
	firstSeenHeader = "evently_first_seen"
	// unsureHeader is when the mail was sent and the server did not answer. The mail
	// may have arrived.
	unsureHeader = "evently_unsure"
)

// attempt is one attempt to deliver one mail.
type attempt struct {
	delivery
	task *worker.Task
	now  time.Time // when it began
	seen time.Time // when the first one began

	stage atomic.Int32 // stageOpen, stageFinal or stageLeft
}

// Stages of an attempt. The handler and the hard time limit change the stage atomically,
// so that one of them decides.
const (
	stageOpen  = iota // the mail may be retried
	stageFinal        // the end of data may have been sent
	stageLeft         // the time limit has decided: the mail must not be sent
)

func (s *Service) attempt(ctx context.Context, d delivery) *attempt {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		t = &worker.Task{} // no retries outside of a worker
	}
	a := &attempt{delivery: d, task: t, now: s.cfg.Now()}
	a.seen = a.now
	// Clocks differ a little. A time in the future by more than a day is wrong.
	if at := t.HeaderTime(firstSeenHeader); !at.IsZero() && at.Before(a.now.Add(24*time.Hour)) {
		a.seen = at
	}
	return a
}

// wait calls wait, which waits for a connection that other mails use. This time does not
// count for the time limits of the task.
func (a *attempt) wait(ctx context.Context, wait func(context.Context) error) error {
	return a.task.Wait(ctx, longestWait, wait)
}

// deadline returns the end of the lifetime of the mail, the zero time for none.
func (a *attempt) deadline() time.Time {
	if !a.urgent() {
		return time.Time{}
	}
	from := a.seen
	if at := a.task.SetAside(); !at.IsZero() && at.Before(from) {
		from = at // it became a dead letter before a retry could add firstSeenHeader
	}
	return from.Add(a.lifetime)
}

func (a *attempt) expired() bool { return a.urgent() && a.now.After(a.deadline()) }

// resent reports whether this attempt sends the second copy of a mail that may have
// arrived.
func (a *attempt) resent() bool { return !a.task.HeaderTime(unsureHeader).IsZero() }

// headers returns the headers of the next attempt.
func (a *attempt) headers(unsure bool) []protocol.Header {
	var headers []protocol.Header
	if a.task.HeaderTime(firstSeenHeader).IsZero() {
		headers = append(headers, worker.TimeHeader(firstSeenHeader, a.seen))
	}
	if unsure {
		headers = append(headers, worker.TimeHeader(unsureHeader, a.now))
	}
	return headers
}

// expired returns the answer for a mail that is too old to be of use. The message does not
// become a dead letter: a person could not help either, and after an outage there are many.
func (s *Service) expired(a *attempt) Result {
	s.logger(a.task).Warn("mail expired, not sent", "kind", a.data.Kind(), "retries", a.task.Retries,
		"late", a.now.Sub(a.deadline()).Round(time.Second).Seconds())
	return s.result(Result{Error: errExpired, UserID: a.userID})
}
