package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
	"github.com/evently/workers/worker/workertest"
)

// Secrets of every shape that a task may repeat are in no event, no answer, no log
// line and no reason of a dead letter.
func TestSecretsOfEveryShape(t *testing.T) {
	long := strings.Repeat("longsecret", 500)
	for name, secret := range map[string]string{
		"plain": "991122", "backslash": `Tr0ub4dor\3\4`, "quotes": `it's "so" 123`, "lines": "two\nlines\n77", "umlaut": "Müller-Lüdenscheidt", "long": long,
	} {
		t.Run(name, func(t *testing.T) {
			var log syncBuffer
			says := func(err func(string) error) worker.Definition {
				return worker.Definition{Handler: worker.Func(func(_ context.Context, in struct{ OTP string }) (any, error) {
					return nil, err("wrong one, the caller has sent " + in.OTP + " to us")
				})}
			}
			returns := worker.Func(func(_ context.Context, in struct{ OTP string }) (any, error) {
				return map[string]any{"note": strings.Repeat("x", 900) + in.OTP}, nil
			})
			b := start(t, worker.Config{Name: "w@h", SendTaskEvents: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
				Tasks: map[string]worker.Definition{
					"fails":    says(func(s string) error { return errors.New(s) }),
					"raises":   says(func(s string) error { return &worker.Exception{Type: "ValueError", Args: []any{s, []string{s}}} }),
					"retries":  says(func(s string) error { return worker.Retry(errors.New(s)) }),
					"rejects":  says(worker.Reject),
					"gives up": says(func(s string) error { return worker.GiveUp(map[string]any{"success": false}, s) }),
					"requeues": {AcksEarly: true, Handler: says(worker.Requeue).Handler},
					"returns":  {Handler: returns},
				}})
			raw, err := protocol.Marshal([]any{secret})
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, task := range []string{"fails", "raises", "retries", "rejects", "gives up", "requeues", "returns"} {
				ids = append(ids, b.send(t, task, func(m *protocol.Message) {
					m.Args, m.ArgsRepr, m.Shadow = raw, "custom: "+secret, "shadow of "+secret
				}))
			}
			t.Cleanup(func() {
				if t.Failed() {
					for _, id := range ids {
						t.Logf("%s: %v", id, of(b.events(t), id))
					}
					t.Log(log.String())
				}
			})
			b.eventually(t, "all have ended", func() bool {
				all := b.events(t)
				for _, id := range slices.Concat(ids[:5], ids[6:]) {
					ended := func(kind string) bool { return kind != "task-received" && kind != "task-started" }
					if !slices.ContainsFunc(of(all, id), ended) {
						return false
					}
				}
				return strings.Contains(log.String(), "acknowledged before it began")
			})
			var answers string
			b.eventually(t, "the retry waits for its ETA", func() bool {
				answers = b.ask(t, "scheduled", "{}") + b.ask(t, "query_task", fmt.Sprintf(`{"ids": [%q]}`, ids[2]))
				return strings.Contains(answers, ids[2])
			})
			places := map[string]string{"log": log.String(), "answers": answers}
			for _, e := range b.events(t) {
				places["event "+e.Type] += e.raw
			}
			for _, l := range b.DeadLetters() {
				places["dead letter"] += l.Reason
			}
			// A text that is cut off or quoted would still hold a part.
			part := secret[:min(len(secret), 12)]
			if i := strings.IndexAny(part, "\\\"'\nü"); i > 3 {
				part = part[:i]
			}
			for place, text := range places {
				if strings.Contains(text, part) {
					t.Errorf("%s holds %q: %s", place, part, clip(text, part))
				}
			}
			if !strings.Contains(places["dead letter"], "[redacted]") || !strings.Contains(answers, "[redacted]") {
				t.Errorf("nothing to look at: %q, %q", places["dead letter"], answers)
			}
		})
	}
}

func clip(text, part string) string {
	i := strings.Index(text, part)
	return text[max(0, i-80):min(len(text), i+80)]
}

