package mails

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// login is R26.
var login = harness.Row{
	ID:   "R26",
	Goal: "the relay refuses the login of two services for 10 minutes; then it takes their password again, or they are started with the right one",
	Mark: "mails stay in the queue, the health pages name the login, 0 lost, 0 attempts spent, ≤ 1 login per 10 s and service, first mail ≤ 30 s after",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		// They wait side by side: they share nothing.
		var both sync.WaitGroup
		for i, restart := range []bool{false, true} {
			own := harness.NewRun(r.T, r.Kind, r.Long, r.Seed+uint64(i))
			both.Go(func() { r.Figure("%s", lockedOut(own, binary, restart)) })
		}
		both.Wait()
	},
}

// lockedOut queues mails while the login is refused.
func lockedOut(r *harness.Run, binary string, restart bool) string {
	lasts, mails := harness.Size(r, 13*time.Second, 10*time.Minute), harness.Size(r, 300, 2000)
	const user, right = "mailer", "right-0f3a"
	relay := startRefusing(r, smtptest.Options{Username: user, Password: right, Extensions: []string{"PIPELINING"}})
	s := newStage(r, binary, relay.relay, warmUp+mails)
	start := func(password string) {
		for n := range 2 {
			s.work(fmt.Sprintf("w%d", n), "CONCURRENCY=6", "SMTP_USERNAME="+user, "SMTP_PASSWORD="+password, "RETRY_DELAY="+fmt.Sprint(harness.Size(r, 2, 60)))
		}
	}
	stop := func() {
		for _, w := range s.workers {
			w.Signal(syscall.SIGTERM)
		}
		for _, w := range s.workers {
			w.Wait(time.Minute)
		}
	}
	start(right)
	for _, w := range s.workers {
		s.healthy(w)
	}
	before := s.rate(warmUp, 1, 2, 3, 4)

	if restart {
		stop()
		start("wrong-77b1")
	} else {
		relay.set(func(step smtptest.Step) smtptest.Action {
			if step.Command != "AUTH" {
				return smtptest.Action{}
			}
			return smtptest.Action{Reply: "535 5.7.8 Error: authentication failed"}
		})
		relay.CloseConnections() // as a relay does whose password was changed
	}
	began := time.Now()
	late := mails / 20 // codes, which are still of use after it
	s.ask(mails-late, 1, 2, 3, 4)
	held := []string{"no mail gets out for ", "535", "mail tasks are held: "}
	s.says(r.Mark(10*time.Second), held...)
	open := time.Now()
	early := relay.loginsBetween(began, open)
	testkit.Pause(s, time.Until(began.Add(lasts-5*time.Second)))
	s.ask(late, 0, 5)
	testkit.Pause(s, time.Until(began.Add(lasts)))
	s.says(r.Mark(10*time.Second), held...)
	logins := relay.loginsBetween(open, time.Now())
	most := 2 * (1 + int(lasts/(10*time.Second)))
	s.Want(logins <= most, "at most %d logins in %v: %d", most, lasts, logins)
	waiting := s.Redis.Waiting(harness.Queue)
	s.Want(waiting >= mails-late-early-100, "the mails in the queue: %d of %d", waiting, mails)

	how := "password right again"
	over := time.Now()
	relay.set(nil)
	if restart {
		how = "started with the right one"
		stop()
		over = time.Now()
		start(right)
	}
	a := s.account(r.Mark(time.Minute) + 6*time.Minute) // the mails that met the refusal wait for five minutes
	s.unharmed(a)
	again := s.recovered(over, before, early)
	s.Want(again.First > 0 && again.First <= r.Mark(30*time.Second), "the first mail within 30 s: %s", again)
	s.fullRate(again, "the refusal")
	s.Settled(time.Minute)
	return fmt.Sprintf("%s: %d refused logins until held, %d in the rest of %v; %s; %d mails, %d lost", how, early, logins, lasts, again, mails, a.lost)
}
