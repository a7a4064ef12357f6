package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// moody is a Broker that refuses what is settled together, as fault says.
type moody struct {
	*workertest.Broker
	fault          func(i int, s broker.Settlement) error
	together, most atomic.Int64
	held           chan struct{} // closed: SettleAll goes on
}

func (m *moody) SettleAll(ctx context.Context, ss []broker.Settlement) []error {
	m.together.Add(1)
	m.most.Store(max(m.most.Load(), int64(len(ss))))
	if m.held != nil {
		select {
		case <-m.held:
		case <-ctx.Done():
		}
	}
	errs := make([]error, len(ss))
	for i, s := range ss {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = m.fault(i, s)
		}
		if errs[i] == nil {
			_, errs[i] = m.Settle(ctx, s)
		}
	}
	return errs
}

// runMoody runs n tasks and waits until nothing is left of them.
func runMoody(t *testing.T, m *moody, n int) (w *worker.Worker, ids []string, stop func()) {
	t.Helper()
	m.Broker = workertest.NewBroker()
	w, err := worker.New(worker.Config{
		Broker: m, Queues: []string{"q"}, Logger: silent(), Concurrency: 4,
		Tasks: one(func(context.Context) (any, error) { return nil, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Broker: m.Broker}
	for range n {
		ids = append(ids, b.send(t, "t"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, ids, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Settlements that are refused in a batch are tried again one by one. The others are not
// settled twice.
func TestEndsRefused(t *testing.T) {
	fault := errors.New("refused")
	for name, refuse := range map[string]func(i int, s broker.Settlement) error{
		"all": func(int, broker.Settlement) error { return fault },
		"every other": func(i int, _ broker.Settlement) error {
			if i%2 == 0 {
				return fault
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &moody{fault: refuse}
			w, ids, stop := runMoody(t, m, 300)
			b := &bench{Broker: m.Broker}
			b.eventually(t, "all have succeeded", func() bool {
				for _, id := range ids {
					if b.status(id) != protocol.StateSuccess {
						return false
					}
				}
				return true
			})
			stop()
			if n := w.Status().Running; n != 0 {
				t.Errorf("%d run after the stop", n)
			}
			stored := map[string]int{}
			for _, r := range m.History() {
				stored[r.TaskID]++
			}
			for _, id := range ids {
				if stored[id] != 1 {
					t.Errorf("the result of %s was stored %d times", id, stored[id])
				}
			}
		})
	}
}

// Runs that end while a round trip is in progress are settled by the next one. Their slots
// are free meanwhile.
func TestEndsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no run is long
		m := &moody{fault: func(int, broker.Settlement) error { return nil }, held: make(chan struct{})}
		w, _, stop := runMoody(t, m, 60)
		synctest.Wait()
		if running, left := w.Status().Running, len(m.Queued("q")); running != 0 || left != 0 {
			t.Errorf("%d run, %d wait: slots are not free", running, left)
		}
		close(m.held)
		time.Sleep(time.Second)
		if n := m.Unacked(); n != 0 || len(m.Queued("q")) != 0 {
			t.Errorf("%d are unacknowledged", n)
		}
		stop()
		if n := m.together.Load(); n > 10 {
			t.Errorf("%d round trips for 60 ends", n)
		}
		if n := m.most.Load(); n > 64 {
			t.Errorf("%d in one round trip", n)
		}
	})
}

// A broker that does not answer does not hold up a stop for longer than it may.
func TestEndsWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock does not count how busy the machine is
		m := &moody{fault: func(int, broker.Settlement) error { return nil }, held: make(chan struct{})}
		w, _, stop := runMoody(t, m, 20)
		b := &bench{Broker: m.Broker}
		b.eventually(t, "ends are on their way", func() bool { return len(b.Queued("q")) == 0 && m.together.Load() > 0 })
		began := time.Now()
		w.StopNow()
		stop()
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}
