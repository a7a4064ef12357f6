package rows

import (
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// priorities is R18.
var priorities = harness.Row{
	ID:   "R18",
	Goal: "a backlog of all priorities, one slot, the worker killed on the way; another one gives back what it had",
	Mark: "strictly by priority and then by age; what was in hand keeps its list and its place",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		each := harness.Size(r, 60, 2500)
		steps := []int{0, 3, 6, 9}
		byStep := map[int][]string{}
		for range each { // mixed, as producers send them
			for _, p := range steps {
				byStep[p] = append(byStep[p], s.Send(1, harness.Task{Seconds: 0.001, Priority: p})...)
			}
		}
		var want []string
		for _, p := range steps {
			want = append(want, byStep[p]...)
		}
		options := harness.Options{Concurrency: 1, Prefetch: 1, Redeliveries: 10, OwnerTimeout: 2 * time.Second}
		// A worker that starts may take the next message before those of its
		// predecessor are back; here they are back before it starts.
		s.Start(harness.Options{Name: "watcher", Queue: "another", OwnerTimeout: 2 * time.Second})
		kills := harness.Size(r, 3, 20)
		for n := range kills {
			w := s.Start(options)
			reached := len(want) * (n + 1) / (kills + 1)
			testkit.Eventually(s, 2*time.Minute, "some more are done", func() bool { return s.Redis.Int("LLEN", "e2e:order") >= reached })
			w.Kill()
			testkit.Eventually(s, 30*time.Second, "its messages are back", func() bool { return s.Redis.Int("HLEN", "unacked") == 0 })
		}
		s.Start(options)
		a := s.Await(s.IDs, 5*time.Minute)
		s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
		order := s.Redis.Strings("LRANGE", "e2e:order", 0, -1)
		wrong, next := 0, 0
		for _, id := range order {
			switch {
			case next < len(want) && id == want[next]:
				next++
			case next > 0 && id == want[next-1]: // killed between its note and its end: it runs again, and in its place
			default:
				wrong++
			}
		}
		s.Figure("%d tasks, %d kills: %d out of order, %d run twice", a.Tasks, kills, wrong, a.Doubled)
		s.Want(wrong == 0 && next == len(want), "no task out of order, are %d; %d of %d in order", wrong, next, len(want))
		s.Want(a.Doubled <= kills, "at most one extra run for each kill: %s", a)
	},
}
