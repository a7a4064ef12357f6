package mails

import (
	"fmt"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// unguarded is the last commit before mails had a mark.
const unguarded = "4efbd77"

// storm is R1 of mails.
var storm = harness.Row{
	ID:   "R1m",
	Goal: "`kill -9` at random of one of two services that send mails of all kinds, relay of 5–50 ms a reply",
	Mark: "0 lost; second copies of codes and offers alone, each said to be unknown, with the Message-ID and the Date of the first; the history agrees",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		mails, kills := harness.Size(r, 150, 5000), harness.Size(r, 5, 100)
		a, unknown, disagree := thunder(r, binary, mails, kills)
		r.Figure("%d kills: %s; %d histories disagree", kills, a, disagree)
		r.Want(disagree == 0, "the history of each mail to agree with its result and with the relay: %d do not", disagree)
		r.Want(a.lost == 0 && a.other == 0, "no mail lost: %s", a)
		r.Want(a.again == a.againUrgent, "no second copy of an ordinary mail: %s", a)
		r.Want(a.again <= unknown, "second copies only where the outcome was unknown: %d were, %s", unknown, a)
		r.Want(a.differ == 0, "copies that mail programs recognise: %s", a)
		if !r.Long || harness.HasCommit(r, unguarded) != "" {
			return
		}
		before, _, _ := thunder(r, harness.BuildCommit(r, r.TempDir(), unguarded, service), mails/4, kills/4)
		r.Figure("without marks, %d kills: %d second copies of %d mails", kills/4, before.again, before.mails)
	},
}

// thunder sends mails through two services of binary, and kills one of them that often while it
// has a mail on its way. unknown is how many mails the services sent once more.
func thunder(r *harness.Run, binary string, mails, kills int) (a account, unknown, disagree int) {
	s := newStage(r, binary, startRelay(r, 5*time.Millisecond, 50*time.Millisecond), mails+kills*20)
	start := func(n int) *testkit.Process {
		return s.work(fmt.Sprintf("w%d", n), "CONCURRENCY=6", "OWNER_TIMEOUT=2", "MAX_REDELIVERIES=50", "SMTP_REPLY_TIMEOUT=1")
	}
	workers := []*testkit.Process{start(0), start(1)}
	for _, w := range workers {
		s.healthy(w)
	}
	for n := range kills {
		if need := mails * (n + 1) / kills; len(s.sent) < need {
			s.ask(need - len(s.sent))
		}
		if s.Redis.Waiting(harness.Queue) < 20 {
			s.ask(20) // the machine is fast: each kill must hit a busy worker
		}
		victim := r.Chance.IntN(2)
		name := fmt.Sprintf("w%d.example", victim)
		testkit.Eventually(s, time.Minute, "the worker has mails on their way", func() bool { return s.relay.sends(name) })
		testkit.Pause(s, time.Duration(r.Chance.Int64N(int64(200*time.Millisecond))))
		workers[victim].Kill()
		s.relay.ended(name)
		workers[victim] = start(victim)
	}
	a = s.account(harness.Size(r, time.Minute, 5*time.Minute))
	if s.logged("mail sent once more") > 0 || a.unsure > 0 { // the earlier tree has no history
		disagree = s.disagree()
	}
	return a, s.logged("mail sent once more, outcome of the first time unknown"), disagree
}
