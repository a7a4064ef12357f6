package tasks_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

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

// Two tasks for one booking: the first one decides, and the later one answers as it did.
func TestOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	refused := &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}}
	unknown := &mail.SendError{Command: "."}
	for name, test := range map[string]struct {
		first, second string // data
		do            func(n int64) error
		sent          int64
		result        [2]bool
		once          bool
		beginTogether bool
	}{
		"sent":                 {`{"booking_id": 17}`, `{"booking_id": "17"}`, nil, 1, [2]bool{true, true}, true, false},
		"at the same time":     {`{"booking_id": 17}`, `{"booking_id": 17.0}`, func(int64) error { time.Sleep(300 * time.Millisecond); return nil }, 1, [2]bool{true, true}, true, true},
		"by the reference":     {`{"booking_id": "BK-1"}`, `{"booking_id": 17, "booking_reference": "BK-1"}`, nil, 1, [2]bool{true, true}, true, false},
		"a number is none":     {`{"booking_id": 18}`, `{"booking_id": 17, "booking_reference": "18"}`, nil, 2, [2]bool{true, true}, true, false},
		"another booking":      {`{"booking_id": 17}`, `{"booking_id": 18}`, nil, 2, [2]bool{true, true}, true, false},
		"without an id":        {`{}`, `{}`, nil, 2, [2]bool{true, true}, true, false},
		"not of Once":          {`{"booking_id": 17}`, `{"booking_id": 17}`, nil, 2, [2]bool{true, true}, false, false},
		"a strange id":         {`{"booking_id": "ä /\u0000*"}`, `{"booking_id": "ä /\u0000*"}`, nil, 1, [2]bool{true, true}, true, false},
		"the first is refused": {`{"booking_id": 17}`, `{"booking_id": 17}`, only(refused), 2, [2]bool{false, true}, true, false},
		"the first is unsure":  {`{"booking_id": 17}`, `{"booking_id": 17}`, only(unknown), 1, [2]bool{false, false}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &planned{do: test.do}
			c := tasks.Config{Users: everyone{}, Mailer: out, Templates: set(t), Logger: slog.New(slog.DiscardHandler)}
			if test.once {
				c.Once = []templates.Kind{tasks.BookingConfirmation{}.Kind()}
			}
			client := startOnce(t, server, c, name)
			var results [2]*worker.AsyncResult
			var answers [2]tasks.Result
			get := func(i int) {
				if err := results[i].Get(t.Context(), &answers[i]); err != nil {
					t.Fatal(err)
				}
			}
			for i, data := range []string{test.first, test.second} {
				var d map[string]any
				if err := json.Unmarshal([]byte(data), &d); err != nil {
					t.Fatal(err)
				}
				var err error
				if results[i], err = client.Send(t.Context(), canvas.New(tasks.NameBookingConfirmation, 42, d)); err != nil {
					t.Fatal(err)
				}
				if !test.beginTogether {
					get(i)
				}
			}
			get(0)
			get(1)
			if got := [2]bool{answers[0].Success, answers[1].Success}; got != test.result || out.sent.Load() != test.sent {
				t.Errorf("%d mails, want %d; answers %+v", out.sent.Load(), test.sent, answers)
			}
			for _, r := range answers {
				if r.Success && (r.Email != "ann@example.com" || r.BookingID == nil && test.first != "{}") {
					t.Errorf("answer %+v", r)
				}
			}
		})
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
	publisher, err := redis.New(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		publisher.Close()
	})
	client, err := worker.NewClient(worker.ClientConfig{Backend: publisher, Publishing: worker.Publishing{DefaultQueue: tasks.Queue}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
