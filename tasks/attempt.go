package tasks

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Headers that our retries add to the message, because a message of a producer does
// not tell its age and there may be a crash or an outage between two attempts.
const (
	// firstSeenHeader is the time when a worker first claimed the message. It is also the
	// Date of the mail: Message-ID and Date show that two mails are copies.
	firstSeenHeader = "evently_first_seen"
	// unsureHeader is the time when the mail was sent and the server did not answer. It
	// counts as a mark where the broker has lost the mark, or keeps none.
	unsureHeader = "evently_unsure"
	// earlierHeader is the time when a run waited for an earlier one that may have sent the
	// mail. The next run looks for the mark of that one at its beginning.
	earlierHeader = "evently_earlier"
	// brokenHeader is the number of connections that were lost during the mail, and
	// brokeHeader the time of the last loss.
	brokenHeader, brokeHeader = "evently_broken", "evently_broken_at"
	// deferredHeader is for how many milliseconds the server has put this mail off, and
	// deferredAtHeader the time when it last did.
	deferredHeader, deferredAtHeader = "evently_deferred", "evently_deferred_at"
	// admittedHeader is the time for which the limits have admitted the mail.
	admittedHeader = "evently_admitted"
)

// attempt is one attempt to deliver one mail.
type attempt struct {
	delivery
	task *worker.Task
	log  *slog.Logger
	now  time.Time // when it began
	seen time.Time // when the first one began
	to   string    // recipient; "" until it is known

	guard    guard
	earlier  mark      // of a run that may have sent the mail, found by look; zero: none
	admitted time.Time // by the limits; zero: not asked, or not admitted
	turn     bool      // the mail has waited for its share of the rates

	occurrences []string // names of what the mail is about, if another task may ask for it
	fromEvent   bool     // the task was an event of the platform

	steps []ledger.Phase // durations of the steps before the delivery, for the history
}

func (s *Service) attempt(ctx context.Context, d delivery) *attempt {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		t = &worker.Task{} // no retries outside of a worker
	}
	a := &attempt{delivery: d, task: t, log: s.logger(t), now: s.cfg.Now(), to: d.address}
	a.seen = a.now
	// Clocks differ a little. A time in the future by more than a day is wrong.
	if at := t.HeaderTime(firstSeenHeader); !at.IsZero() && at.Before(a.now.Add(24*time.Hour)) {
		a.seen = at
	}
	a.fromEvent = t.Message != nil && t.Message.Header(EventHeader) != nil
	a.occurrences = s.occasions.of(a)
	return a
}

// wait calls wait, which waits for a connection that other mails use. This time does not
// count for the time limits of the task.
func (a *attempt) wait(ctx context.Context, wait func(context.Context) error) error {
	return a.task.Wait(ctx, longestWait, wait)
}

// headers returns the headers of the next attempt, with more.
func (a *attempt) headers(more ...protocol.Header) []protocol.Header {
	var headers []protocol.Header
	if !a.task.HeaderTime(firstSeenHeader).Equal(a.seen) {
		headers = append(headers, worker.TimeHeader(firstSeenHeader, a.seen))
	}
	if !a.admitted.IsZero() {
		headers = append(headers, worker.TimeHeader(admittedHeader, a.admitted))
	}
	return append(headers, more...)
}

// count returns the number in a header of the message, 0 without one.
func (a *attempt) count(header string) int {
	if a.task.Message == nil {
		return 0
	}
	n, err := strconv.Atoi(string(a.task.Message.Header(header)))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// broken returns the number of connections that were lost during the mail before this run.
func (a *attempt) broken() int { return a.count(brokenHeader) }

// deferred returns for how long the server has put this mail off, by answers about it. When a
// person has retried the dead letter, that begins anew.
func (a *attempt) deferred() time.Duration {
	if a.task.HeaderTime(deferredAtHeader).Before(a.task.SetAside()) {
		return 0
	}
	const most = 1 << 40 // milliseconds
	return time.Duration(min(a.count(deferredHeader), most)) * time.Millisecond
}

// deferredAgain returns the headers of the next attempt after another pause.
func (a *attempt) deferredAgain(pause time.Duration) []protocol.Header {
	sum := (a.deferred() + pause).Milliseconds()
	return []protocol.Header{
		{Name: deferredHeader, Value: protocol.Raw(strconv.FormatInt(sum, 10))},
		worker.TimeHeader(deferredAtHeader, a.now),
	}
}

// brokenAgain returns the headers of the next attempt after another lost connection.
func (a *attempt) brokenAgain() []protocol.Header {
	return []protocol.Header{
		{Name: brokenHeader, Value: protocol.Raw(strconv.Itoa(a.broken() + 1))},
		worker.TimeHeader(brokeHeader, a.now),
	}
}

// breaksFree reports whether another connection that broke during the mail costs no attempt:
// the first ones, and all while no other mail is accepted between two of them, because the
// relay is then broken and not the mail.
func (a *attempt) breaksFree(relay *lastTaken) bool {
	n := a.broken()
	return n < freeBreaks || n < mostBreaks && !relay.since(a.task.HeaderTime(brokeHeader))
}

// lastTaken is the time at which the relay last accepted a mail. Its methods may be called by
// several goroutines.
type lastTaken struct{ at atomic.Pointer[time.Time] }

// note records that the relay has accepted a mail.
func (l *lastTaken) note(now time.Time) { l.at.Store(&now) }

// since reports whether the relay has accepted a mail after a time.
func (l *lastTaken) since(begin time.Time) bool {
	at := l.at.Load()
	return at != nil && at.After(begin)
}
