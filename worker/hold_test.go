package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// mails is a worker whose tasks note their order.
type mails struct {
	*bench
	mu  sync.Mutex
	ran []string
}

func startMails(t *testing.T, change func(*worker.Config)) *mails {
	m := &mails{}
	note := func(_ context.Context, task *worker.Task) (any, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ran = append(m.ran, task.ID)
		if task.Redelivered && task.Retries != 0 {
			t.Errorf("%s has spent %d attempts", task.ID, task.Retries)
		}
		return 1, nil
	}
	cfg := worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"mail": {Handler: worker.HandlerFunc(note)}, "health": {Handler: worker.HandlerFunc(note)},
	}}
	if change != nil {
		change(&cfg)
	}
	m.bench = start(t, cfg)
	return m
}

func (m *mails) order() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ran)
}

func (m *mails) queued(t *testing.T) (ids []string) {
	t.Helper()
	for _, raw := range m.Queued("q") {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, env.ID)
	}
	return ids
}

// Held tasks stay in their queue, in their order; others are claimed around them. Once
// released they run in order.
func TestHold(t *testing.T) {
	m := startMails(t, nil)
	m.w.Hold("mail", "unheard of", "mail")
	if got := m.w.Status().Held; !slices.Equal(got, []string{"mail", "unheard of"}) {
		t.Errorf("held are %q", got)
	}
	var want []string
	for range 500 {
		want = append(want, m.send(t, "mail"))
	}
	health := m.send(t, "health")
	expired := m.send(t, "health", func(m *protocol.Message) { m.Expires = time.Now().Add(-time.Minute) })
	began := time.Now()
	m.eventually(t, "the health check is answered", func() bool { return m.status(health) == "SUCCESS" })
	t.Logf("answered after %v", time.Since(began)) // a quarter of a second on a quiet machine
	m.eventually(t, "an expired task is answered", func() bool { return m.status(expired) == "REVOKED" })
	if got := m.queued(t); !slices.Equal(got, want) || m.Unacked() != 0 {
		t.Errorf("%d messages wait, %d are claimed, want all %d in their order", len(got), m.Unacked(), len(want))
	}
	for _, raw := range m.Queued("q") {
		if d, err := protocol.Decode(raw, protocol.Limits{}); err != nil || d.Redelivered {
			t.Fatal("a held message was claimed")
		}
	}
	m.w.Hold()
	m.eventually(t, "all have run", func() bool { return len(m.order()) == len(want)+1 })
	if got := m.order()[1:]; !slices.Equal(got, want) {
		t.Error("released tasks run in another order")
	}
	if got := m.w.Status().Held; len(got) != 0 {
		t.Errorf("held are %q after the release", got)
	}
}

// Messages that were claimed before go back in order: the ones that wait for a slot, and the
// ones whose ETA comes.
func TestHoldGivesBack(t *testing.T) {
	for _, prefetch := range []int{3, 0} {
		t.Run(fmt.Sprintf("prefetch %d", prefetch), func(t *testing.T) {
			release := make(chan struct{})
			block := worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { <-release; return 1, nil })
			m := startMails(t, func(c *worker.Config) {
				c.Tasks["block"], c.PrefetchMultiplier, c.Concurrency = worker.Definition{Handler: block}, worker.Prefetch(prefetch), 4
			})
			for range 4 {
				m.send(t, "block")
			}
			m.eventually(t, "all slots are taken", func() bool { return m.w.Status().Running == 4 })
			later := m.send(t, "mail", func(m *protocol.Message) { m.ETA = time.Now().Add(500 * time.Millisecond) })
			var want []string
			if prefetch > 0 {
				m.eventually(t, "it waits for its ETA, or for a slot", func() bool { s := m.w.Status(); return s.Scheduled+s.Reserved == 1 })
			}
			for range 20 {
				want = append(want, m.send(t, "mail"))
			}
			if prefetch > 0 {
				m.eventually(t, "messages wait for a slot", func() bool { return m.w.Status().Reserved > 0 })
			}
			m.w.Hold("mail")
			m.eventually(t, "all are back", func() bool { return len(m.queued(t)) == 21 && m.Unacked() == 4 })
			if got := m.queued(t); !slices.Equal(got, append([]string{later}, want...)) {
				t.Errorf("the queue is %v, want %v first, then %v", got, later, want)
			}
			close(release)
			if got := m.order(); len(got) != 0 {
				t.Errorf("held tasks have run: %v", got)
			}
			m.w.Hold()
			m.eventually(t, "all have run", func() bool { return len(m.order()) == 21 })
		})
	}
}

