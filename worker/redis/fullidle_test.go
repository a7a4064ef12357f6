package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A full server answers the claims of an idle worker, and refuses its waits and heartbeats. The
// status tells that all the time, not only between a wait and the next claim.
func TestFullServerOfAnIdleWorker(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"blmove", "polling"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			if way == "polling" {
				do(t, c, "ACL", "SETUSER", "default", "-blmove")
			}
			w, _ := runWorker(t, redis.Config{URL: s.URL(0), OwnerTimeout: 5 * time.Second, PollInterval: 20 * time.Millisecond}, worker.Config{Tasks: nothing()})
			consuming := func() bool { return w.Status().Consuming }
			eventually(t, "the worker consumes", consuming)
			do(t, c, "CONFIG", "SET", "maxmemory", 1)
			refused := func() bool { return strings.HasPrefix(w.Status().Refusal, "OOM ") && !consuming() }
			eventually(t, "the refusal is told", refused)
			ticks := time.NewTicker(5 * time.Millisecond)
			defer ticks.Stop()
			for until := time.Now().Add(3 * time.Second); time.Now().Before(until); <-ticks.C {
				if !refused() {
					t.Fatalf("the refusal is over while the server is full: %+v", w.Status())
				}
			}
			do(t, c, "CONFIG", "SET", "maxmemory", 0)
			eventually(t, "the worker consumes again", consuming)
			id := send(t, c, "q", "nothing", "[]")
			eventually(t, "the task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
		})
	}
}
