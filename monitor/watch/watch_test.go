package watch_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that the test sets.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func open(t *testing.T, url string) *redis.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func message(id int) string {
	return fmt.Sprintf(`{"body": "W10=", "headers": {"id": "%d", "task": "t"}, "properties": {"delivery_tag": "%d"}}`, id, id)
}

// A look at a real Redis tells depths, ages, rates and waits of messages that carry no time.
func TestLook(t *testing.T) {
	r := testkit.StartRedis(t)
	c := &clock{time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)}
	w := watch.New(watch.Config{Source: open(t, r.URL()).Queues(), Queues: []string{"mails", "bulk"}, Now: c.read, Logger: slog.New(slog.DiscardHandler)})
	look := func() watch.Queue {
		w.Look(t.Context())
		if f := w.State().Fault; f != "" {
			t.Fatal(f)
		}
		q, ok := w.State().Queue("mails")
		if !ok {
			t.Fatal("queue not watched")
		}
		return q
	}
	r.Do("LPUSH", "mails\x06\x163", message(1))
	r.Do("SET", "bulk", "no list")
	r.Do("HSET", "unacked", "claim", "entry")
	q := look()
	if q.Messages != 1 || q.Lists[1].Messages != 1 || !q.Oldest.AtLeast || w.State().Unacked != 1 {
		t.Errorf("first look: %+v, %d unacked", q, w.State().Unacked)
	}
	if bulk, _ := w.State().Queue("bulk"); !bulk.Broken || bulk.Messages != 0 {
		t.Errorf("queue of another type: %+v", bulk)
	}
	for second := range 20 {
		c.now = c.now.Add(time.Second)
		if second < 10 {
			r.Do("LPUSH", "mails", message(10+2*second), message(11+2*second))
		} else {
			r.Do("RPOP", "mails")
			r.Do("RPOP", "mails")
		}
		q = look()
		if second == 0 {
			r.Do("RPOP", "mails\x06\x163")
		}
		if second == 9 && (q.Messages != 20 || q.Oldest.Seconds != 9 || q.Oldest.AtLeast || q.In != 2 || q.Empty != 0) {
			t.Errorf("full: %+v", q)
		}
		if second == 14 && (q.Messages != 10 || q.Oldest.Seconds != 9 || q.Out != 1 && q.Out != 1.1) {
			t.Errorf("half: %+v", q)
		}
	}
	if q.Messages != 0 || q.Oldest.Known || q.Waits.Count() != 20 || q.Waits.Sum != 200 || q.Waits.Unknown != 1 || q.Arrived != 20 || q.Taken != 21 {
		t.Errorf("empty: %+v", q)
	}
	if s := w.Samples("mails", time.Time{}); len(s) != 21 || s[10].Messages != 20 || s[10].In != 2 || s[0].Oldest.AtLeast != true {
		t.Errorf("%d samples: %+v", len(s), s)
	}
	if text := metrics(t, w); !strings.Contains(text, histogram("bulk", 0, 0)) || !strings.Contains(text, histogram("mails", 20, 200)) ||
		!strings.Contains(text, `evently_queue_messages{priority="3",queue="mails"} 0`) {
		t.Error(text)
	}

	// A server that does not answer leaves what was known, and says so.
	r.Proc.Kill()
	w.Look(t.Context())
	if s := w.State(); s.Fault == "" || len(s.Queues) != 2 || !s.At.Equal(c.now) {
		t.Errorf("without Redis: %+v", s)
	}
}

// metrics returns the metrics of a Watch as Prometheus reads them.
func metrics(t *testing.T, w *watch.Watch) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.Collector())
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	if answer.Code != 200 {
		t.Fatalf("metrics: %s", answer.Body)
	}
	return answer.Body.String()
}

