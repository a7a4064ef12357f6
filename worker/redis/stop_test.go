package redis_test

import (
	"context"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A stop ends, whatever the server does: it is gone, or hangs, with tasks that are
// being sorted out, run, and wait.
func TestStopWithoutServer(t *testing.T) {
	const grace, most = time.Second, 25 * time.Second // a busy machine takes its time, but no minute
	for name, tc := range map[string]struct {
		fault func(*redistest.Server)
		now   bool // the operator is impatient
		grace time.Duration
	}{
		"gone":                  {(*redistest.Server).Kill, false, grace},
		"frozen":                {(*redistest.Server).Stop, false, grace},
		"gone, second signal":   {(*redistest.Server).Kill, true, time.Minute},
		"frozen, second signal": {(*redistest.Server).Stop, true, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			t.Cleanup(s.Continue)
			c := s.Conn(0)
			for range 200 {
				send(t, c, "q", "unknown", "[]")
				send(t, c, "q", "slow", "[]")
			}
			b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Concurrency: 2, Grace: tc.grace, Logger: quiet(),
				Tasks: map[string]worker.Definition{"slow": {Handler: worker.Func(func(ctx context.Context, _ struct{}) (any, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(50 * time.Millisecond):
						return nil, nil
					}
				})}}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			eventually(t, "tasks run", func() bool { return w.Status().Succeeded > 4 })
			tc.fault(s)
			time.Sleep(100 * time.Millisecond) // until something is in the middle
			began := time.Now()
			cancel()
			if tc.now {
				w.StopNow()
			}
			select {
			case err := <-done:
				took := time.Since(began)
				t.Logf("stopped after %v", took.Round(time.Millisecond))
				if err != nil || took > most {
					t.Errorf("Run ended after %v with %v, want %v at most", took, err, most)
				}
			case <-time.After(time.Minute):
				t.Error("Run does not end")
			}
		})
	}
}

// A stop in the middle of a scan for expired messages leaves no lock behind, which
// would keep all others from theirs, for half a minute.
func TestStopLeavesNoLock(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	consumer := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Hour}) // it has no heartbeat
	send(t, c, "q", "nothing", "[]")
	left := 0
	for range 200 {
		d := consumer.claim(t, 1)[0]
		do(t, c, "ZADD", "unacked_index", 1, d.Claim)
		stop := newConsumer(t, redis.Config{URL: s.URL(0)}).run(t)
		for count(t, c, "LLEN", "q") == 0 { // without a pause: the lock is given up right after
		}
		stop()
		if n, err := redigo.Int(c.Do("DEL", "unacked_mutex")); err != nil {
			t.Fatal(err)
		} else if n != 0 {
			left++
		}
	}
	if left > 0 {
		t.Errorf("the lock was left behind by %d of 200 stops", left)
	}
}

// A worker that stops in order signs off, however soon that is.
func TestStopSignsOff(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	for i := range 60 {
		send(t, c, "q", "t", "[]")
		b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Logger: quiet(),
			Tasks: map[string]worker.Definition{"t": {Handler: worker.Func(func(context.Context, struct{}) (any, error) {
				stop()
				return nil, nil
			})}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		stop()
		if keys := must(redigo.Strings(c.Do("KEYS", "*owner*")))(t); len(keys) > 0 {
			t.Fatalf("worker %d has left %q", i, keys)
		}
	}
}
