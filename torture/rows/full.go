package rows

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// full is R32.
var full = harness.Row{
	ID:     "R32",
	Goal:   "Redis is full (`maxmemory`, noeviction) while tasks run",
	Mark:   "no exit; what ran is stored when there is room; working again < 2 s after",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		options := harness.Options{Concurrency: 4, Visibility: 30 * time.Second, OwnerTimeout: 5 * time.Second, Redeliveries: 10}
		w := s.Start(options)
		s.Ready()
		rounds := harness.Size(r, 1, 10)
		var worst time.Duration
		for range rounds {
			ids := s.Send(12, harness.Task{Name: "e2e.mail", Seconds: 0.5})
			testkit.Eventually(s, 30*time.Second, "tasks run", func() bool {
				n := 0
				for _, id := range ids {
					n += s.Begun()[id]
				}
				return n >= 2
			})
			s.Redis.Do("CONFIG", "SET", "maxmemory", 1)
			testkit.Pause(s, 2*time.Second)
			s.Redis.Do("CONFIG", "SET", "maxmemory", 0)
			d, ok := s.Recovers(30 * time.Second)
			worst = max(worst, d)
			if !s.Want(ok && d < r.Mark(2*time.Second), "< %s after there is room, took %s", r.Mark(2*time.Second), d) && w.Ended() {
				s.Figure("exits")
				s.Fatalf("the worker has ended")
			}
		}
		// Killed when it has done its work and cannot store it: a worker that
		// acknowledges before it stores loses it here.
		for range harness.Size(r, 1, 3) {
			ids := s.Send(4, harness.Task{Name: "e2e.stuck", Seconds: 0.7}) // which notes nothing
			testkit.Eventually(s, 30*time.Second, "a task runs", func() bool {
				for _, result := range s.Redis.Results(ids) {
					if result.Status == "STARTED" {
						return true
					}
				}
				return false
			})
			s.Redis.Do("CONFIG", "SET", "maxmemory", 1)
			testkit.Pause(s, 1500*time.Millisecond)
			w.Kill()
			s.Redis.Do("CONFIG", "SET", "maxmemory", 0)
			w = s.Start(options)
		}
		a := s.Await(s.IDs, harness.Size(r, 30*time.Second, time.Minute))
		info := fmt.Sprintf("%s", s.Redis.Do("INFO", "stats"))
		evicted := strings.Contains(info, "evicted_keys:0\r")
		s.Figure("full %d times for 2s: worst %s, %d of %d done, %d run twice", rounds, ms(worst), a.Done, a.Tasks, a.Doubled)
		s.Want(evicted, "nothing evicted")
		s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
	},
}
