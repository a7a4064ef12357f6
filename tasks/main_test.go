package tasks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is the time of all tests, with a microsecond part that ends in zeros.
var now = time.Date(2026, time.November, 23, 20, 15, 4, 120_000_999, time.UTC)

const stamp = "2026-11-23T20:15:04.120000"

// outbox is a mailer that keeps the mails, or fails with err.
type outbox struct {
	err  error
	then func() // called at the end of Send; nil: nothing

	mu   sync.Mutex
	sent []mail.Message
}

func (o *outbox) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	if o.then != nil {
		defer o.then()
	}
	if o.err != nil {
		return mail.Receipt{}, o.err
	}
	if err := m.BeforeFinal(ctx); err != nil {
		return mail.Receipt{}, &mail.SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", mail.ErrWithheld, err)}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, m)
	return mail.Receipt{MessageID: "<" + m.TaskID + "@example.com>"}, nil
}

// directory is a user table.
type directory struct {
	err   error
	users map[int64]string
}

func (d directory) Email(ctx context.Context, id int64) (string, error) {
	if d.err != nil {
		return "", d.err
	}
	if email, ok := d.users[id]; ok {
		return email, nil
	}
	return "", store.ErrNoUser
}

// bench is a Service on fakes and the real templates, with its mails and logs.
type bench struct {
	*tasks.Service
	out  *outbox
	logs *bytes.Buffer
}

// realTemplates makes the set once: it checks itself, which takes a moment.
var realTemplates = sync.OnceValues(func() (*templates.Set, error) { return tasks.NewTemplates(templates.Options{}) })

func newBench(tb testing.TB, change func(*tasks.Config)) bench {
	tb.Helper()
	set, err := realTemplates()
	if err != nil {
		tb.Fatalf("templates: %v", err)
	}
	b := bench{out: &outbox{}, logs: &bytes.Buffer{}}
	cfg := tasks.Config{
		Users:     directory{users: map[int64]string{42: "ada@example.com"}},
		Mailer:    b.out,
		Templates: set,
		Now:       func() time.Time { return now },
		Logger:    slog.New(slog.NewJSONHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	if b.Service, err = tasks.New(cfg); err != nil {
		tb.Fatalf("New: %v", err)
	}
	return b
}

// task returns the first attempt of a task, as the engine would make it of a message with
// these arguments.
func task(name, args, kwargs string) *worker.Task {
	return &worker.Task{
		ID:         "0b7b8fb4-5a0e-4d57-9fe4-3b4bd7c1a001",
		Name:       name,
		MaxRetries: 3,
		Message:    &protocol.Message{Protocol: 2, Task: name, Args: protocol.Raw(args), Kwargs: protocol.Raw(kwargs)},
	}
}

// run runs a task as the engine does.
func (b bench) run(ctx context.Context, t *worker.Task) (any, error) {
	return b.Definitions()[t.Name].Handler.Run(worker.NewContext(ctx, t), t)
}

// keys writes a JSON object with its keys in order and its values as they are,
// without the white space between them.
func keys(tb testing.TB, v any) string {
	tb.Helper()
	raw, err := protocol.Marshal(v)
	if err != nil {
		tb.Fatalf("encode the result: %v", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		tb.Fatalf("the result is not JSON: %v", err)
	}
	return b.String()
}

// hasAny reports whether text has one of the words in it.
func hasAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
