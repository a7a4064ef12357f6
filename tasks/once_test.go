package tasks_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// planned sends mails as a test says.
type planned struct {
	sent atomic.Int64
	do   func(n int64) error // of the n-th mail, from 1; nil: all are sent
}

func (s *planned) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	if err := m.BeforeFinal(ctx); err != nil {
		return mail.Receipt{}, err
	}
	n := s.sent.Add(1)
	if s.do != nil {
		if err := s.do(n); err != nil {
			return mail.Receipt{}, err
		}
	}
	return mail.Receipt{MessageID: "<x@y>"}, nil
}

type everyone struct{}

func (everyone) Email(context.Context, int64) (string, error) { return "ann@example.com", nil }

// asked is a task for a mail: that of an event, or of a producer.
type asked struct {
	data  string
	event bool
	id    string // of the task; "" for a new one
}

func ofEvent(data string) asked { return asked{data: data, event: true} }
func ofTask(data string) asked  { return asked{data: data} }

// The mail of an event stands in for one task, and that of a task for its event. A further task
// asks for a separate mail.
func TestOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	refused := &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}}
	unknown := &mail.SendError{Command: "."}
	slow := func(int64) error { time.Sleep(300 * time.Millisecond); return nil }
	const id, text, both = `{"booking_id": 17}`, `{"booking_id": "17"}`, `{"booking_id": 17, "booking_reference": "BK-1"}`
	for name, test := range map[string]struct {
		tasks    []asked
		do       func(n int64) error // of the mail server
		sent     int64
		answers  string // a digit for each task: 1 sent, 0 not
		together bool
		not      bool // not of Config.Once
	}{
		"task, event":               {tasks: []asked{ofTask(id), ofEvent(text)}, sent: 1, answers: "11"},
		"event, task":               {tasks: []asked{ofEvent(id), ofTask(text)}, sent: 1, answers: "11"},
		"at the same time":          {tasks: []asked{ofTask(id), ofEvent(`{"booking_id": 17.0}`)}, do: slow, sent: 1, answers: "11", together: true},
		"by the reference":          {tasks: []asked{ofTask(`{"booking_id": "BK-1"}`), ofEvent(both)}, sent: 1, answers: "11"},
		"a number is none":          {tasks: []asked{ofTask(`{"booking_id": 18}`), ofEvent(`{"booking_id": 17, "booking_reference": "18"}`)}, sent: 2, answers: "11"},
		"another booking":           {tasks: []asked{ofEvent(id), ofTask(`{"booking_id": 18}`)}, sent: 2, answers: "11"},
		"without an id":             {tasks: []asked{ofTask(`{}`), ofEvent(`{}`)}, sent: 2, answers: "11"},
		"not of Once":               {tasks: []asked{ofTask(id), ofEvent(id)}, sent: 2, answers: "11", not: true},
		"a strange id":              {tasks: []asked{ofEvent(`{"booking_id": "ä /\u0000*"}`), ofTask(`{"booking_id": "ä /\u0000*"}`)}, sent: 1, answers: "11"},
		"the task is refused":       {tasks: []asked{ofTask(id), ofEvent(id)}, do: only(refused), sent: 2, answers: "01"},
		"the event is refused":      {tasks: []asked{ofEvent(id), ofTask(id)}, do: only(refused), sent: 2, answers: "01"},
		"the task is unsure":        {tasks: []asked{ofTask(id), ofEvent(id)}, do: only(unknown), sent: 1, answers: "00"},
		"the event is unsure":       {tasks: []asked{ofEvent(id), ofTask(id), ofTask(id)}, do: only(unknown), sent: 2, answers: "001"},
		"a second task":             {tasks: []asked{ofTask(id), ofEvent(id), ofTask(id), ofEvent(id)}, sent: 2, answers: "1111"},
		"two tasks after the event": {tasks: []asked{ofEvent(id), ofTask(id), ofTask(id), ofTask(id)}, sent: 3, answers: "1111"},
		"two names of one booking":  {tasks: []asked{ofEvent(both), ofTask(`{"booking_id": "BK-1"}`), ofTask(id)}, sent: 2, answers: "111"},
		"tasks alone":               {tasks: []asked{ofTask(id), ofTask(id)}, sent: 2, answers: "11"},
		"a second task is refused":  {tasks: []asked{ofTask(id), ofTask(id), ofEvent(id)}, do: second(refused), sent: 2, answers: "101"},
		"a task that is there twice": {
			tasks: []asked{{data: id, id: "6f2b9a51-1d9c-4a8c-a0c3-000000000001"}, {data: id, id: "6f2b9a51-1d9c-4a8c-a0c3-000000000001"}}, sent: 1, answers: "11",
		},
		"all at the same time": {tasks: []asked{ofEvent(id), ofTask(id), ofTask(id), ofEvent(id), ofTask(id)}, do: slow, sent: 3, answers: "11111", together: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &planned{do: test.do}
			c := tasks.Config{Users: everyone{}, Mailer: out, Templates: set(t), Logger: slog.New(slog.DiscardHandler)}
			if !test.not {
				c.Once = []templates.Kind{tasks.BookingConfirmation{}.Kind()}
			}
			client := startOnce(t, server, c, name)
			var results []*worker.AsyncResult
			answers := make([]tasks.Result, len(test.tasks))
			for i, asked := range test.tasks {
				results = append(results, asked.send(t, client))
				if !test.together {
					get(t, results[i], &answers[i])
				}
			}
			got := ""
			for i := range test.tasks {
				get(t, results[i], &answers[i])
				r := answers[i]
				if got += map[bool]string{true: "1", false: "0"}[r.Success]; r.Success && (r.Email != "ann@example.com" || r.BookingID == nil && test.tasks[0].data != "{}") {
					t.Errorf("answer %+v", r)
				}
			}
			if got != test.answers || out.sent.Load() != test.sent {
				t.Errorf("%d mails, want %d; answers %s, want %s: %+v", out.sent.Load(), test.sent, got, test.answers, answers)
			}
		})
	}
}

