package redis_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A message that was given back many times has neither crashed nor spent an attempt.
func TestGiveBackIsNoCrash(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	const times = 8
	var runs atomic.Int32
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{TrackStarted: true, Tasks: map[string]worker.Definition{
		"t": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			if runs.Add(1) <= times {
				return nil, worker.GiveBack(errors.New("relay unavailable"))
			}
			return task.Retries, nil
		})},
	}})
	id := send(t, c, "q", "t", "[]")
	eventually(t, "the task has succeeded", func() bool { return result(t, c, id).Status == "SUCCESS" })
	if got := result(t, c, id); string(got.Result) != "0" || runs.Load() != times+1 {
		t.Errorf("%s attempts spent, %d runs, want none and %d", got.Result, runs.Load(), times+1)
	}
	eventually(t, "it is acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	if n := count(t, c, "HLEN", "_goworker.1.dead") + count(t, c, "LLEN", "q"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}
