package tasks

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
)

// Observer is told how attempts to deliver mails end, for metrics. Its methods are called
// by several goroutines and must not block.
type Observer interface {
	// Ended is called at the end of each attempt. A crash of the worker may follow before
	// the end is stored.
	Ended(e Ended)

	// Limited is called for each mail that a rate limit puts off. limit is "all mails",
	// "domain" or "recipient".
	Limited(limit string, pause time.Duration)

	// Unchecked is called for each mail that is sent although it is not known whether its
	// address is suppressed.
	Unchecked()

	// Panicked is called for each delivery that panics.
	Panicked()
}

// Ended describes the end of one attempt to deliver a mail.
type Ended struct {
	Kind  string
	State ledger.State
	Class string        // of the failure, one word; "" without one
	Final bool          // there is no further attempt
	Code  bool          // the mail has a code
	Whole time.Duration // since the first claim of the message
	Times mail.Times    // phases of the delivery; zero if no mail server was asked
}

// observe tells the observer of the end of an attempt.
func (h *history) observe(a *attempt, end ending) {
	if h.observer == nil {
		return
	}
	e := Ended{
		Kind: string(a.data.Kind()), State: end.state, Final: end.next == 0 && end.state != ledger.Queued && end.state != ledger.Deferred, Code: a.code != "",
		Class: end.class, Whole: h.now().Sub(a.seen), Times: end.receipt.Times,
	}
	if end.e != nil {
		e.Class, e.Times = class(end.e), end.e.Times
	}
	h.observer.Ended(e)
}

// observeLimit tells the observer of a mail that a limit puts off.
func (h *history) observeLimit(wait *throttle) {
	if h.observer == nil {
		return
	}
	limit, _, isDomain := strings.Cut(wait.limit, "domain ")
	if isDomain {
		limit = "domain"
	}
	h.observer.Limited(limit, wait.after)
}

// observeUnchecked tells the observer of a mail whose address was not checked.
func (h *history) observeUnchecked() {
	if h.observer != nil {
		h.observer.Unchecked()
	}
}

// observePanic tells the observer of a delivery that has panicked.
func (h *history) observePanic() {
	if h.observer != nil {
		h.observer.Panicked()
	}
}

// step tells the start of a step, and returns a function for its end, which logs how long the
// step has taken.
func (h *history) step(ctx context.Context, a *attempt, name string) (ended func(error)) {
	isLogged := a.log.Enabled(ctx, slog.LevelDebug)
	if h.tell == nil && !isLogged {
		return noStep
	}
	told, began := noStep, time.Now()
	if h.tell != nil {
		told = h.tell(ctx, name)
	}
	return func(err error) {
		told(err)
		if isLogged {
			a.log.DebugContext(ctx, "mail step", "kind", a.data.Kind(), "step", name, "duration", time.Since(began).Seconds(), "error", err)
		}
	}
}

func noStep(error) {}

// timed does the same, and notes the duration for the history of the mail.
func (h *history) timed(ctx context.Context, a *attempt, name string) (ended func(error)) {
	begin, told := time.Now(), h.step(ctx, a, name)
	return func(err error) {
		told(err)
		a.steps = append(a.steps, ledger.Phase{Name: name, Took: time.Since(begin)})
	}
}