// Celery's own tasks carry the arguments of others.
func TestSecretsInBuiltinTasks(t *testing.T) {
	gate := make(chan struct{})
	b := start(t, worker.Config{Name: "w@h", SendTaskEvents: true, Tasks: map[string]worker.Definition{
		"send": {ArgumentsAreSecret: true, Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { <-gate; return nil, nil })}}})
	signature := `{"task": "send", "args": ["991122"], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false, "chord_size": null}`
	ids := []string{
		b.send(t, "celery.starmap", func(m *protocol.Message) {
			m.Kwargs = protocol.Raw(`{"task": ` + signature + `, "it": [["ann@example.org", "991122"]]}`)
		}),
		b.send(t, "celery.map", func(m *protocol.Message) { m.Args = protocol.Raw(`[` + signature + `, ["991122"]]`) }),
	}
	b.eventually(t, "both are received", func() bool { all := b.events(t); return len(of(all, ids[0])) > 0 && len(of(all, ids[1])) > 0 })
	answers := b.ask(t, "active", "{}") + b.ask(t, "reserved", "{}")
	for _, e := range b.events(t) {
		answers += e.raw
	}
	if strings.Contains(answers, "991122") {
		t.Errorf("the code is shown: %s", clip(answers, "991122"))
	}
	close(gate)
}

// Only the shown part of a large value is searched, because the same goroutine sends the
// heartbeats.
func TestOfLargeValuesTheBeginningIsShown(t *testing.T) {
	b := start(t, worker.Config{Name: "w@h", SendTaskEvents: true, Tasks: map[string]worker.Definition{
		"t": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) { return task.Message.Args, nil })}}})
	raw, err := protocol.Marshal([]any{map[string]any{"text": strings.Repeat("password=x and more; ", 25_000)}, strings.Repeat("y", 100_000)})
	if err != nil {
		t.Fatal(err)
	}
	id := b.send(t, "t", func(m *protocol.Message) { m.Args = raw })
	b.eventually(t, "it has succeeded", func() bool { return len(of(b.events(t), id)) == 3 })
	for _, e := range b.events(t) {
		if len(e.raw) > 5_000 {
			t.Errorf("an event of %d bytes", len(e.raw))
		}
	}
}

func BenchmarkEventOfALargeValue(b *testing.B) {
	r := redact.New().Bounded(8 << 10)
	raw, err := protocol.Marshal([]any{map[string]any{"text": strings.Repeat("password=x and more; ", 25_000)}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		r.Value(raw)
	}
}

// A panic is no answer: what it says is stored without the secrets of the arguments.
func TestSecretsInAPanic(t *testing.T) {
	o := workertest.Run(t, map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
		panic(errors.New("no user with the code 4711-4711"))
	})}}, workertest.Call{Task: "t", Kwargs: map[string]any{"otp": "4711-4711"}})
	if o.Exception == nil || fmt.Sprint(o.Exception.Args) != "[panic: no user with the code [redacted]]" {
		t.Errorf("got %+v", o.Exception)
	}
}

// Outside of a worker a task hides what looks like a secret.
func TestRedactOutsideOfAWorker(t *testing.T) {
	if got := (&worker.Task{}).Redact("token=abc123"); strings.Contains(got, "abc123") {
		t.Errorf("got %s", got)
	}
	o := workertest.Run(t, map[string]worker.Definition{"t": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
		return task.Redact("the code was 4711-4711"), nil
	})}}, workertest.Call{Task: "t", Kwargs: map[string]any{"otp": "4711-4711"}})
	if string(o.Result) != `"the code was [redacted]"` {
		t.Errorf("got %s", o.Result)
	}
}

func TestAutoscaleWithShortTasks(t *testing.T) {
	var tasks = one(func(ctx context.Context) (any, error) {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
		return nil, nil
	})
	b := start(t, worker.Config{Name: "w@h", Tasks: tasks, PrefetchMultiplier: 1, Autoscale: worker.Autoscale{Min: 1, Max: 8}})
	for range 5000 {
		b.send(t, "t")
	}
	b.eventually(t, "all slots are there, as thousands wait", func() bool { return b.w.Status().Concurrency == 8 })
}
