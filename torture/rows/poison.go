package rows

import (
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// poison is R15.
var poison = harness.Row{
	ID:     "R15",
	Goal:   "tasks that kill their process, among good ones; a supervisor restarts the worker",
	Mark:   "each runs ≤ 3 times and is set aside with a result; all good ones done",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		pills, good := harness.Size(r, 2, 10), harness.Size(r, 100, 1000)
		options := harness.Options{Concurrency: 4, OwnerTimeout: 2 * time.Second, Visibility: time.Hour}
		restarts, stop := supervise(s, options)
		defer stop()
		s.Ready()
		var bad, fine []string
		for range pills {
			bad = append(bad, s.Send(1, harness.Task{Name: "e2e.crash", Args: []any{}})...)
			fine = append(fine, s.Send(good/pills, harness.Task{Seconds: 0.01})...)
		}
		begin := time.Now()
		patience := time.Minute
		if r.Kind.IsCelery() {
			patience = 40 * time.Second // it goes on for ever
			testkit.Pause(s, patience)
		}
		a, b := s.Await(fine, 2*time.Minute), s.Await(bad, patience)
		took := time.Since(begin)
		most := 0
		for _, n := range s.Begun() {
			most = max(most, n)
		}
		s.Figure("%d pills, at most %d runs of one in %s, %d restarts; good ones: %d of %d done", pills, most, took.Round(time.Second), restarts(), a.Done, a.Tasks)
		s.Want(most <= 3, "at most 3 runs of a pill, one had %d", most)
		s.Want(a.Done == a.Tasks && a.Failed == 0, "every good task done: %s", a)
		s.Want(b.Done == pills, "a result for each pill: %s", b)
		if !r.Kind.IsCelery() {
			s.Want(len(s.DeadLetters()) == pills, "%d dead letters, have %d", pills, len(s.DeadLetters()))
			s.Settled(30 * time.Second)
		}
	},
}

// supervise starts a worker and starts it again whenever it has ended, as systemd
// or Kubernetes do, until stop is called, which must be. restarts counts.
func supervise(s *harness.Stage, o harness.Options) (restarts func() int, stop func()) {
	s.Helper()
	var n atomic.Int64
	w := s.Start(o)
	enough, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-enough:
				return
			case <-w.Done:
				w = s.Start(o)
				n.Add(1)
			}
		}
	}()
	return func() int { return int(n.Load()) }, func() { close(enough); <-done }
}

// misbehaving is R16.
var misbehaving = harness.Row{
	ID:   "R16",
	Goal: "tasks that panic, call Goexit, fail, or listen to no time limit",
	Mark: "each has its FAILURE, slots come back, no goroutine stays",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		each := harness.Size(r, 50, 400)
		w := s.Start(harness.Options{Concurrency: 8, TimeLimit: time.Second, Flags: []string{"-vitals"}})
		s.Ready()
		goroutines := func() int {
			for _, n := range s.Redis.IntMap("HGETALL", "e2e:goroutines") {
				return n
			}
			return 0
		}
		testkit.Eventually(s, 30*time.Second, "the worker notes its goroutines", func() bool { return goroutines() > 0 })
		// send sends the bad tasks, and good ones among them.
		send := func(each, deaf int) (bad, stuck, good []string) {
			for range each {
				for _, name := range []string{"e2e.panic", "e2e.goexit", "e2e.fail"} {
					bad = append(bad, s.Send(1, harness.Task{Name: name})...)
				}
			}
			stuck = s.Send(deaf, harness.Task{Name: "e2e.stuck", Seconds: 3})
			return append(bad, stuck...), stuck, s.Send(each, harness.Task{})
		}
		// Once before: the pool keeps the goroutines that it has needed at a time.
		send(each, 8)
		s.Await(s.IDs, 2*time.Minute)
		s.Settled(30 * time.Second)
		testkit.Pause(s, 4*time.Second) // the deaf ones come to their end, and are counted no more
		before := goroutines()
		bad, stuck, good := send(each, harness.Size(r, 8, 40))
		a, g := s.Await(bad, 2*time.Minute), s.Await(good, time.Minute)
		s.Want(a.Failed == a.Tasks, "a FAILURE of each bad task: %s", a)
		s.Want(g.Done == g.Tasks && g.Failed == 0, "every good task done: %s", g)
		flat := testkit.Poll(time.Minute, func() bool { return goroutines() <= before+6 }) // fewer than are deaf
		s.Want(flat, "as many goroutines as before, %d, are %d", before, goroutines())
		s.Want(!w.Ended(), "the worker to go on")
		s.Settled(30 * time.Second)
		s.Figure("%d bad tasks, %d of them deaf for 3s with a limit of 1s: %d FAILURE; goroutines %d before, %d after", a.Tasks, len(stuck), a.Failed, before, goroutines())
	},
}
