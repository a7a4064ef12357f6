package redis_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
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

// meeting holds runs until so many of them are there. A busy machine may hold one up, and then it
// holds up all.
type meeting struct {
	of  int
	mu  sync.Mutex
	n   int
	met chan struct{}
}

func (m *meeting) wait(ctx context.Context) {
	m.mu.Lock()
	met := m.met
	if m.n++; m.n == m.of {
		m.n, m.met = 0, make(chan struct{})
		close(met)
	}
	m.mu.Unlock()
	select {
	case <-met:
	case <-ctx.Done():
	}
}

// No worker hoards: all workers get the same number of slow tasks.
func TestWorkersShareSlowTasks(t *testing.T) {
	t.Parallel()
	const workers, slots, tasks = 4, 2, 160
	s := redistest.Start(t)
	c := s.Conn(0)
	var done [workers]atomic.Int64
	var all [workers]*worker.Worker
	together := meeting{of: workers * slots, met: make(chan struct{})}
	begin := func(i int) {
		all[i], _ = runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: slots, Tasks: map[string]worker.Definition{
			"slow": {Handler: worker.Func(func(ctx context.Context, _ struct{}) (any, error) {
				together.wait(ctx)
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

// largestClaim remembers the most messages that one claim has brought.
type largestClaim struct {
	*redis.Broker
	n atomic.Int64
}

func (b *largestClaim) Claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	ds, err := b.Broker.Claim(ctx, max)
	b.note(ds)
	return ds, err
}

func (b *largestClaim) ClaimAfter(ctx context.Context, max, ends int, ready func()) (ds []broker.Delivery, asked int, err error) {
	ds, asked, err = b.Broker.ClaimAfter(ctx, max, ends, ready)
	b.note(ds)
	return ds, asked, err
}

func (b *largestClaim) note(ds []broker.Delivery) {
	for n := int64(len(ds)); ; {
		before := b.n.Load()
		if n <= before || b.n.CompareAndSwap(before, n) {
			return
		}
	}
}

// Tasks that take no time are claimed many at once.
func TestManyShortTasksInOneClaim(t *testing.T) {
	t.Parallel()
	const tasks, slots = 2000, 8
	s := redistest.Start(t)
	c := s.Conn(0)
	for range tasks {
		send(t, c, "q", "short", "[]")
	}
	b := &largestClaim{Broker: must(redis.New(redis.Config{URL: s.URL(0), Logger: quiet()}))(t)}
	var done atomic.Int64
	w := must(worker.New(worker.Config{
		Broker: b, Queues: []string{"q"}, Logger: quiet(), Concurrency: slots,
		Tasks: map[string]worker.Definition{
			"short": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { done.Add(1); return nil, nil })},
		},
	}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	eventually(t, "all are done", func() bool { return done.Load() == tasks })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := b.n.Load(); n <= slots {
		t.Errorf("a claim brought %d messages at most; without looking at the pace it brings %d", n, slots)
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
