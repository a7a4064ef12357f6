package rows

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// astray gives a worker a clock that is off by what a file says, and steps when the file changes.
var astray = []harness.Patch{
	{File: "worker/engine.go", Old: "			now: time.Now,\n", New: "			now: func() time.Time { return astray() },\n"},
	{File: "worker/astray.go", New: `package worker

import (
	"os"
	"time"
)

func astray() time.Time {
	text, _ := os.ReadFile(os.Getenv("CLOCK_OFFSET_FILE"))
	offset, _ := time.ParseDuration(string(text))
	return time.Now().Add(offset).Round(0)
}
`},
}

// clocks is R13.
var clocks = harness.Row{
	ID:   "R13",
	Goal: "the clock of one of two workers is an hour off, both ways, and steps by ten minutes while they work",
	Mark: "no early redelivery: tasks beyond the visibility timeout run once; an ETA is missed by at most what the clock is off",
	Run: func(r *harness.Run) {
		dir := r.TempDir()
		file := filepath.Join(dir, "offset")
		kind := harness.Ours(harness.Build(r, dir, "astray", harness.TestWorker, harness.Overlay(r, dir, astray...)...))
		kind.Name = r.Kind.Name
		offset := func(d time.Duration) {
			if err := os.WriteFile(file, []byte(d.String()), 0o600); err != nil {
				r.Fatalf("%v", err)
			}
		}
		tasks := 0
		extra := 0
		rounds := []struct{ begin, step time.Duration }{{time.Hour, 0}, {0, -10 * time.Minute}, {-time.Hour, 0}, {0, 10 * time.Minute}}
		rounds = rounds[:harness.Size(r, 2, len(rounds))]
		for _, round := range rounds {
			s := harness.NewStage(r)
			offset(round.begin)
			visibility := 2 * time.Second
			a := s.StartKind(kind, harness.Options{Name: "astray", Concurrency: 8, Visibility: visibility, OwnerTimeout: 2 * time.Second, Env: []string{"CLOCK_OFFSET_FILE=" + file}})
			b := s.StartKind(kind, harness.Options{Name: "right", Concurrency: 8, Visibility: visibility, OwnerTimeout: 2 * time.Second})
			s.Ready()
			ids := s.Send(16, harness.Task{Name: "e2e.mail", Seconds: harness.Size(r, 3.0, 8.0)})
			testkit.Pause(s, time.Second)
			offset(round.begin + round.step)
			account := s.Await(ids, time.Minute)
			begun := harness.Sum(s.Begun())
			tasks, extra = tasks+len(ids), extra+begun-len(ids)
			s.Want(account.Done == len(ids) && account.Failed == 0 && begun == len(ids),
				"each task to run once with a clock %s off, then %s: %s, begun %d times", round.begin, round.begin+round.step, account, begun)
			a.Kill()
			b.Kill()
			s.Redis.Proc.Kill()
		}
		s := harness.NewStage(r)
		offset(-2 * time.Second)
		s.StartKind(kind, harness.Options{Name: "astray", Concurrency: 4, Env: []string{"CLOCK_OFFSET_FILE=" + file}})
		s.Ready()
		eta := time.Now().Add(3 * time.Second)
		ids := s.Send(4, harness.Task{ETA: eta})
		s.Await(ids, 30*time.Second)
		at := s.Redis.IntMap("HGETALL", "e2e:at")
		var worst time.Duration
		for _, id := range ids {
			worst = max(worst, time.UnixMilli(int64(at[id])).Sub(eta).Abs())
		}
		s.Want(worst <= 2*time.Second+r.Mark(time.Second), "an ETA missed by the 2s that the clock is off, and %s more, was %s", r.Mark(time.Second), worst)
		s.Figure("%d tasks in %d rounds: %d extra runs; ETA missed by %s with a clock 2s off", tasks, len(rounds), extra, ms(worst))
	},
}

// upgrade is R30.
var upgrade = harness.Row{
	ID:   "R30",
	Goal: "a build of an earlier commit (" + harness.Earlier + ") beside the current one, under load, killed in turn, and replaced one by the other",
	Mark: "0 lost, each result right",
	Run: func(r *harness.Run) {
		dir := r.TempDir()
		s := harness.NewStage(r)
		old := r.Kind
		if missing := harness.HasCommit(r, harness.Earlier); missing != "" && harness.Size(r, true, false) {
			// Clones of continuous integration often have the newest commit alone: what
			// the row does to workers that replace each other is seen there as well.
			s.Figure("the current one in its place, as %s", missing)
		} else {
			old = harness.Ours(harness.BuildCommit(r, dir, harness.Earlier, harness.TestWorker))
		}
		old.Name = "earlier"
		s.NoteAside()
		options := func(name string) harness.Options {
			return harness.Options{Name: name, Concurrency: 4, Visibility: 10 * time.Second, OwnerTimeout: 3 * time.Second, Redeliveries: 50}
		}
		kinds := []harness.Kind{old, r.Kind}
		workers := []*testkit.Process{s.StartKind(kinds[0], options("w0")), s.StartKind(kinds[1], options("w1"))}
		s.Ready()
		kills := harness.Size(r, 5, 60)
		for n := range kills {
			if s.Redis.Waiting(harness.Queue) < 200 {
				s.Send(300, harness.Task{Seconds: 0.05})
			}
			testkit.Pause(s, between(r, 300*time.Millisecond, 800*time.Millisecond))
			victim := r.Chance.IntN(2)
			workers[victim].Kill()
			if n%3 == 2 { // upgraded, or rolled back
				kinds[0], kinds[1] = kinds[1], kinds[0]
			}
			workers[victim] = s.StartKind(kinds[victim], options("w"+strconv.Itoa(victim)))
		}
		a := s.Await(s.IDs, time.Minute)
		wrong := s.CheckNumbers()
		s.Figure("%d kills, %d tasks: %d lost, %d run twice", kills, a.Tasks, a.Lost, a.Doubled)
		s.Want(a.Done == a.Tasks && a.Failed == 0 && wrong == 0, "every task done: %s, %d wrong", a, wrong)
		extra := harness.Size(r, 4*kills, kills) // as in R1
		s.Want(a.Doubled <= extra, "at most %d extra runs with %d kills: %s", extra, kills, a)
		s.Settled(30 * time.Second)
	},
}
