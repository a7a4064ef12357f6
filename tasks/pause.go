package tasks

import (
	"math/rand/v2"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
)

const (
	// urgentWait is the pause after the first attempt of an urgent mail; it
	// triples each time: 5, 15 and 45 seconds. Somebody sits there and waits.
	urgentWait = 5 * time.Second

	// greylistWait is what most greylists want a stranger to wait.
	greylistWait = 5 * time.Minute

	// quotaWait is the time between two looks whether a daily quota is free
	// again. It has no hour of its own: each mail counts for a day.
	quotaWait = 30 * time.Minute

	// longestWait bounds the wait for a free connection to the relay or the database. It
	// is far longer than a mail takes.
	longestWait = 2 * time.Minute
	// busyPause is the pause of a mail that has waited that long.
	busyPause = 15 * time.Second
	// heldPause is the pause of a mail whose fence could not be asked. Redis is back
	// when it has taken the retry.
	heldPause = 2 * time.Second

	// urgentThrottleWait is the pause of an urgent mail that the server puts off
	// together with all others.
	urgentThrottleWait = 15 * time.Second
)

// backoff is that of all tasks.
func (s *Service) backoff() worker.Backoff {
	return worker.Backoff{Base: s.cfg.RetryDelay, Max: s.cfg.MaxRetryDelay, Jitter: jitter}
}

// pause returns how long to wait for the next attempt; 0 is the backoff of the
// task. e is the reply of the mail server, nil when there is none.
func (s *Service) pause(a *attempt, e *mail.SendError) time.Duration {
	ordinary := s.backoff().Delay(a.task.Retries)
	switch {
	case e != nil && e.RetryAfter > 0 && a.urgent():
		return a.inTime(later(e.RetryAfter))
	case e != nil && e.RetryAfter > 0:
		return max(ordinary, later(e.RetryAfter))
	case e != nil && e.Greylisted && a.urgent():
		// To come back after seconds would be in vain, and after five minutes half
		// the time of a code is over.
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
	return 0
}

// configurationPause is the pause before a server that refuses our login is
// tried again with the same mail: longer than a retry, as somebody has to do
// something first, and too many refused logins get an account locked.
func (s *Service) configurationPause(a *attempt) time.Duration {
	const factor = 5
	return a.inTime(spread(factor * s.cfg.RetryDelay))
}

// quotaPause is the pause of a mail whose sender may send no more today.
func (s *Service) quotaPause(a *attempt) time.Duration { return a.inTime(spread(quotaWait)) }

// lookupPause is the pause of a mail whose recipient cannot be looked up before
// the rights, the schema or the login of the database are mended.
func (s *Service) lookupPause(a *attempt) time.Duration {
	const factor = 2
	pause := spread(factor * s.cfg.RetryDelay)
	if a.urgent() {
		pause = min(pause, spread(urgentThrottleWait))
	}
	return a.inTime(pause)
}

// throttledPause is the pause of a mail that is put off together with all
// others.
func (s *Service) throttledPause(a *attempt, e *mail.SendError) time.Duration {
	const factor = 2
	pause := spread(factor * s.cfg.RetryDelay)
	if a.urgent() {
		pause = min(pause, spread(urgentThrottleWait))
	}
	return a.inTime(max(pause, later(e.RetryAfter)))
}

// inTime shortens a pause that is longer than the mail is of use, so that the
// producer learns that it has expired when it has.
func (a *attempt) inTime(pause time.Duration) time.Duration {
	if !a.urgent() {
		return pause
	}
	return max(min(pause, a.deadline().Sub(a.now)+time.Second), time.Second)
}

// spread moves a pause by up to 20 % to both sides, so that what failed together
// does not come back together; later only away from now, where somebody asked
// for the time.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
}

func later(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*rand.Float64()))
}
