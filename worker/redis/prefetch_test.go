package redis_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// gini is 0 when all have the same, and nearly 1 when one has all.
func gini(shares []int64) float64 {
	var sum, differences float64
	for _, a := range shares {
		sum += float64(a)
		for _, b := range shares {
			differences += float64(max(a, b) - min(a, b))
		}
	}
	return differences / (2 * float64(len(shares)) * sum)
}

// No worker hoards: all workers get the same number of slow tasks.
func TestWorkersShareSlowTasks(t *testing.T) {
	t.Parallel()
	const workers, tasks = 4, 160
	s := redistest.Start(t)
	c := s.Conn(0)
	var done [workers]atomic.Int64
	var all [workers]*worker.Worker
	begin := func(i int) {
		all[i], _ = runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 2, Tasks: map[string]worker.Definition{
			"slow": {Handler: worker.Func(func(ctx context.Context, _ struct{}) (any, error) {
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
				done[i].Add(1)
				return nil, nil
			})},
		}})
	}
	for i := range workers {
		begin(i)
	}
	eventually(t, "all of them consume", func() bool {
		return !slices.ContainsFunc(all[:], func(w *worker.Worker) bool { return !w.Status().Consuming })
	})
	for range tasks {
		send(t, c, "q", "slow", "[]")
	}
	eventually(t, "all are done", func() bool {
		return done[0].Load()+done[1].Load()+done[2].Load()+done[3].Load() == tasks
	})
	var shares []int64
	for i := range done {
		shares = append(shares, done[i].Load())
	}
	if g := gini(shares); g > 0.15 {
		t.Errorf("they have done %v: Gini coefficient %.2f", shares, g)
	} else {
		t.Logf("they have done %v: Gini coefficient %.2f", shares, g)
	}
}

// Tasks that take no time are claimed many at once.
func TestManyShortTasksInOneClaim(t *testing.T) {
	t.Parallel()
	const tasks = 2000
	s := redistest.Start(t)
	c := s.Conn(0)
	for range tasks {
		send(t, c, "q", "short", "[]")
	}
	do(t, c, "CONFIG", "RESETSTAT")
	var done atomic.Int64
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 8, Tasks: map[string]worker.Definition{
		"short": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { done.Add(1); return nil, nil })},
	}})
	eventually(t, "all are done", func() bool { return done.Load() == tasks })
	claims := calls(t, c, "zadd")
	if claims == 0 || tasks/claims < 10 {
		t.Errorf("%d tasks in %d claims", tasks, claims)
	}
}

// A worker whose tasks were short until they became long does not keep from others what
// it has claimed for short ones.
func TestLongTasksHoldNothingBack(t *testing.T) {
	const short, behind = 500, 8
	s := redistest.Start(t)
	c := s.Conn(0)
	release := make(chan struct{})
	var done [2]atomic.Int64
	begin := func(i int) {
		runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 4, Tasks: map[string]worker.Definition{
			"short": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { done[i].Add(1); return nil, nil })},
			"long": {Handler: worker.Func(func(ctx context.Context, _ struct{}) (any, error) {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return nil, nil
			})},
		}})
	}
	for range short {
		send(t, c, "q", "short", "[]")
	}
	begin(0)
	eventually(t, "the first worker has done the short ones", func() bool {
		return done[0].Load() == short && count(t, c, "HLEN", "unacked") == 0
	})
	for range 4 {
		send(t, c, "q", "long", "[]")
	}
	for range behind {
		send(t, c, "q", "short", "[]")
	}
	eventually(t, "four run", func() bool { return count(t, c, "HLEN", "unacked") >= 4 })
	begun := time.Now()
	begin(1)
	eventually(t, "the second worker has done what was behind them", func() bool {
		return done[1].Load() == behind
	})
	t.Logf("after %s", time.Since(begun).Round(time.Millisecond))
	close(release)
	eventually(t, "nothing is held", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
}