func histogram(queue string, n, sum int) (text string) {
	for _, b := range watch.Buckets {
		below := 0
		if b >= 10 {
			below = n
		}
		text += fmt.Sprintf("evently_queue_wait_seconds_bucket{queue=%q,le=%q} %d\n", queue, strings.TrimSuffix(fmt.Sprintf("%.1f", b), ".0"), below)
	}
	return text + fmt.Sprintf("evently_queue_wait_seconds_bucket{queue=%q,le=\"+Inf\"} %d\nevently_queue_wait_seconds_sum{queue=%q} %d\nevently_queue_wait_seconds_count{queue=%q} %d\n", queue, n, queue, sum, queue, n)
}

// Queues are found in the configuration, with the workers and in kombu's bindings. Queues for
// answers are left out.
func TestNames(t *testing.T) {
	r := testkit.StartRedis(t)
	for _, q := range []string{"declared", "it's <b>\"hostile\"\xff"} {
		r.Do("SADD", "_kombu.binding."+q, q+"\x06\x16\x06\x16"+q)
	}
	r.Do("SADD", "_kombu.binding.reply.celery.pidbox", "id\x06\x16\x06\x16id.reply.celery.pidbox")
	r.Do("SADD", "_kombu.binding.celeryev", "worker.#\x06\x16\x06\x16celeryev.id")
	r.Do("SADD", "_kombu.binding.strange", "unacked\x06\x16\x06\x16unacked", "no binding")
	r.Do("SET", "_kombu.binding.text", "no set")
	for i := range 3000 {
		r.Do("SET", fmt.Sprintf("celery-task-meta-%d", i), "{}")
	}
	w := watch.New(watch.Config{
		Source: open(t, r.URL()).Queues(), Queues: []string{"mails"}, Declared: true, Interval: 20 * time.Millisecond,
		Consumers: func(context.Context) (map[string][]string, int, error) {
			return map[string][]string{"consumed": {"w@h"}, "mails": {"v@h", "w@h"}}, 2, nil
		},
		Pauses: func(_ context.Context, queues ...string) (map[string]broker.Pause, error) {
			return map[string]broker.Pause{"mails": {By: "ops"}}, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	var found []string
	testkit.Eventually(t, 30*time.Second, "all queues are watched", func() bool {
		found = nil
		for _, q := range w.State().Queues {
			found = append(found, q.Name)
		}
		mails, _ := w.State().Queue("mails")
		return len(found) == 4 && mails.Paused != nil && len(mails.Consumers) == 2
	})
	if want := []string{"mails", "consumed", "declared", "it's <b>\"hostile\"\xff"}; !slices.Equal(found, want) {
		t.Errorf("queues %q, want %q", found, want)
	}
	metrics(t, w)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Messages that workers take between two looks are counted, because the workers tell how many
// they have taken.
func TestTaken(t *testing.T) {
	r := testkit.StartRedis(t)
	b, err := redis.New(redis.Config{URL: r.URL(), OwnerTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 300
	consumer, err := worker.New(worker.Config{
		Broker: b, Name: "w@h", Queues: []string{"mails"}, Concurrency: 4, WithoutMingle: true, Logger: slog.New(slog.DiscardHandler),
		Tasks: map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil })}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := watch.New(watch.Config{Source: open(t, r.URL()).Queues(), Queues: []string{"mails"}, Interval: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- w.Run(ctx) }()
	testkit.Eventually(t, 30*time.Second, "a first look", func() bool { return !w.State().At.IsZero() })
	go func() { done <- consumer.Run(ctx) }()
	for id := range messages {
		r.Do("LPUSH", "mails", fmt.Sprintf(`{"body": "W1tdLCB7fSwge31d", "content-type": "application/json", "content-encoding": "utf-8", "headers": {"id": "i%d", "task": "t", "lang": "py"}, `+
			`"properties": {"delivery_tag": "d%d", "body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "mails"}, "priority": 0}}`, id, id))
	}
	testkit.Eventually(t, 30*time.Second, "all messages are counted", func() bool {
		q, _ := w.State().Queue("mails")
		return q.Taken >= messages && q.Waits.Count() >= messages && q.Messages == 0
	})
	if q, _ := w.State().Queue("mails"); q.Taken != messages || q.Waits.Count() != messages || q.Arrived != messages {
		t.Errorf("%d taken, %d arrived, %d waits, want %d of each", q.Taken, q.Arrived, q.Waits.Count(), messages)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// One look at many queues with a backlog, and messages that come and go.
func BenchmarkLook(b *testing.B) {
	for _, queues := range []int{1, 50, 200} {
		b.Run(fmt.Sprint(queues), func(b *testing.B) {
			r := testkit.StartRedis(b)
			source, err := redis.New(redis.Config{URL: r.URL(), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer source.Close()
			var names []string
			body := strings.Repeat("x", 1500)
			for q := range queues {
				names = append(names, fmt.Sprintf("q%d", q))
				for range 100 {
					r.Do("LPUSH", names[q], body)
				}
			}
			w := watch.New(watch.Config{Source: source.Queues(), Queues: names, Logger: slog.New(slog.DiscardHandler)})
			for b.Loop() {
				w.Look(b.Context())
			}
			if f := w.State().Fault; f != "" {
				b.Fatal(f)
			}
		})
	}
}

// A server that answers reads and refuses writes is told, with the remedy. A user without the
// right to write learns nothing, and tries no more.
func TestRefusedWrites(t *testing.T) {
	r := testkit.StartRedis(t)
	r.Do("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-set")
	for user, url := range map[string]string{"writer": r.URL(), "reader": "redis://reader:secret@" + r.Addr() + "/0"} {
		var logged bytes.Buffer
		w := watch.New(watch.Config{Source: open(t, url).Queues(), Queues: []string{"mails"}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		for _, step := range []struct {
			set             []any
			refusal, remedy string
		}{
			{[]any{"maxmemory", 0}, "", ""},
			{[]any{"maxmemory", 1}, "OOM command not allowed", "raise maxmemory"},
			{[]any{"maxmemory", 0}, "", ""},
			{[]any{"min-replicas-to-write", 1}, "NOREPLICAS", "start them"},
			{[]any{"min-replicas-to-write", 0}, "", ""},
		} {
			r.Do("CONFIG", append([]any{"SET"}, step.set...)...)
			w.Look(t.Context())
			s := w.State()
			if user == "reader" {
				step.refusal, step.remedy = "", ""
			}
			if s.Fault != "" || (s.Refusal == "") != (step.refusal == "") || !strings.HasPrefix(s.Refusal, step.refusal) || !strings.Contains(s.Remedy, step.remedy) {
				t.Errorf("%s, %v: fault %q, refusal %q, remedy %q; want %q and %q", user, step.set, s.Fault, s.Refusal, s.Remedy, step.refusal, step.remedy)
			}
		}
		if n := strings.Count(logged.String(), "redis takes writes again"); user == "writer" && n != 2 {
			t.Errorf("logged %d times that writes are taken again:\n%s", n, logged.String())
		}
	}
	// Equal refusals are one entry with their count behind its name.
	if refused := r.Do("ACL", "LOG").([]any); len(refused) != 1 || refused[0].([]any)[1] != int64(1) {
		t.Errorf("refusals of the user without the right: %q, want one", refused)
	}
	if n := r.Int("DBSIZE"); n != 0 {
		t.Errorf("looks have left %d keys", n)
	}
}

// A server that wants a login now is told as that, with what to do, although Redis answers a look,
// which has many arguments, with a fault of the protocol.
func TestWantsALogin(t *testing.T) {
	r := testkit.StartRedis(t)
	w := watch.New(watch.Config{Source: open(t, r.URL()).Queues(), Queues: []string{"mails"}, Logger: slog.New(slog.DiscardHandler)})
	r.Do("CONFIG", "SET", "requirepass", "secret")
	w.Look(t.Context())
	s := w.State()
	if !strings.Contains(s.Fault, "NOAUTH Authentication required") || !strings.Contains(s.Remedy, "set REDIS_PASSWORD") {
		t.Errorf("fault %q, remedy %q", s.Fault, s.Remedy)
	}
}
