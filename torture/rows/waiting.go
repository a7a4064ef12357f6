package rows

import (
	"math"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// etas is R10.
var etas = harness.Row{
	ID:     "R10",
	Goal:   "tasks with an ETA far beyond the visibility timeout, with a Python worker that scans for what has expired; their holder is killed",
	Mark:   "each runs once, ≤ 1 s late and never early; 100,000 of them take < 200 MB and go back in order (long form)",
	Celery: true,
	Run: func(r *harness.Run) {
		const tasks = 20
		s := harness.NewStage(r)
		visibility := harness.Size(r, 3*time.Second, 10*time.Second)
		wait := harness.Size(r, 9*time.Second, 60*time.Second)
		if r.Kind.IsCelery() && r.Long {
			wait = 150 * time.Second // it looks for what has expired every 100 s or so
		}
		options := func(name string) harness.Options {
			return harness.Options{Name: name, Concurrency: 4, Visibility: visibility, OwnerTimeout: 2 * time.Second}
		}
		workers := []*testkit.Process{s.Start(options("left")), s.Start(options("right"))}
		if !r.Kind.IsCelery() {
			// It must not get the tasks, as it would hold them without renewing them;
			// but its scan looks at all that is claimed.
			s.StartKind(harness.Celery(), harness.Options{Name: "theirs", Queue: "another", Visibility: visibility})
		}
		s.Ready()
		eta := time.Now().Add(wait)
		ids := s.Send(tasks, harness.Task{ETA: eta})
		testkit.Eventually(s, 2*wait/3, "all tasks are held", func() bool { return s.Redis.Int("HLEN", "unacked") == tasks })
		if !r.Kind.IsCelery() {
			testkit.Pause(s, wait/3)
			workers[0].Kill()
			workers[0] = s.Start(options("left"))
		}
		a := s.Await(ids, wait+30*time.Second)
		testkit.Pause(s, visibility+time.Second) // for a worker that takes the first run for lost
		a = s.Account(ids)
		at := s.Redis.IntMap("HGETALL", "e2e:at")
		early, late := time.Duration(math.MaxInt64), time.Duration(0)
		for _, id := range ids {
			off := time.UnixMilli(int64(at[id])).Sub(eta.Truncate(time.Millisecond))
			early, late = min(early, off), max(late, off)
		}
		s.Figure("ETA %s, visibility timeout %s: %d of %d done, %d extra runs, at most %s late", wait, visibility, a.Done, tasks, a.Doubled, ms(late))
		s.Want(a.Done == tasks && a.Failed == 0 && a.Doubled == 0, "each task to run once: %s", a)
		s.Want(early >= 0 && late <= r.Mark(time.Second), "no task early and none more than %s late, were %s to %s after their ETA", r.Mark(time.Second), early, late)
		if r.Long && !r.Kind.IsCelery() {
			manyETAs(r)
		}
	},
}

// manyETAs holds as many tasks as memory must be enough for.
func manyETAs(r *harness.Run) {
	const tasks = 100_000
	s := harness.NewStage(r)
	w := s.Start(harness.Options{Env: []string{"GOMEMLIMIT=190MiB"}, Grace: 20 * time.Second})
	s.Ready()
	ids := s.Send(tasks, harness.Task{ETA: time.Now().Add(2 * time.Hour)})
	testkit.Eventually(s, 2*time.Minute, "all tasks are held", func() bool { return s.Redis.Int("HLEN", "unacked") == tasks })
	rss := residentMB(s, w)
	begin := time.Now()
	w.SignalMain(syscall.SIGTERM)
	code := w.Wait(time.Minute)
	took := time.Since(begin)
	list := s.Redis.Strings("LRANGE", harness.Queue, 0, -1)
	slices.Reverse(list)
	wrong := tasks - len(list)
	for i, raw := range list {
		if testkit.ParseMessage(s, raw).Headers.ID != ids[i] {
			wrong++
		}
	}
	s.Figure("%d held: RSS %d MB, back in order within %s", tasks, rss, ms(took))
	s.Want(code == 0 && wrong == 0, "exit code 0 and all tasks back in order, code %d, %d are not", code, wrong)
	s.Want(rss < 200, "< 200 MB for %d tasks, are %d", tasks, rss)
}

// residentMB is the memory of a process.
func residentMB(s *harness.Stage, p *testkit.Process) int {
	s.Helper()
	v, err := harness.VitalsOf(p.PID())
	if err != nil {
		s.Fatalf("%v", err)
	}
	return v.RSS >> 20
}

// longTasks is R11.
var longTasks = harness.Row{
	ID:     "R11",
	Goal:   "tasks that run longer than the visibility timeout, with two workers",
	Mark:   "each runs once",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		tasks := harness.Size(r, 16, 50)
		visibility := harness.Size(r, 3*time.Second, 5*time.Second)
		seconds := harness.Size(r, 7.0, 30.0)
		if r.Kind.IsCelery() && r.Long {
			tasks, seconds = 8, 150 // it looks for what has expired every 100 s or so
		}
		for n := range 2 {
			s.Start(harness.Options{Name: "w" + strconv.Itoa(n), Concurrency: tasks, Visibility: visibility})
		}
		s.Ready()
		ids := s.Send(tasks, harness.Task{Name: "e2e.mail", Seconds: seconds})
		s.Await(ids, time.Duration(seconds*float64(time.Second))+harness.Size(r, 30*time.Second, time.Minute))
		testkit.Pause(s, visibility+time.Second)
		if r.Kind.IsCelery() {
			// Redelivered runs take as long as the first.
			testkit.Pause(s, time.Duration(seconds*float64(time.Second)))
		}
		a := s.Account(ids)
		begun := harness.Sum(s.Begun())
		s.Figure("%d tasks of %.0fs, visibility timeout %s: begun %d times", tasks, seconds, visibility, begun)
		s.Want(a.Done == tasks && a.Failed == 0 && begun == tasks, "each task to run once: %s, begun %d times", a, begun)
	},
}

