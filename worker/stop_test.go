package worker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// A stop returns what has not begun to the front, in order, and sees what runs
// to its end.
func TestWarmStop(t *testing.T) {
	release := make(chan struct{})
	b := start(t, worker.Config{Concurrency: 1, PrefetchMultiplier: 4, Tasks: map[string]worker.Definition{
		"t": {Handler: do(func(context.Context) (any, error) { <-release; return 1, nil })},
	}})
	first := b.send(t, "t")
	b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
	later := b.send(t, "t", func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour) })
	b.eventually(t, "held", func() bool { return b.w.Status().Scheduled == 1 })
	var want []string
	want = append(want, later)
	for range 5 {
		want = append(want, b.send(t, "t"))
	}
	b.eventually(t, "prefetched", func() bool { return b.w.Status().Reserved == 3 })
	b.cancel()
	b.eventually(t, "given back", func() bool { return len(b.Queued("q")) == len(want) })
	close(release)
	b.stop(t)
	var got []string
	for _, raw := range b.Queued("q") {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, env.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("queue after the stop is %v, want %v", got, want)
	}
	if b.status(first) != "SUCCESS" || b.Unacked() != 0 {
		t.Errorf("the running task is %q, %d unacknowledged", b.status(first), b.Unacked())
	}
}

// A task that the end of the grace period cuts short goes back, and costs no retry.
func TestGraceEnds(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"by time":       func(*bench) {},
		"by StopNow":    func(b *bench) { b.w.StopNow() },
		"retry at once": func(b *bench) { b.w.StopNow() },
	} {
		t.Run(name, func(t *testing.T) {
			grace := time.Hour
			if name == "by time" {
				grace = 10 * time.Millisecond
			}
			b := start(t, worker.Config{Grace: grace, Tasks: map[string]worker.Definition{
				"t": {Handler: do(func(ctx context.Context) (any, error) {
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), worker.ErrStopped) {
						t.Errorf("cause is %v, want ErrStopped", context.Cause(ctx))
					}
					if name == "retry at once" {
						return nil, worker.Retry(ctx.Err())
					}
					return nil, ctx.Err()
				})},
			}})
			id := b.send(t, "t")
			b.eventually(t, "running", func() bool { return b.w.Status().Running == 1 })
			b.cancel()
			end(b)
			b.stop(t)
			q := b.Queued("q")
			if len(q) != 1 || b.status(id) != "" {
				t.Fatalf("%d queued, state %q; want the message back and no state", len(q), b.status(id))
			}
			m, err := protocol.Decode(q[0], protocol.Limits{})
			if err != nil || !m.Redelivered || m.Retries != 0 {
				t.Errorf("came back with redelivered %v, retries %d (%v)", m.Redelivered, m.Retries, err)
			}
		})
	}
}

// slowReturn is a Broker that takes its time to take messages back.
type slowReturn struct {
	*workertest.Broker
	takes time.Duration
}

func (s *slowReturn) Return(ctx context.Context, ds []broker.Delivery) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.takes):
		return s.Broker.Return(ctx, ds)
	}
}

// Many messages may take longer to go back than a few, within the grace period.
func TestStopWaitsForManyMessages(t *testing.T) {
	for name, tc := range map[string]struct {
		messages     int
		grace, takes time.Duration
		back         bool
	}{
		"a few":               {10, time.Minute, 3500 * time.Millisecond, false},
		"many":                {10_000, time.Minute, 4500 * time.Millisecond, true},
		"many, and too slow":  {10_000, time.Minute, 5500 * time.Millisecond, false},
		"many, without grace": {10_000, time.Second, 4500 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &slowReturn{workertest.NewBroker(), tc.takes}
				w, err := worker.New(worker.Config{
					Broker: b, Queues: []string{"q"}, Logger: silent(), Grace: tc.grace, Tasks: one(func(context.Context) (any, error) { return nil, nil }),
				})
				if err != nil {
					t.Fatal(err)
				}
				bench := &bench{Broker: b.Broker}
				for range tc.messages {
					bench.send(t, "t", func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour) })
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- w.Run(ctx) }()
				synctest.Wait()
				if n := w.Status().Scheduled; n != tc.messages {
					t.Fatalf("%d messages are held, want %d", n, tc.messages)
				}
				began := time.Now()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if back := len(b.Queued("q")) == tc.messages; back != tc.back {
					t.Errorf("after %v %d messages are back", time.Since(began), len(b.Queued("q")))
				}
				if took := time.Since(began); took > tc.grace+6*time.Second {
					t.Errorf("the stop took %v", took)
				}
			})
		})
	}
}
