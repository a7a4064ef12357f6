package rows

import (
	"strconv"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// between draws a duration.
func between(r *harness.Run, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Chance.Int64N(int64(high-low)))
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

// killed is R1.
var killed = harness.Row{
	ID:     "R1",
	Goal:   "`kill -9` at random of one of two workers under load",
	Mark:   "0 lost, every task has its right result, extra runs ≤ kills",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		s.NoteAside()
		kills := harness.Size(r, 10, 200)
		// The time between an end and its storing is longer on a busy machine; six
		// tasks may be there when a worker is killed.
		extra := harness.Size(r, 6*kills, kills)
		least := harness.Size(r, 0, 20_000) // tasks, however slow the machine is
		low, high, visibility := 300*time.Millisecond, 900*time.Millisecond, 5*time.Second
		if r.Kind.IsCelery() {
			kills = harness.Size(r, 4, 30)
			extra, least = harness.Size(r, 6*kills, kills), harness.Size(r, 0, 2000)
			low, high = 1500*time.Millisecond, 3500*time.Millisecond // it takes that long to start
		}
		options := func(n int) harness.Options {
			return harness.Options{Name: "w" + strconv.Itoa(n), Concurrency: 6, Visibility: visibility, OwnerTimeout: 5 * time.Second, Redeliveries: 50,
				// One of them finds out by itself how much to hold.
				Flags: []string{"-prefetch", strconv.Itoa(n)}}
		}
		workers := []*testkit.Process{s.Start(options(0)), s.Start(options(1))}
		s.Ready()
		for n := range kills {
			if len(s.IDs) < least*(n+1)/kills || s.Redis.Waiting(harness.Queue) < 300 {
				s.Send(400, harness.Task{Seconds: 0.04})
			}
			testkit.Pause(s, between(r, low, high))
			victim := r.Chance.IntN(2)
			workers[victim].Kill()
			workers[victim] = s.Start(options(victim))
		}
		a := s.Await(s.IDs, harness.Size(r, time.Minute, 3*time.Minute))
		hit := s.Notes.Int("HLEN", "e2e:redelivered")
		wrong := s.CheckNumbers()
		s.Figure("%d kills, %d tasks, %d were in hand: %d lost, %d run twice", kills, a.Tasks, hit, a.Lost, a.Doubled)
		s.Want(a.Lost == 0 && a.Done == a.Tasks && a.Failed == 0 && wrong == 0, "every task done and none lost: %s, %d wrong", a, wrong)
		s.Want(a.Doubled <= extra, "at most %d extra runs with %d kills: %s", extra, kills, a)
		if !r.Kind.IsCelery() {
			s.Want(hit >= kills/2, "the kills to hit busy workers: only %d tasks were redelivered", hit)
			s.Want(len(s.DeadLetters()) == 0, "no dead letters, have %d", len(s.DeadLetters()))
			s.Settled(30 * time.Second)
		}
	},
}