// The mail of an event stands in for a task of the next day, and for none later.
func TestOncePair(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, test := range map[string]struct {
		later time.Duration
		sent  int64
	}{"23 hours later": {23 * time.Hour, 1}, "25 hours later": {25 * time.Hour, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later atomic.Int64
			out := &planned{}
			client := startOnce(t, server, tasks.Config{
				Users: everyone{}, Mailer: out, Templates: set(t), Logger: slog.New(slog.DiscardHandler),
				Once: []templates.Kind{tasks.BookingConfirmation{}.Kind()},
				Now:  func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
			}, name)
			var answer tasks.Result
			get(t, ofEvent(`{"booking_id": 17}`).send(t, client), &answer)
			later.Store(int64(test.later))
			get(t, ofTask(`{"booking_id": 17}`).send(t, client), &answer)
			if out.sent.Load() != test.sent || !answer.Success {
				t.Errorf("%d mails, want %d; answer %+v", out.sent.Load(), test.sent, answer)
			}
		})
	}
}

// A worker dies after it has sent the mail. The run of another worker waits for the outcome, and
// until it is known the task of a producer sends no second mail.
func TestOnceAfterDeath(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	link, err := proxy.New(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	release := make(chan struct{})
	out := &planned{do: func(n int64) error {
		if n == 1 { // the worker learns nothing more
			if err := link.Set(proxy.Freeze); err != nil {
				t.Error(err)
			}
			<-release
		}
		return nil
	}}
	deferred, waits := make(chan struct{}, 100), make(chan struct{}, 100)
	c := tasks.Config{
		Users: everyone{}, Mailer: out, Templates: set(t), Once: []templates.Kind{tasks.BookingConfirmation{}.Kind()},
		Logger: slog.New(heard{slog.DiscardHandler, map[string]chan struct{}{
			"mail deferred, no retry spent": deferred, "mail waits for another task that sends it": waits,
		}}),
	}
	r := redis.Config{URL: "redis://" + link.Addr() + "/0", OwnerTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)}
	workOnce(t, r, c)
	t.Cleanup(func() { // the first worker comes back
		close(release)
		if err := link.Set(proxy.Pass); err != nil {
			t.Error(err)
		}
	})
	publisher := clientOnce(t, redis.Config{URL: server.URL(0), Logger: r.Logger})
	ofEvent(`{"booking_id": 17}`).send(t, publisher)
	for end := time.Now().Add(30 * time.Second); out.sent.Load() == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	r.URL = server.URL(0)
	workOnce(t, r, c)
	await := func(what string, told chan struct{}) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(90 * time.Second): // a task waits for a minute at most
			t.Fatalf("not in time: %s; %d mails", what, out.sent.Load())
		}
	}
	await("the other worker has the message of the event, and waits", deferred)
	ofTask(`{"booking_id": 17}`).send(t, publisher)
	await("the task waits", waits)
	await("it waits again, after the end of the run of the event", waits)
	if n := out.sent.Load(); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