// fencing is R12.
var fencing = harness.Row{
	ID:     "R12",
	Goal:   "a worker is stopped (SIGSTOP) in the middle of its tasks for longer than its lease, and continued when another has them",
	Mark:   "the last step of each task is taken once",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		rounds := harness.Size(r, 1, 10)
		if r.Kind.IsCelery() {
			rounds = 1
		}
		const each = 4
		options := func(name string) harness.Options {
			return harness.Options{Name: name, Concurrency: each, Visibility: 10 * time.Second, OwnerTimeout: 2 * time.Second, Redeliveries: 10}
		}
		begun := 0
		for range rounds {
			first := s.Start(options("first"))
			ids := s.Send(each, harness.Task{Name: "e2e.mail", Seconds: 1.5})
			begun += each
			testkit.Eventually(s, 30*time.Second, "the tasks run", func() bool { return harness.Sum(s.Begun()) == begun })
			first.Signal(syscall.SIGSTOP)
			second := s.Start(options("second"))
			took := testkit.Poll(150*time.Second, func() bool { return harness.Sum(s.Begun()) == begun+each })
			s.Want(took, "the second worker to take the tasks over")
			begun = harness.Sum(s.Begun())
			first.Signal(syscall.SIGCONT)
			a := s.Await(ids, 30*time.Second)
			s.Want(a.Done == each && a.Failed == 0, "every task done: %s", a)
			testkit.Pause(s, 2*time.Second) // for what the first one still has in mind
			first.Kill()
			second.Kill()
		}
		sent := s.Sent()
		twice := harness.Sum(sent) - len(sent)
		s.Figure("%d tasks: %d last steps taken twice", rounds*each, twice)
		s.Want(twice == 0 && len(sent) == rounds*each, "each last step once: %d twice, %d tasks of %d", twice, len(sent), rounds*each)
	},
}
