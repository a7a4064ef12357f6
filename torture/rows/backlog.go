package rows

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// backlog is R20.
var backlog = harness.Row{
	ID:     "R20",
	Goal:   "a backlog, one message in a hundred of 200 kB",
	Mark:   "RSS < 150 MB (ours), 99 of 100 scripts keep Redis for < 20 ms",
	Celery: false,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r, "--appendonly", "no")
		tasks := harness.Size(r, 2000, 100_000)
		for len(s.IDs) < tasks {
			s.Send(99, harness.Task{})
			s.Send(1, harness.Task{Padding: 200_000})
		}
		s.Redis.Do("CONFIG", "SET", "slowlog-log-slower-than", 20_000)
		s.Redis.Do("CONFIG", "SET", "slowlog-max-len", 10_000)
		s.Redis.Do("SLOWLOG", "RESET")
		s.Redis.Do("CONFIG", "RESETSTAT")
		begin := time.Now()
		w := s.Start(harness.Options{Concurrency: 16, Prefetch: 4})
		most := 0
		done := testkit.Poll(10*time.Minute, func() bool {
			most = max(most, residentMB(s, w))
			return s.Redis.Waiting(harness.Queue) == 0
		})
		a := s.Await(s.IDs, time.Minute)
		took := time.Since(begin)
		share := harness.Size(r, 10, 100) // the short form is not alone on its machine
		slow, scripts := slowScripts(s), scriptCalls(s)
		s.Figure("%d messages: RSS %d MB at most, %.0f tasks/s, %d of %d scripts took more than 20ms", a.Tasks, most, float64(a.Tasks)/took.Seconds(), slow, scripts)
		s.Want(done && a.Done == a.Tasks && a.Failed == 0 && a.Doubled == 0, "every task done, and once: %s", a)
		s.Want(most < r.Memory(150), "RSS < %d MB, was %d", r.Memory(150), most)
		s.Want(slow*share <= scripts, "all but one of %d scripts within 20ms, %d of %d took longer", share, slow, scripts)
	},
}

// slowScripts counts those in the slow log.
func slowScripts(s *harness.Stage) int {
	s.Helper()
	entries, ok := s.Redis.Do("SLOWLOG", "GET", 10_000).([]any)
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

// scriptCalls counts the scripts that have run.
func scriptCalls(s *harness.Stage) int {
	s.Helper()
	info := fmt.Sprintf("%s", s.Redis.Do("INFO", "commandstats"))
	n := 0
	for line := range strings.Lines(info) {
		for _, name := range []string{"cmdstat_evalsha:calls=", "cmdstat_eval:calls="} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				text, _, _ := strings.Cut(rest, ",")
				calls, err := strconv.Atoi(text)
				if err != nil {
					s.Fatalf("command statistics are not understood: %q", line)
				}
				n += calls
			}
		}
	}
	return n
}