// heard is a handler that tells of some messages.
type heard struct {
	slog.Handler
	of map[string]chan struct{}
}

func (h heard) Enabled(context.Context, slog.Level) bool { return true }
func (h heard) WithAttrs([]slog.Attr) slog.Handler       { return h }

func (h heard) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.of[r.Message] <- struct{}{}:
	default:
	}
	return nil
}

// send publishes the task.
func (a asked) send(t *testing.T, client *worker.Client) *worker.AsyncResult {
	t.Helper()
	var data map[string]any
	if err := json.Unmarshal([]byte(a.data), &data); err != nil {
		t.Fatal(err)
	}
	options := canvas.Options{TaskID: a.id}
	if a.event {
		options.Headers = map[string]any{tasks.EventHeader: "evently:bookings:confirmed"}
	}
	r, err := client.Send(t.Context(), canvas.New(tasks.NameBookingConfirmation, 42, data).Set(options))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, r *worker.AsyncResult, answer *tasks.Result) {
	t.Helper()
	if err := r.Get(t.Context(), answer); err != nil {
		t.Fatal(err)
	}
}

// second returns an error for the second mail.
func second(err error) func(int64) error {
	return func(n int64) error {
		if n == 2 {
			return err
		}
		return nil
	}
}

// only returns an error for the first mail.
func only(err error) func(int64) error {
	return func(n int64) error {
		if n == 1 {
			return err
		}
		return nil
	}
}

func set(t *testing.T) *templates.Set {
	t.Helper()
	s, err := tasks.NewTemplates(templates.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startOnce starts a worker in keys of its own.
func startOnce(t *testing.T, server *redistest.Server, c tasks.Config, prefix string) *worker.Client {
	t.Helper()
	r := redis.Config{URL: server.URL(0), KeyPrefix: prefix + ":", ResultKeyPrefix: prefix + ":", Logger: c.Logger}
	workOnce(t, r, c)
	return clientOnce(t, r)
}

// workOnce runs a worker until the test ends.
func workOnce(t *testing.T, r redis.Config, c tasks.Config) {
	t.Helper()
	service, err := tasks.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := redis.New(r)
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{Broker: b, Queues: []string{tasks.Queue}, Tasks: service.Definitions(), Concurrency: 2, Logger: c.Logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func clientOnce(t *testing.T, r redis.Config) *worker.Client {
	t.Helper()
	publisher, err := redis.New(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { publisher.Close() })
	client, err := worker.NewClient(worker.ClientConfig{Backend: publisher, Publishing: worker.Publishing{DefaultQueue: tasks.Queue}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
