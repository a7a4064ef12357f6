package mails

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// throttle is a way in which a relay asks for time.
type throttle struct {
	command, reply string
	then           smtptest.Then
}

// throttles are the words of well-known services.
var throttles = []throttle{
	{".", "454 Throttling failure: Maximum sending rate exceeded.", smtptest.Go},
	{"MAIL", "421 4.7.0 Try again later, closing connection.", smtptest.Close},
	{"RCPT", "450 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error.", smtptest.Go},
	{"MAIL", "550 5.4.5 Daily user sending limit exceeded.", smtptest.Go},
}

// throttling is R25.
var throttling = harness.Row{
	ID:   "R25",
	Goal: "the relay throttles for 15 minutes with 2,000 mails in the queue: 454 after the mail, 421 at MAIL, 450 at RCPT, 550 5.4.5; two services",
	Mark: "0 lost, 0 attempts spent, ≤ 1 connection and 1 refused mail per 10 s once the breaker is open, full rate ≤ 60 s after",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		chosen := throttles
		if !r.Long { // the others have their turn with other seeds
			first := r.Chance.IntN(len(throttles))
			chosen = []throttle{throttles[first], throttles[(first+1+r.Chance.IntN(len(throttles)-1))%len(throttles)]}
		}
		// They wait side by side: they share nothing.
		var all sync.WaitGroup
		for i, t := range chosen {
			own := harness.NewRun(r.T, r.Kind, r.Long, r.Seed+uint64(i))
			all.Go(func() {
				text := throttled(own, binary, t)
				words := strings.Fields(t.reply)
				r.Figure("%s at %s: %s", strings.Join(words[:2], " "), t.command, text)
			})
		}
		all.Wait()
	},
}

// throttled queues mails at a relay that throttles.
func throttled(r *harness.Run, binary string, t throttle) string {
	lasts := harness.Size(r, 14*time.Second, 15*time.Minute)
	mails, ordinary := harness.Size(r, 300, 2000), []int{1, 2, 3, 4}
	relay := startRefusing(r, smtptest.Options{Extensions: []string{"PIPELINING"}})
	s := newStage(r, binary, relay.relay, warmUp+mails)
	for n := range 2 {
		s.healthy(s.work(fmt.Sprintf("w%d", n), "CONCURRENCY=6", fmt.Sprintf("RETRY_DELAY=%d", harness.Size(r, 2, 60))))
	}
	before := s.rate(warmUp, ordinary...)

	relay.set(func(step smtptest.Step) smtptest.Action {
		if step.Command != t.command {
			return smtptest.Action{}
		}
		return smtptest.Action{Reply: t.reply, Then: t.then}
	})
	began := time.Now()
	urgent := mails / 20 // they wait in the services, and may expire there
	s.ask(mails-urgent, ordinary...)
	s.ask(urgent, 0, 5)
	s.says(r.Mark(10*time.Second), "no mail gets out for ", "mail tasks are held: ", t.reply[:3])
	open := time.Now()
	early, refused := relay.counts(began, open)
	testkit.Pause(s, time.Until(began.Add(lasts)))
	s.says(r.Mark(10*time.Second), "no mail gets out for ", "mail tasks are held: ", t.reply[:3])
	connections, refusals := relay.counts(open, time.Now())
	probes := 1 + int(lasts/(10*time.Second))
	s.Want(connections <= probes && refusals <= probes, "at most %d probes in %v: %d connections, %d refusals", probes, lasts, connections, refusals)

	relay.set(nil)
	over := time.Now()
	a := s.account(r.Mark(time.Minute) + time.Duration(mails)*50*time.Millisecond)
	s.unharmed(a)
	again := s.recovered(over, before, refused+refusals)
	s.fullRate(again, "throttling")
	all := s.accepted().Last().Sub(over).Round(100 * time.Millisecond)
	s.Settled(time.Minute)
	return fmt.Sprintf("%d refused and %d connections until held, %d and %d in the rest of %v; %s, all sent after %v; %d mails and %d codes and offers, %d of them expired, %d lost",
		refused, early, refusals, connections, lasts, again, all, mails-urgent, urgent, a.expired, a.lost)
}
