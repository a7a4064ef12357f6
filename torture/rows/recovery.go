package rows

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// recovery is R3.
var recovery = harness.Row{
	ID:     "R3",
	Goal:   "a worker with 8 tasks in hand is killed, frozen (SIGSTOP), or alone and started again",
	Mark:   "all run again ≤ 20 s after the end, ≤ 5 s after a start",
	Celery: true,
	Run: func(r *harness.Run) {
		visibility := 10 * time.Second
		owner := harness.Size(r, 2*time.Second, 15*time.Second)
		options := func(name string) harness.Options {
			return harness.Options{Name: name, Concurrency: 8, Visibility: time.Hour, OwnerTimeout: owner, Redeliveries: 10}
		}
		if r.Kind.IsCelery() {
			options = func(name string) harness.Options {
				return harness.Options{Name: name, Concurrency: 8, Visibility: visibility}
			}
		}
		limit := 3 * time.Minute
		for _, how := range []string{"killed", "frozen", "alone"} {
			s := harness.NewStage(r)
			if how == "frozen" {
				// After a start of Redis all workers were silent, so none counts as dead
				// for twice the time: that must be over.
				testkit.Eventually(s, 3*owner, "Redis is up for long enough", func() bool { return uptime(s) > 2*owner })
			}
			first := s.Start(options("first"))
			s.Ready()
			ids := s.Send(8, harness.Task{Name: "e2e.mail", Seconds: 1})
			testkit.Eventually(s, 30*time.Second, "8 tasks run", func() bool { return len(s.Begun()) == 8 })
			if how == "frozen" {
				first.Signal(syscall.SIGSTOP)
			} else {
				first.Kill()
			}
			begin := time.Now()
			s.Start(options("second"))
			again := func() int {
				n := 0
				for _, times := range s.Begun() {
					if times > 1 {
						n++
					}
				}
				return n
			}
			if how == "frozen" && r.Kind.IsCelery() {
				limit = 30 * time.Second
			}
			ok := testkit.Poll(limit, func() bool { return again() == 8 })
			took := time.Since(begin)
			if !ok {
				s.Figure("%s: %d of 8 again after %s", how, again(), took.Round(time.Second))
			} else {
				s.Figure("%s: %s", how, ms(took))
			}
			mark := 20 * time.Second
			if how == "alone" {
				mark = r.Mark(5 * time.Second)
			}
			s.Want(ok && took <= mark, "%s: all 8 run again within %s, took %s", how, mark, took)
			if how == "frozen" {
				first.Signal(syscall.SIGCONT)
			}
			if r.Kind.IsCelery() {
				s.Figure("(visibility timeout %s; its default is 1 h)", visibility)
				return // that it takes the visibility timeout does not depend on how
			}
			a := s.Await(ids, time.Minute)
			s.Want(a.Done == a.Tasks && a.Failed == 0 && a.Lost == 0, "%s: every task done: %s", how, a)
			for id, n := range s.Sent() {
				s.Want(n == 1, "%s: the last step of task %s once, was taken %d times", how, id, n)
			}
		}
	},
}

// uptime of the server, in whole seconds.
func uptime(s *harness.Stage) time.Duration {
	s.Helper()
	_, rest, _ := strings.Cut(fmt.Sprintf("%s", s.Redis.Do("INFO", "server")), "uptime_in_seconds:")
	text, _, _ := strings.Cut(rest, "\r")
	seconds, err := strconv.Atoi(text)
	if err != nil {
		s.Fatalf("uptime of Redis: %v", err)
	}
	return time.Duration(seconds) * time.Second
}
