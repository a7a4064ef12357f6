package app

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
)

// relayBreaker is the circuit breaker of a relay, in terms of mails.
type relayBreaker struct{ *breaker.Breaker }

// Enter implements [mail.Breaker].
func (b relayBreaker) Enter() (done func(*mail.SendError), err error) {
	leave, err := b.Breaker.Enter()
	if err != nil {
		return nil, err
	}
	return func(failed *mail.SendError) { leave(relayOutcome(failed)) }, nil
}

// relayOutcome returns what the outcome of a mail says about the relay.
func relayOutcome(failed *mail.SendError) breaker.Outcome {
	switch {
	case failed == nil:
		return breaker.Worked
	case failed.Command == "COMPOSE", failed.Command == "WAIT", errors.Is(failed, context.Canceled), errors.Is(failed, mail.ErrWithheld):
		return breaker.Outcome{}
	case !failed.CountsForBreaker(), failed.BlamesMail():
		return breaker.Worked // it refuses the mail
	}
	o := breaker.Outcome{Result: breaker.Fault, Reason: failed.Explain(), Unreached: failed.Unreached()}
	switch {
	case failed.ConfigurationFault():
		o.Result = breaker.Refused
	case failed.Quota(), failed.Throttled(), failed.Code == 421:
		o.Result = breaker.Throttled
	}
	return o
}

// probeRelay returns a probe by a method of a [mail.Sender].
func probeRelay(ask func(context.Context) error) func(context.Context) breaker.Outcome {
	return func(ctx context.Context) breaker.Outcome {
		failed, _ := errors.AsType[*mail.SendError](ask(ctx))
		return relayOutcome(failed)
	}
}

// firstOfRelay returns the question at the start of a process. A relay that accepts connections may
// delay its greeting for long, and is not away.
func firstOfRelay(ask func(context.Context) error) func(context.Context) breaker.Outcome {
	return func(ctx context.Context) breaker.Outcome {
		failed, _ := errors.AsType[*mail.SendError](ask(ctx))
		o := relayOutcome(failed)
		o.Unreached = o.Unreached && failed.Command == "DIAL"
		return o
	}
}

// guardedMailer sends mails over relays with breakers. While a relay is tried again after
// an outage, and takes few mails at a time, the others wait for their turn.
type guardedMailer struct {
	relays   *mail.Relays
	breakers []*breaker.Breaker
}

// Send implements [tasks.Mailer].
func (g *guardedMailer) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	for {
		receipt, err := g.relays.Send(ctx, m)
		if err == nil || !isOpen(err) {
			return receipt, err
		}
		half := g.halfOpen()
		if half == nil {
			return receipt, err
		}
		wait := func(ctx context.Context) error { return half.Wait(ctx) }
		if m.Wait == nil {
			err = wait(ctx)
		} else {
			err = m.Wait(ctx, wait)
		}
		if err != nil && !isOpen(err) {
			return mail.Receipt{}, &mail.SendError{Command: "WAIT", Err: err}
		}
	}
}

// halfOpen returns the first breaker that lets some mails through, or nil.
func (g *guardedMailer) halfOpen() *breaker.Breaker {
	for _, b := range g.breakers {
		if b.State().Phase == breaker.HalfOpen {
			return b
		}
	}
	return nil
}

// guardedUsers looks up users while the database may be asked.
type guardedUsers struct {
	store   *store.Store
	breaker *breaker.Breaker
}

// Acquire waits for a connection, see [store.Store.Acquire].
func (g *guardedUsers) Acquire(ctx context.Context, around func(context.Context, func(context.Context) error) error) (release func(), err error) {
	if !mayCall(g.breaker) {
		return func() {}, nil // Email returns the error
	}
	return g.store.Acquire(ctx, around)
}

// Email implements [tasks.Users].
func (g *guardedUsers) Email(ctx context.Context, userID int64) (address string, err error) {
	done, err := g.breaker.EnterWait(ctx)
	if err != nil {
		return "", fmt.Errorf("look up the address of user %d: %w", userID, err)
	}
	outcome := breaker.Outcome{} // of a panic
	defer func() { done(outcome) }()
	address, err = g.store.Email(ctx, userID)
	outcome = databaseOutcome(ctx, err)
	return address, err
}

// databaseOutcome returns what the outcome of a lookup says about the database. That
// there is no such user says that it works.
func databaseOutcome(ctx context.Context, err error) breaker.Outcome {
	switch {
	case err == nil, errors.Is(err, store.ErrNoUser):
		return breaker.Worked
	case ctx.Err() != nil:
		return breaker.Outcome{}
	}
	if fault, ok := errors.AsType[*store.AccessError](err); ok {
		if fault.Passing() {
			return breaker.Outcome{Result: breaker.Fault, Reason: fault.Summary(), Unreached: fault.Restarting()}
		}
		return breaker.Outcome{Result: breaker.Refused, Reason: fault.Summary()}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded): // also of a query that takes long
		return breaker.Outcome{Result: breaker.Fault, Reason: lateAnswer}
	case errors.Is(err, syscall.ECONNREFUSED):
		return breaker.Outcome{Result: breaker.Fault, Reason: "connection refused", Unreached: true}
	}
	return breaker.Outcome{Result: breaker.Fault, Reason: "no connection", Unreached: true}
}

const lateAnswer = "no answer in time"

// probeDatabase asks what the lookups of users ask, with the same rights. A probe is no work for
// the database, so a late answer is none.
func probeDatabase(s *store.Store) func(context.Context) breaker.Outcome {
	return func(ctx context.Context) breaker.Outcome {
		o := databaseOutcome(ctx, s.Ping(ctx))
		o.Unreached = o.Unreached || o.Reason == lateAnswer
		return o
	}
}
