package rows

import (
	"encoding/json"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// results is R17.
var results = harness.Row{
	ID:     "R17",
	Goal:   "results of success, failure and retries; Redis killed while tasks end",
	Mark:   "each state is stored and announced; none is missing or wrong after Redis was away",
	Celery: true,
	Run: func(r *harness.Run) {
		announced(r)
		s := harness.NewStage(r)
		s.Start(harness.Options{Concurrency: 4, Visibility: time.Hour})
		s.Ready()
		rounds := harness.Size(r, 2, 20)
		if r.Kind.IsCelery() {
			rounds = harness.Size(r, 1, 5)
		}
		for range rounds {
			s.Send(40, harness.Task{Name: "e2e.stuck", Seconds: 0.05})
			testkit.Pause(s, between(r, 100*time.Millisecond, 400*time.Millisecond))
			s.Redis.Proc.Signal(syscall.SIGKILL)
			<-s.Redis.Proc.Done
			testkit.Pause(s, between(r, 100*time.Millisecond, 600*time.Millisecond))
			s.Redis.Start()
		}
		a := s.Await(s.IDs, harness.Size(r, 30*time.Second, time.Minute))
		wrong := s.CheckNumbers()
		s.Figure("Redis killed %d times: %d of %d results there, %d of them FAILURE, %d wrong", rounds, a.Done, a.Tasks, a.Failed, wrong)
		s.Want(a.Done == a.Tasks && a.Failed == 0 && wrong == 0, "every task done: %s, %d wrong", a, wrong)
	},
}

// announced listens to what those hear who wait for a result.
func announced(r *harness.Run) {
	s := harness.NewStage(r)
	c, err := redis.Dial("tcp", s.Redis.Addr(), redis.DialConnectTimeout(2*time.Second), redis.DialWriteTimeout(2*time.Second))
	if err != nil {
		s.Fatalf("%v", err)
	}
	var mu sync.Mutex
	heard := map[string][]string{} // states of tasks, in their order
	sub := redis.PubSubConn{Conn: c}
	if err := sub.PSubscribe("celery-task-meta-*"); err != nil {
		s.Fatalf("%v", err)
	}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			switch m := sub.ReceiveWithTimeout(0).(type) {
			case redis.Message:
				var result testkit.StoredResult
				if json.Unmarshal(m.Data, &result) == nil {
					mu.Lock()
					heard[result.TaskID] = append(heard[result.TaskID], result.Status)
					mu.Unlock()
				}
			case error:
				return // closed at the end
			}
		}
	}()
	stop := sync.OnceFunc(func() { c.Close(); <-listening })
	defer stop()
	s.Start(harness.Options{Concurrency: 4})
	s.Ready()
	each := harness.Size(r, 10, 200)
	good := s.Send(each, harness.Task{})
	bad := s.Send(each, harness.Task{Name: "e2e.fail"})
	again := s.Send(each, harness.Task{Name: "e2e.retry"})
	s.Await(s.IDs, time.Minute)
	wrong := 0
	check := func(ids []string, want string) {
		for _, id := range ids {
			ok := testkit.Poll(30*time.Second, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return strings.Join(heard[id], " ") == want
			})
			if !ok {
				wrong++
				mu.Lock()
				s.Logf("task %s: %v, want %s", id, heard[id], want)
				mu.Unlock()
			}
		}
	}
	check(good, "STARTED SUCCESS")
	check(bad, "STARTED FAILURE")
	check(again, "STARTED RETRY STARTED RETRY STARTED SUCCESS")
	s.Figure("%d tasks: %d with other announcements than expected", 3*each, wrong)
	s.Want(wrong == 0, "STARTED, RETRY and the final state of each task announced in order, %d were not", wrong)
}
