package tasks

import (
	"math/rand/v2"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/worker"
)

const (
	// urgentWait is the pause after the first attempt of an urgent mail; it triples
	// each time: 5, 15 and 45 seconds. The reader is waiting for the mail.
	urgentWait = 5 * time.Second

	// greylistWait is the pause that most greylists ask of an unknown sender.
	greylistWait = 5 * time.Minute

	// refusedFactor times RetryDelay is the pause of a mail that met a server which takes no
	// mails for now. A circuit breaker keeps mails from the server until it takes them again,
	// and then this one must not be far behind.
	refusedFactor = 2

	// longestWait bounds the wait for a free connection to the relay or the database. It
	// is far longer than a mail takes.
	longestWait = 2 * time.Minute
	// busyPause is the pause of a mail that has waited for longestWait.
	busyPause = 15 * time.Second
	// heldPause is the pause of a mail for which the broker did not answer. It is short:
	// when Redis has stored the retry it is available again.
	heldPause = 2 * time.Second

	// outageLeast and outageMost bound the pause of a mail that no relay and no database
	// could be asked for, and urgentOutageMost bounds that of an urgent one. A circuit
	// breaker takes over after a few of them.
	outageLeast, outageMost = 2 * time.Second, time.Minute
	urgentOutageMost        = 10 * time.Second
	// urgentOutageLeast is the shortest pause of an urgent mail while a circuit breaker
	// is open.
	urgentOutageLeast = time.Second
	// freeBreaks is how many connections may break during one mail before each costs an
	// attempt. The first ones are trouble of the network. A mail that makes the server
	// hang up each time must end.
	freeBreaks = 3
	// mostBreaks bounds them where no other mail is accepted in between. A relay that
	// answers probes and hangs at each mail is in an outage, and its mails must not end.
	mostBreaks = 1000

	// urgentThrottleWait is the longest pause of an urgent mail when the server defers or
	// refuses all mails.
	urgentThrottleWait = 15 * time.Second
)

// pauses computes how long mails wait before their next attempts.
type pauses struct {
	retryDelay, maxRetryDelay time.Duration // as in Config
}

// backoff returns the backoff of all tasks.
func (p pauses) backoff() worker.Backoff {
	return worker.Backoff{Base: p.retryDelay, Max: p.maxRetryDelay, Jitter: jitter}
}

// retry returns how long to wait before the next attempt. e is the reply of the mail server,
// nil without one.
func (p pauses) retry(a *attempt, e *mail.SendError) time.Duration {
	ordinary := p.backoff().Delay(a.task.Retries)
	switch {
	case e != nil && e.RetryAfter > 0 && a.urgent():
		return a.inTime(later(e.RetryAfter))
	case e != nil && e.RetryAfter > 0:
		return max(ordinary, later(e.RetryAfter))
	case e != nil && e.Greylisted && a.urgent():
		// After seconds the greylist refuses again; after five minutes half the lifetime
		// of a code is over.
		return a.inTime(ordinary)
	case e != nil && e.Greylisted:
		return max(ordinary, later(greylistWait))
	case a.urgent():
		short := urgentWait
		for range min(a.task.Retries, 5) {
			short *= 3
		}
		return a.inTime(min(ordinary, spread(short)))
	}
	return ordinary
}

// outage returns the pause of a mail that could not be tried: a fifth of the time since
// the first attempt, so that the load on a server that is down falls.
func (p pauses) outage(a *attempt) time.Duration {
	most := outageMost
	if a.urgent() {
		most = urgentOutageMost
	}
	return a.inTime(spread(min(max(a.now.Sub(a.seen)/5, outageLeast), most)))
}

// configuration returns the pause of a mail when the server refuses us. It is longer than that
// of a retry, because a person must act first. No circuit breaker opens where the server may mean
// the mails, so that urgent ones must not ask sooner. While a password is replaced, a refused
// login is an outage: the breaker and the sender limit how often it is tried.
func (p pauses) configuration(a *attempt, e *mail.SendError) time.Duration {
	const factor = 5
	if e.Replaceable {
		return p.outage(a)
	}
	if e.BlamesMail() {
		return a.inTime(spread(factor * p.retryDelay))
	}
	return a.longPause(factor * p.retryDelay)
}

// quota returns the pause of a mail whose sender has used up a quota. A quota has no fixed hour
// at which it ends: each mail counts for a day.
func (p pauses) quota(a *attempt) time.Duration { return a.longPause(refusedFactor * p.retryDelay) }

// longPause returns the pause after a fault that lasts. An urgent mail asks sooner: when a
// person has corrected the fault, or a circuit breaker has found that it is over, the mail is
// still of use. Until then the breaker keeps it from the server.
func (a *attempt) longPause(pause time.Duration) time.Duration {
	if a.urgent() {
		pause = min(pause, urgentThrottleWait)
	}
	return a.inTime(spread(pause))
}

// lookup returns the pause of a mail whose recipient cannot be looked up because the
// rights, the schema or the login of the database are wrong. A refused login is an outage: the
// password may be replaced at this moment.
func (p pauses) lookup(a *attempt, fault *store.AccessError) time.Duration {
	if fault.LoginRefused() {
		return p.outage(a)
	}
	return a.longPause(refusedFactor * p.retryDelay)
}

// throttled returns the pause of a mail when the server defers all mails.
func (p pauses) throttled(a *attempt, e *mail.SendError) time.Duration {
	pause := spread(refusedFactor * p.retryDelay)
	if a.urgent() {
		pause = min(pause, spread(urgentThrottleWait))
	}
	return a.inTime(max(pause, later(e.RetryAfter)))
}

// spread moves a pause by up to 20 % to both sides, so that mails that failed together are
// not retried together.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
}

// later makes a pause up to 20 % longer, where the server asked for the time.
func later(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*rand.Float64()))
}
