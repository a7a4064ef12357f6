package rows

import (
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// backlog is R20.
var backlog = harness.Row{
	ID:     "R20",
	Goal:   "a backlog, one message in a hundred of 200 kB",
	Mark:   "RSS < 150 MB (ours), no script keeps Redis for 20 ms",
	Celery: false,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r, "--appendonly", "no")
		tasks := harness.Size(r, 3000, 100_000)
		for len(s.IDs) < tasks {
			s.Send(99, harness.Task{})
			s.Send(1, harness.Task{Padding: 200_000})
		}
		s.Redis.Do("CONFIG", "SET", "slowlog-log-slower-than", 20_000)
		s.Redis.Do("SLOWLOG", "RESET")
		begin := time.Now()
		w := s.Start(harness.Options{Concurrency: 16, Prefetch: 4})
		most := 0
		done := testkit.Poll(10*time.Minute, func() bool {
			most = max(most, residentMB(s, w))
			return s.Redis.Waiting(harness.Queue) == 0
		})
		a := s.Await(s.IDs, time.Minute)
		took := time.Since(begin)
		slow := s.Redis.Int("SLOWLOG", "LEN")
		s.Figure("%d messages: RSS %d MB at most, %.0f tasks/s, %d commands of more than 20ms", a.Tasks, most, float64(a.Tasks)/took.Seconds(), slow)
		s.Want(done && a.Done == a.Tasks && a.Failed == 0 && a.Doubled == 0, "every task done, and once: %s", a)
		s.Want(most < 150, "RSS < 150 MB, was %d", most)
		// The accounts of this row itself are slow as well: only scripts count.
		s.Want(slowScripts(s) == 0, "no script of more than 20ms, there are %d", slowScripts(s))
	},
}

// slowScripts counts those in the slow log.
func slowScripts(s *harness.Stage) int {
	s.Helper()
	entries, ok := s.Redis.Do("SLOWLOG", "GET", 1000).([]any)
	if !ok {
		s.Fatalf("slow log is not understood")
	}
	n := 0
	for _, e := range entries {
		fields, ok := e.([]any)
		if !ok || len(fields) < 4 {
			s.Fatalf("slow log is not understood")
		}
		if words, ok := fields[3].([]any); ok && len(words) > 0 {
			if name, ok := words[0].([]byte); ok && (string(name) == "EVALSHA" || string(name) == "EVAL") {
				n++
			}
		}
	}
	return n
}
