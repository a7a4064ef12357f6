package tasks

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Headers that our retries add to the message. A message of a producer says
// nothing of its age, and a crash or an outage may lie between two attempts. The
// values are times, and nothing else.
const (
	// firstSeenHeader is when a worker first had the message in its hands. It is
	// the Date of the mail, too, as copies of one mail are told by Message-ID and
	// Date.
	firstSeenHeader = "evently_first_seen"
	// unsureHeader is when the mail was sent without an answer, and so may have
	// arrived.
	unsureHeader = "evently_unsure"
)

// attempt is one run of the delivery of one mail.
type attempt struct {
	delivery
	task *worker.Task
	now  time.Time // when it began
	seen time.Time // when the first one began

	stage atomic.Int32 // stageOpen, stageFinal or stageLeft
}

// Stages of an attempt, of which the handler and the hard time limit agree by one
// atomic step.
const (
	stageOpen  = iota // the mail may be retried
	stageFinal        // the end of data may be out
	stageLeft         // the time limit has decided: it must not go out any more
)

func (s *Service) attempt(ctx context.Context, d delivery) *attempt {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		t = &worker.Task{} // no retries outside of a worker
	}
	a := &attempt{delivery: d, task: t, now: s.cfg.Now()}
	a.seen = a.now
	// Clocks differ a little; a header from tomorrow is no time that anybody saw.
	if at := t.HeaderTime(firstSeenHeader); !at.IsZero() && at.Before(a.now.Add(24*time.Hour)) {
		a.seen = at
	}
	return a
}

// wait calls wait, which waits for a connection that other mails use. The time limits of
// the task do not count that time.
func (a *attempt) wait(ctx context.Context, wait func(context.Context) error) error {
	return a.task.Wait(ctx, longestWait, wait)
}

// deadline is when the mail ceases to be of use. The zero time is never.
func (a *attempt) deadline() time.Time {
	if !a.urgent() {
		return time.Time{}
	}
	from := a.seen
	if at := a.task.SetAside(); !at.IsZero() && at.Before(from) {
		from = at // it was given up before there was a retry to say so
	}
	return from.Add(a.lifetime)
}

func (a *attempt) expired() bool { return a.urgent() && a.now.After(a.deadline()) }

// resent reports whether this already is the second copy of a mail that may have
// arrived.
func (a *attempt) resent() bool { return !a.task.HeaderTime(unsureHeader).IsZero() }

// headers returns what the next attempt has to know.
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

// expired is the answer for a mail that nobody has a use for any more. It goes
// to no dead letters: a person could do nothing for it either, and after an
// outage there are many.
func (s *Service) expired(a *attempt) Result {
	s.logger(a.task).Warn("mail not sent: it came too late to be of use", "kind", a.data.Kind(), "retries", a.task.Retries,
		"late", a.now.Sub(a.deadline()).Round(time.Second).Seconds())
	return s.result(Result{Error: errExpired, UserID: a.userID})
}
