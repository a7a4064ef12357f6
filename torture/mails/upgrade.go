package mails

import (
	"fmt"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// upgrade is R30 of mails.
var upgrade = harness.Row{
	ID:   "R30m",
	Goal: "a service of an earlier commit (" + harness.Earlier + ") beside the current one, under load, with one history; they are killed and stopped in turn, and replaced one by the other",
	Mark: "0 lost; second copies of codes and offers alone, where a service was killed; the history agrees",
	Run: func(r *harness.Run) {
		current := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		earlier := current
		if missing := harness.HasCommit(r, harness.Earlier); missing == "" && r.Long {
			earlier = harness.BuildCommit(r, r.TempDir(), harness.Earlier, service)
		} else {
			r.Figure("the current one in its place")
		}
		rounds, each := harness.Size(r, 2, 40), harness.Size(r, 20, 100)
		s := newStage(r, earlier, startRelay(r, time.Millisecond, 10*time.Millisecond), rounds*each)
		binaries := [2]string{earlier, current}
		start := func(n int) *testkit.Process {
			s.binary = binaries[n]
			return s.work(fmt.Sprintf("w%d", n), "CONCURRENCY=6", "OWNER_TIMEOUT=2", "MAX_REDELIVERIES=50", "SMTP_REPLY_TIMEOUT=1")
		}
		// The earlier one makes the tables of the history, or the current one does.
		first := r.Chance.IntN(2)
		workers := [2]*testkit.Process{}
		for _, n := range []int{first, 1 - first} {
			workers[n] = start(n)
			s.healthy(workers[n])
		}
		for round := range rounds {
			s.ask(each)
			testkit.Pause(s, time.Duration(r.Chance.Int64N(int64(300*time.Millisecond))))
			victim := round / 2 % 2
			if round%2 == 0 {
				workers[victim].SignalMain(syscall.SIGTERM)
				code := workers[victim].Wait(time.Minute)
				s.Want(code == 0, "a stop with exit code 0: %d", code)
			} else {
				workers[victim].Kill()
				s.relay.ended(fmt.Sprintf("w%d.example", victim))
			}
			if round%4 == 3 { // both were replaced: upgraded, or rolled back
				binaries[0], binaries[1] = binaries[1], binaries[0]
			}
			workers[victim] = start(victim)
			s.healthy(workers[victim])
		}
		a := s.account(harness.Size(r, time.Minute, 5*time.Minute))
		disagree := s.disagree()
		r.Figure("%d services replaced: %s; %d histories disagree", rounds, a, disagree)
		r.Want(a.lost == 0 && a.other == 0 && a.strangers == 0, "no mail lost: %s", a)
		r.Want(a.again == a.againUrgent && a.differ == 0, "no second copy of an ordinary mail: %s", a)
		r.Want(disagree == 0, "the history of each mail to agree with its result and with the relay: %d do not", disagree)
		s.Settled(time.Minute)
	},
}
