package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// slowReturn is a Broker that takes its time to take messages back.
type slowReturn struct {
	*workertest.Broker
	takes time.Duration
}

func (s *slowReturn) Return(ctx context.Context, ds []worker.Delivery) error {
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
