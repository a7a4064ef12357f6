package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// marker is a secret that no view may show.
const marker = "SECRET-83214"

// publish puts a message into a queue.
func publish(t *testing.T, b *redis.Broker, queue, task string, change func(*protocol.Message)) string {
	t.Helper()
	m := &protocol.Message{
		ID: uuid.NewString(), Task: task, DeliveryTag: uuid.NewString(), RoutingKey: queue,
		Args: protocol.Raw("[]"), Kwargs: protocol.Raw(`{"otp": "` + marker + `", "email": "ada@example.com"}`),
		KwargsRepr: "{'otp': '" + marker + "'}",
	}
	if change != nil {
		change(m)
	}
	raw, err := protocol.Encode(m)
	if err == nil {
		err = b.Publish(t.Context(), broker.Changes{Publish: []broker.Publication{{Queue: queue, Raw: raw, Priority: m.Priority}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func newSchedule(b *redis.Broker) (*inspect.Schedule, *inspect.Presenter) {
	p := inspect.NewPresenter(nil, func(task string) (secret, ok bool) { return false, strings.HasPrefix(task, "shop.") })
	return inspect.NewSchedule(inspect.ScheduleConfig{Source: b.Queues(), Presenter: p, Operator: inspect.NewOperator(b), Results: b.Results}), p
}

// Scheduled tasks and retries of workers of both kinds are seen, run now and cancelled.
func TestSchedule(t *testing.T) {
	server := testkit.StartRedis(t)
	b := openBroker(t, server.URL())
	schedule, _ := newSchedule(b)
	var ran atomic.Int64
	w, err := worker.New(worker.Config{
		Broker: openBroker(t, server.URL()), Name: "go@h", Queues: []string{"go"}, Concurrency: 2, WithoutMingle: true, Logger: quiet,
		Tasks: map[string]worker.Definition{
			"shop.go": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { ran.Add(1); return nil, nil })},
			"shop.retry": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
				return nil, &worker.RetryError{Err: fmt.Errorf("the relay refuses ada@example.com with otp=%s", marker), Countdown: time.Hour}
			}), MaxRetries: 3},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	startPython(t, testkit.CeleryNew, server.URL())
	later := func(m *protocol.Message) { m.ETA = time.Now().Add(time.Hour).UTC() }
	sooner := func(m *protocol.Message) { m.ETA = time.Now().Add(time.Minute).UTC() }
	first, second := publish(t, b, "go", "shop.go", sooner), publish(t, b, "go", "shop.go", later)
	retried := publish(t, b, "go", "shop.retry", nil)
	python := publish(t, b, "python-"+testkit.CeleryNew, "shop.wait", func(m *protocol.Message) { later(m); m.Kwargs, m.KwargsRepr = protocol.Raw("{}"), "" })
	var snap *inspect.Snapshot
	seen := map[string]inspect.Waiting{}
	look := func() {
		t.Helper()
		schedule.Forget(t.Context())
		if snap, err = schedule.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		clear(seen)
		for _, w := range snap.Waiting {
			seen[w.ID] = w
		}
	}
	testkit.Eventually(t, 60*time.Second, "all four wait for their time", func() bool { look(); return len(seen) == 4 })
	if snap.Waiting[0].ID != first || seen[first].Node != "go@h" || seen[first].Python || !seen[python].Python || seen[retried].Retries != 1 || snap.Queues["go"] != 3 {
		t.Errorf("%+v", snap)
	}
	reasons, err := schedule.Reasons(t.Context(), snap.Waiting)
	if err != nil || !strings.Contains(reasons[retried], "the relay refuses") || len(reasons) != 1 {
		t.Errorf("reasons %q, %v", reasons, err)
	}
	if text := fmt.Sprintf("%+v %v", snap, reasons); strings.Contains(text, marker) || strings.Contains(text, "ada@") {
		t.Errorf("a secret is shown: %s", text)
	}

	if err := schedule.RunNow(t.Context(), seen[first].Claim); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, 30*time.Second, "the task has run", func() bool { look(); return ran.Load() == 1 && len(seen) == 3 })
	for claim, want := range map[string]error{
		snap.Waiting[0].Claim + "0": broker.ErrNotHeld, seen[python].Claim: broker.ErrHeldByPython,
		"0b5bd9f7-6a5c-4d4e-9d0a-0d7d1f0f6a11": broker.ErrNotHeld, // as of Python, and no worker holds it
	} {
		if err := schedule.RunNow(t.Context(), claim); !errors.Is(err, want) {
			t.Errorf("run now: %v, want %v", err, want)
		}
	}
	if answers, err := schedule.Cancel(patient(t), []string{second, python}); err != nil || inspect.Failed(answers) != nil || len(answers) != 2 {
		t.Errorf("cancel: %+v, %v", answers, err)
	}
	testkit.Eventually(t, 30*time.Second, "both are revoked", func() bool {
		look()
		_, waits := seen[second]
		return (!waits || seen[second].Revoked) && seen[python].Revoked
	})
	if ran.Load() != 1 {
		t.Errorf("%d runs", ran.Load())
	}
}

// Peek shows both ends of each list without taking anything, and hides secrets. Purge takes
// all that is there.
func TestPeekAndPurge(t *testing.T) {
	server := testkit.StartRedis(t)
	b := openBroker(t, server.URL())
	_, p := newSchedule(b)
	var ids []string
	for range 5 {
		ids = append(ids, publish(t, b, "go", "shop.go", nil))
	}
	urgent := publish(t, b, "go", "strange.task", func(m *protocol.Message) {
		m.Priority, m.Args, m.Kwargs, m.KwargsRepr = 9, protocol.Raw(`["`+marker+`"]`), protocol.Raw("{}"), ""
	})
	server.Do("LPUSH", "go\x06\x163", "no message", strings.Repeat("x", 2<<20))
	peek := func(newest bool) []inspect.PeekedList {
		t.Helper()
		lists, err := p.Peek(t.Context(), b.Queues(), "go", newest, 3)
		if err != nil || len(lists) != 4 {
			t.Fatal(lists, err)
		}
		if text := fmt.Sprintf("%+v", lists); strings.Contains(text, marker) || strings.Contains(text, "ada@") {
			t.Errorf("a secret is shown: %s", text)
		}
		return lists
	}
	oldest, newest := peek(false), peek(true)
	if len(oldest[0].Messages) != 3 || oldest[0].Messages[0].ID != ids[0] || newest[0].Messages[0].ID != ids[4] || oldest[3].Messages[0].ID != urgent {
		t.Errorf("oldest %+v\nnewest %+v", oldest, newest)
	}
	if m := oldest[1].Messages; len(m) != 2 || !strings.Contains(m[0].Unreadable, "cannot be read") || !strings.Contains(m[1].Unreadable, "too large") || m[1].Size != 2<<20 {
		t.Errorf("strange messages: %+v", m)
	}
	if _, err := b.Queues().Peek(t.Context(), broker.QueueList{Queue: "unacked"}, false, 1); err == nil {
		t.Error("a peek into a key that is no queue")
	}
	for range 2500 {
		server.Do("LPUSH", "go", "x")
	}
	var steps []int
	n, err := b.Queues().Purge(t.Context(), "go", func(removed int) { steps = append(steps, removed) })
	if err != nil || n != 2508 || len(steps) != 5 || fmt.Sprint(server.Do("EXISTS", "go")) != "0" {
		t.Errorf("purged %d in steps %v, %v", n, steps, err)
	}
	if _, err := b.Queues().Purge(t.Context(), "unacked", nil); err == nil {
		t.Error("the unacked set was purged")
	}
}

// While Redis is unavailable each reader is told so: an old answer would look like a new one.
func TestScheduleWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	schedule, _ := newSchedule(openBroker(t, server.URL()))
	if _, err := schedule.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Proc.Kill()
	schedule.Forget(t.Context())
	for range 3 {
		if snap, err := schedule.Snapshot(t.Context()); err == nil {
			t.Fatalf("no error, and %+v", snap)
		}
	}
}

// slowly is a source that is slow once, and then fails.
type slowly struct {
	inspect.Source
	asked int
}

func (s *slowly) Claims(ctx context.Context, cursor string) ([]string, string, error) {
	if s.asked++; s.asked > 1 {
		return s.Source.Claims(ctx, cursor)
	}
	<-ctx.Done()
	return nil, "", ctx.Err()
}

// A reader whose patience ends does not leave its fault to the others for long.
func TestFaultOfASlowReading(t *testing.T) {
	t.Parallel()
	b := openBroker(t, testkit.StartRedis(t).URL())
	schedule := inspect.NewSchedule(inspect.ScheduleConfig{Source: &slowly{Source: b.Queues()}, Presenter: inspect.NewPresenter(nil, nil), Operator: inspect.NewOperator(b)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := schedule.Snapshot(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the first reader: %v", err)
	}
	begin := time.Now()
	testkit.Eventually(t, 30*time.Second, "the others read again", func() bool {
		_, err := schedule.Snapshot(t.Context())
		return err == nil
	})
	t.Logf("they had the fault for %v", time.Since(begin))
}