// A handler that gives its message back and holds its tasks loses nothing, spends nothing and
// keeps the order.
func TestHoldAfterGiveBack(t *testing.T) {
	var m *mails
	down := true
	var mu sync.Mutex
	m = startMails(t, func(c *worker.Config) {
		c.Concurrency = 4
		handler := c.Tasks["mail"].Handler
		c.Tasks["mail"] = worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			mu.Lock()
			away := down
			mu.Unlock()
			if away {
				m.w.Hold("mail")
				return nil, worker.GiveBack(errors.New("relay unavailable"))
			}
			return handler.Run(ctx, task)
		})}
	})
	var want []string
	for range 100 {
		want = append(want, m.send(t, "mail"))
	}
	m.eventually(t, "all are in the queue, in their order", func() bool {
		return len(m.w.Status().Held) == 1 && m.Unacked() == 0 && slices.Equal(m.queued(t), want)
	})
	mu.Lock()
	down = false
	mu.Unlock()
	m.w.Hold()
	m.eventually(t, "all have run", func() bool { return len(m.order()) == 100 })
	for _, id := range want {
		m.eventually(t, "it has succeeded", func() bool { return m.status(id) == "SUCCESS" })
	}
}

// Without a Selector nothing is claimed while tasks are held.
func TestHoldWithoutSelector(t *testing.T) {
	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{Broker: core{b}, Queues: []string{"q"}, Tasks: one(func(context.Context) (any, error) { return 1, nil })})
	if err != nil {
		t.Fatal(err)
	}
	w.Hold("mail")
	bench := &bench{Broker: b, w: w, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	bench.cancel = cancel
	id := bench.send(t, "t")
	go func() { bench.done <- w.Run(ctx) }()
	bench.eventually(t, "it runs", func() bool { return w.Status().State == worker.StateRunning })
	time.Sleep(2 * 250 * time.Millisecond) // two looks
	if len(b.Queued("q")) != 1 {
		t.Error("a message was claimed")
	}
	w.Hold()
	bench.eventually(t, "the task has run", func() bool { return bench.status(id) == "SUCCESS" })
	bench.stop(t)
}

// Messages that wait for their rate limit go back at once, and in order, when their tasks are
// held or when one of them is given back by its handler.
func TestRateLimitedGoBack(t *testing.T) {
	for name, byHandler := range map[string]bool{"held": false, "given back": true} {
		t.Run(name, func(t *testing.T) {
			var m *mails
			var once sync.Once
			returned := make(chan struct{})
			m = startMails(t, func(c *worker.Config) {
				d := c.Tasks["mail"]
				note := d.Handler
				d.RateLimit = "1/h" // longer than this test waits
				d.Handler = worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
					if byHandler {
						defer once.Do(func() { close(returned) })
						return nil, worker.GiveBack(errors.New("relay unavailable"))
					}
					return note.Run(ctx, task)
				})
				c.Tasks["mail"], c.PrefetchMultiplier, c.Concurrency = d, worker.Prefetch(4), 4
			})
			var want []string
			for range 8 {
				want = append(want, m.send(t, "mail"))
			}
			if !byHandler {
				m.eventually(t, "the first one has run", func() bool { return len(m.order()) == 1 && m.Unacked() == 7 })
				m.w.Hold("mail")
				want = want[1:]
			} else {
				<-returned
				time.AfterFunc(500*time.Millisecond, func() { m.w.Hold("mail") })
			}
			m.eventually(t, "all are back, in their order", func() bool {
				return len(m.w.Status().Held) == 1 && m.Unacked() == 0 && slices.Equal(m.queued(t), want)
			})
		})
	}
}
